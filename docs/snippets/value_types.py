"""What a cache may hold: one class of each kind, in four libraries' words."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic

T = TypeVar("T")


# -- classes
class Plan(Enum):
    FREE = "free"


class Rights(Flag):
    READ = 1
    WRITE = 2


class User(msgspec.Struct):
    id: int
    name: str


class Point(msgspec.Struct, frozen=True):
    x: float
    y: float


class Page(msgspec.Struct, Generic[T], frozen=True):
    items: tuple[T, ...]


@dataclass
class Order:
    id: int
    placed: datetime


@dataclass(frozen=True)
class Size:
    width: int


@attrs.define
class Product:
    id: int
    price: Decimal


@attrs.frozen
class Price:
    amount: Decimal


class Row(TypedDict):
    id: int


class Pair(NamedTuple):
    left: int
    right: str


class Shop(pydantic.BaseModel):
    id: UUID


# -- end

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "bool": True,
    "int": 5,
    "float": 1.5,
    "str": "a",
    "bytes": b"a",
    "bytearray": bytearray(b"a"),
    "datetime": NOON,
    "date": date(2026, 1, 31),
    "time": time(12, 30),
    "timedelta": timedelta(minutes=1),
    "UUID": UUID(int=1),
    "Decimal": Decimal("9.90"),
    "Plan": Plan.FREE,
    "Rights": Rights.READ | Rights.WRITE,
    'Literal["a", "b"]': "a",
    "list[int]": [1],
    "tuple[int, str]": (1, "a"),
    "set[UUID]": {UUID(int=1)},
    "frozenset[str]": frozenset({"a"}),
    "dict[UUID, int]": {UUID(int=1): 1},
    "User": User(1, "Ada"),
    "Point": Point(1.0, 2.0),
    "Page[Point]": Page((Point(1.0, 2.0),)),
    "Order": Order(1, NOON),
    "Size": Size(1),
    "Product": Product(1, Decimal("9.90")),
    "Price": Price(Decimal("9.90")),
    "Row": {"id": 1},
    "Pair": Pair(1, "a"),
    "Shop": Shop(id=UUID(int=1)),
    "User | None": User(1, "Ada"),
    "int | UUID | list[Point]": [Point(1.0, 2.0)],
    "Any": {"a": [1, None, b"b"]},
}
