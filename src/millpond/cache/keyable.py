"""Whether values of an annotated type can be keys: judged when a function is decorated.

What is certain to fail at the first call is refused at import; what cannot be told from the
annotation (none, a type variable, a class of the database toolkit) is left to the call, where
`Keyspace` looks at the value itself.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterable, MutableSequence, Reversible, Sequence
from types import NoneType, SimpleNamespace, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeGuard,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from millpond.core.keys import unkeyable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNKNOWN", "attribute_of", "plain", "resolve", "why_not", "why_not_many"]

UNKNOWN: Any = Any
"""What nothing is known of."""

_MAYBE_NONE = "it may be None; give it a default that is a key, such as 'none' or 0"


def resolve(annotations: Mapping[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    """Evaluate annotations one by one, and leave out those that cannot be.

    Args:
        annotations: Types, or their source text.
        namespace: The globals that the text refers to. What a function's own locals define, or
            an `if TYPE_CHECKING:`, is not there: such a parameter is of unknown type.
    """
    found: dict[str, Any] = {}
    for name, annotation in annotations.items():
        holder = SimpleNamespace(__annotations__={name: annotation})
        try:
            found |= get_type_hints(holder, namespace, include_extras=True)
        except Exception:  # noqa: BLE001, S112  (it runs what the annotation's author wrote)
            continue
    return found


def plain(annotation: Any) -> Any:
    """Take off what says nothing of the values: `Annotated`, aliases, `NewType`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif type(annotation).__name__ == "TypeAliasType":  # Python 3.12's `type UserId = int`
            annotation = annotation.__value__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        else:
            return annotation


def why_not(annotation: Any, *, alone: bool) -> str:
    """Say why values of a type cannot be keys, and the fix; `""` if they can, or nobody knows.

    Args:
        annotation: The resolved type.
        alone: Whether the value is the whole key: then it may be a tuple.
    """
    annotation = plain(annotation)
    if annotation is None or annotation is NoneType:
        return _MAYBE_NONE
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Union or origin is UnionType:
        if NoneType in args:
            return _MAYBE_NONE
        return next(filter(None, (why_not(arg, alone=alone) for arg in args)), "")
    if origin is Literal:
        return next(filter(None, (why_not(type(arg), alone=False) for arg in args)), "")
    if origin is tuple and alone:
        parts = [arg for arg in args if arg is not ...]
        return next(filter(None, (why_not(part, alone=False) for part in parts)), "")
    if origin is not None:  # a generic class of somebody's own may be a descriptor, or anything
        known = isinstance(origin, type) and origin.__module__ in _PLAIN_MODULES
        return unkeyable(cast("type", origin)) if known else ""
    if not _says_something(annotation) or (annotation is tuple and alone):
        return ""
    return unkeyable(annotation)


def why_not_many(annotation: Any, *, alone: bool) -> str:
    """Say why values of a type cannot be a list of keys; `""` if they can, or nobody knows.

    Args:
        annotation: The resolved type of the list.
        alone: Whether each of its items is a whole key.
    """
    annotation = plain(annotation)
    origin = get_origin(annotation) or annotation
    if not _says_something(origin):
        return ""
    if origin not in _LISTS:
        return (
            f"is annotated as {origin.__name__}, and is given a list of those that are missing: "
            "annotate it as list[int], or Sequence, Collection, Iterable"
        )
    reason = next((why_not(arg, alone=alone) for arg in get_args(annotation)), "")
    return f"has items that cannot be in a key: {reason}" if reason else ""


def _says_something(annotation: Any) -> TypeGuard[type]:
    return isinstance(annotation, type) and annotation not in (UNKNOWN, object)


_LISTS = (list, Sequence, MutableSequence, Collection, Iterable, Reversible)
_PLAIN_MODULES = ("builtins", "collections", "collections.abc")


def attribute_of(annotation: Any, attribute: str) -> tuple[Any, str]:
    """Find the type of an attribute of values of a type.

    Returns:
        The type, or `UNKNOWN`; and why the attribute cannot be there, or `""`.
    """
    cls = plain(annotation)
    if get_origin(cls) in (Union, UnionType):
        return UNKNOWN, _MAYBE_NONE if NoneType in get_args(cls) else ""
    cls = get_origin(cls) or cls
    if not _says_something(cls):
        return UNKNOWN, ""
    for base in cls.__mro__:
        annotations = inspect.get_annotations(base)
        if attribute in annotations:
            namespace = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
            return resolve(annotations, namespace).get(attribute, UNKNOWN), ""
    there = inspect.getattr_static(cls, attribute, None)
    if isinstance(there, property) and there.fget is not None:
        getter = there.fget
        hints = resolve(inspect.get_annotations(getter), getter.__globals__)
        return hints.get("return", UNKNOWN), ""
    if there is not None or hasattr(cls, "__getattr__"):
        return UNKNOWN, ""
    return UNKNOWN, (
        f"{cls.__qualname__} is not known to have {attribute!r}; annotate it in the class"
    )
