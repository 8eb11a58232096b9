"""What a value loses by being stored: found when it is stored, not when somebody misses it.

Decoding is generous: it makes a `User` of any map with the right fields. So a loader that returns
a row's dict, or a subclass with more in it, would give its own caller one thing and everybody else
another. Each value is compared with what it becomes, and only where they are unlike is looked for
the reason; two values that are equal, or unlike for a reason of their own (NaN, a class without
`__eq__`), are let pass.
"""

from __future__ import annotations

from typing import Any, cast

__all__ = ["misread", "unplain"]

# `Sequence[int]` takes a tuple, too, and comes back as a list.
_ALIKE: list[set[type]] = [{list, tuple}, {set, frozenset}]


def misread(value: object, again: object) -> str:
    """Say what in a value comes back as something else, in words without any value.

    Args:
        value: What is to be stored, of a typed cache.
        again: What it was read back as.

    Returns:
        "": nothing. Otherwise: "a dict would come back as a User".
    """
    waiting: list[tuple[object, object]] = [(value, again)]
    while waiting:
        ours, theirs = waiting.pop()
        kind, other = type(ours), type(theirs)
        # A bare tuple is equal to a NamedTuple, and has no names.
        if _equal(ours, theirs) and (kind is other or not hasattr(other, "_fields")):
            continue
        if kind is not other and not _alike(kind, other):
            return f"a {kind.__qualname__} would come back as a {other.__qualname__}"
        waiting.extend(_parts(ours, theirs))
    return ""


def _equal(ours: object, theirs: object) -> bool:
    try:
        return bool(ours == theirs)
    except Exception:  # noqa: BLE001  (the value's own method, which nobody promised anything of)
        return False


def _alike(kind: type, other: type) -> bool:
    # Of one name: a class that was defined again, by a notebook or a reloader.
    return kind.__qualname__ == other.__qualname__ or {kind, other} in _ALIKE


def _parts(ours: Any, theirs: Any) -> list[tuple[object, object]]:
    """Pair what is inside two values of one kind."""
    if isinstance(ours, dict):
        mine, back = cast("dict[object, object]", ours), cast("dict[object, object]", theirs)
        keys = zip(mine, back, strict=False)
        return [*keys, *zip(mine.values(), back.values(), strict=False)]
    if isinstance(ours, list | tuple):
        return list(zip(cast("list[object]", ours), cast("list[object]", theirs), strict=False))
    if isinstance(ours, set | frozenset):
        # They have no order, so only kinds can be paired.
        mine = {type(part): part for part in cast("set[object]", ours)}
        back = {type(part): part for part in cast("set[object]", theirs)}
        added = [part for kind, part in back.items() if kind not in mine]
        return [(part, added[0]) for kind, part in mine.items() if kind not in back and added]
    return [
        (getattr(ours, name, None), getattr(theirs, name, None)) for name in _fields(type(ours))
    ]


def _fields(kind: Any) -> list[str]:
    """Name the fields of a msgspec struct, a dataclass or an attrs class."""
    if hasattr(kind, "__struct_fields__"):
        return list(kind.__struct_fields__)
    if hasattr(kind, "__dataclass_fields__"):
        return list(kind.__dataclass_fields__)
    return [field.name for field in getattr(kind, "__attrs_attrs__", ())]


def unplain(value: object) -> str:
    """Return the name of the first type inside that plain MessagePack does not bring back.

    Only asked when a value came back unequal; there may be none, for NaN is unlike itself.
    """
    waiting: list[object] = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            known = cast("dict[object, object]", value)
            waiting.extend(known.values())
            waiting.extend(  # where it is a key, a tuple does come back
                list(cast("tuple[object, ...]", key)) if isinstance(key, tuple) else key
                for key in known
            )
        elif isinstance(value, list):
            waiting.extend(cast("list[object]", value))
        elif not isinstance(value, str | int | float | bytes | bytearray | None):
            return type(value).__qualname__
    return ""
