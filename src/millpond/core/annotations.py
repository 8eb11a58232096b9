"""What an annotation is called, which foreign classes it contains, whether its values are shared.

msgspec resolves annotations (forward references, generics, fields) into a tree of shapes; what is
asked here is asked of that tree, so that it cannot disagree with what decoding will do.
"""

from __future__ import annotations

from dataclasses import fields
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
)

from msgspec import inspect as shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["custom_types", "describe", "shareable"]

_SCALARS = (
    shapes.NoneType,
    shapes.BoolType,
    shapes.IntType,
    shapes.FloatType,
    shapes.StrType,
    shapes.BytesType,
    shapes.DateTimeType,
    shapes.TimeType,
    shapes.DateType,
    shapes.TimeDeltaType,
    shapes.UUIDType,
    shapes.DecimalType,
    shapes.EnumType,
    shapes.LiteralType,
)
_CONTAINERS = (
    shapes.UnionType,
    shapes.TupleType,
    shapes.VarTupleType,
    shapes.NamedTupleType,
    shapes.FrozenSetType,
    shapes.Metadata,
)


def describe(annotation: Any) -> str:
    """Return an annotation as text, by the names of its classes: `dict[str, User | None]`.

    The same in every process and for every spelling: modules, the order of a union, `Optional`,
    type aliases and the metadata of `Annotated` do not show.
    """
    aliased: Any = getattr(annotation, "__supertype__", None)  # of a NewType
    if type(annotation).__name__ == "TypeAliasType":  # Python 3.12's `type Users = ...`
        aliased = annotation.__value__
    if aliased is not None:
        return describe(aliased)
    if annotation is None or annotation is NoneType:
        return "None"
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe(args[0])
    if origin is Union or origin is UnionType:
        return " | ".join(sorted({describe(arg) for arg in args}))
    if origin is Literal:
        return f"Literal[{', '.join(sorted(map(repr, args)))}]"
    if origin is not None:
        inside = ", ".join("..." if arg is ... else describe(arg) for arg in args)
        return f"{describe(origin)}[{inside}]" if inside else describe(origin)
    return str(getattr(annotation, "__qualname__", None) or annotation)


def custom_types(annotation: Any) -> list[type]:
    """Return the classes inside that msgspec does not know, pydantic models among them.

    Args:
        annotation: Any annotation.

    Raises:
        Exception: Whatever resolving it raises: a TypeError for what msgspec refuses, a NameError
            for a class that is not defined yet.
    """
    found = (shape.cls for shape in _walk(annotation) if isinstance(shape, shapes.CustomType))
    return list(dict.fromkeys(found))


def shareable(annotation: Any) -> bool:
    """Whether nobody who holds a decoded value can change it for the others who hold it.

    True for immutable builtins, enums, frozen msgspec structs, frozen dataclasses and attrs classes
    that have nothing but their fields, and tuples, frozensets and unions of nothing else; False
    for whatever is not known to be so.

    Args:
        annotation: Any annotation that msgspec resolves.
    """
    return all(
        isinstance(shape, (*_SCALARS, *_CONTAINERS))
        or (isinstance(shape, shapes.StructType) and _struct_frozen(shape.cls))
        or (isinstance(shape, shapes.DataclassType) and _class_frozen(shape))
        for shape in _walk(annotation)
    )


def _struct_frozen(cls: type) -> bool:
    """Whether a struct class, or the generic one behind an alias, is frozen."""
    origin: Any = get_origin(cls) or cls
    return bool(origin.__struct_config__.frozen)


def _class_frozen(shape: shapes.DataclassType) -> bool:
    """Whether a dataclass or attrs class is frozen, and all that it holds is seen in its shape.

    Frozen attrs classes are known from attrs 25.4 on. One that makes more of its fields after it
    is initialized may hold what nobody looked at.
    """
    cls: Any = get_origin(shape.cls) or shape.cls
    if hasattr(cls, "__post_init__") or hasattr(cls, "__attrs_post_init__"):
        return False
    attributes = getattr(cls, "__attrs_attrs__", None)
    if attributes is not None:
        names = [attribute.name for attribute in attributes]
        frozen = getattr(getattr(cls, "__attrs_props__", None), "is_frozen", False)
    else:
        names = [field.name for field in fields(cls)]
        frozen = cls.__dataclass_params__.frozen
    return bool(frozen) and set(names) == {field.name for field in shape.fields}


def _walk(annotation: Any) -> Iterator[shapes.Type]:
    """Yield every shape inside an annotation once; a class may contain itself."""
    waiting: list[object] = [shapes.type_info(annotation)]
    seen: dict[int, shapes.Type] = {}  # by id, held so that no id is used twice
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            waiting.extend(cast("tuple[object, ...]", item))
        elif isinstance(item, shapes.Field):
            waiting.append(item.type)
        elif isinstance(item, shapes.Type) and id(item) not in seen:
            seen[id(item)] = item
            yield item
            if not isinstance(item, shapes.LiteralType):
                waiting.extend(getattr(item, field) for field in item.__struct_fields__)
