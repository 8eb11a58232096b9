"""One class of each kind that a cache may hold, and values that must survive being stored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Required,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import attrs
import msgspec
import pydantic

T = TypeVar("T")
UserId = NewType("UserId", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    HIGH = 3


class Rights(Flag):
    READ = 1
    WRITE = 2


class Address(msgspec.Struct, frozen=True):
    city: str
    zip: str = ""


class User(msgspec.Struct):
    id: int
    name: str
    address: Address | None = None
    tags: list[str] = []
    friend: User | None = None


class Point(msgspec.Struct, frozen=True, array_like=True, tag=True):
    x: float
    y: float


class Circle(msgspec.Struct, frozen=True, array_like=True, tag=True):
    centre: Point
    radius: float


class Node(msgspec.Struct, frozen=True):
    value: int
    next: Node | None = None


class Box(msgspec.Struct, Generic[T], frozen=True):
    content: T


@dataclass
class Order:
    id: int
    placed: datetime
    lines: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])


@attrs.define
class Product:
    id: int
    price: Decimal


@attrs.frozen
class Price:
    amount: Decimal
    currency: str = "EUR"


@attrs.define
class Crate(Generic[T]):
    content: T


@dataclass(frozen=True, slots=True)
class Size:
    width: int
    colours: frozenset[Colour] = frozenset()


@dataclass
class Pile(Generic[T]):
    items: list[T]


class Row(TypedDict):
    id: int
    name: str


class Patch(TypedDict, total=False):
    id: Required[int]
    name: str


class Many(TypedDict, Generic[T]):
    items: list[T]


class Labelled(NamedTuple, Generic[T]):
    value: T
    label: str = ""


class Pair(NamedTuple):
    left: int
    right: str


class Owner(pydantic.BaseModel):
    id: int
    born: date | None = None


class Shop(pydantic.BaseModel):
    """Aliases on both sides, strict, unknown names forbidden: it could refuse its own dump."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True)

    id: UUID
    full_name: str = pydantic.Field(alias="fullName")
    opened: datetime = pydantic.Field(validation_alias="openedAt", serialization_alias="opened_on")
    owner: Owner | None = pydantic.Field(default=None, alias="theOwner")
    price: Decimal = Decimal("1.10")
    every: timedelta = timedelta(days=1)
    colours: set[Colour] = {Colour.RED}
    settings: pydantic.Json[dict[str, int]] = pydantic.Field(
        default='{"a": 1}', validate_default=True
    )

    @pydantic.computed_field
    @property
    def label(self) -> str:
        return f"{self.full_name}!"


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Pet(pydantic.RootModel[Owner | int]):
    pass


class Wrapped(msgspec.Struct):
    """A pydantic model inside a struct."""

    shop: Shop
    owners: dict[str, Owner | None]


class Foreign:
    pass


NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)
SHOP = Shop.model_validate(
    {
        "id": UUID(int=7),
        "fullName": "Ärmel & Söhne",
        "openedAt": NOON,
        "theOwner": Owner(id=1, born=date(1990, 1, 1)),
        "settings": '{"b": 2}',
    }
)

ROUND_TRIPS: list[tuple[Any, Any]] = [
    (Any, None),
    (Any, {"a": [1, 2.5, "ü", b"\xff", None, True, {"b": []}]}),
    (Any, {1: "int keys", (1, 2): "tuple keys"}),
    (Any, NOON),
    (Any, [float("inf")]),
    (Any, OrderedDict(a=1)),
    (int, 5),
    (str, ""),
    (bytes, b"\x00\xff"),
    (bool, False),
    (float, 1.5),
    (int | None, None),
    (int | None, 5),
    (list[int], [1, 2]),
    (dict[str, float], {"a": 1.0}),
    (dict[int, UUID], {5: UUID(int=5)}),
    (tuple[int, str], (1, "a")),
    (set[date], {date(2025, 1, 1)}),
    (frozenset[str], frozenset({"a"})),
    (UUID, UUID(int=7)),
    (Decimal, Decimal("1.10")),
    (datetime, NOON),
    (datetime, datetime(2025, 1, 1)),  # noqa: DTZ001
    (timedelta, timedelta(seconds=1.5)),
    (time, time(12, 30, 0, 5)),
    (time, time(12, 30, tzinfo=UTC)),
    (timedelta, timedelta(days=-40_000, microseconds=1)),
    (Decimal, Decimal("-1E+50")),
    (bytearray, bytearray(b"a")),
    (Mapping[str, int], {"a": 1}),
    (Sequence[int], [1, 2]),
    (dict[date, list[Decimal]], {date(2025, 1, 1): [Decimal("0.10")]}),
    (dict[tuple[int, str], int], {(1, "a"): 5}),
    (dict[Colour, frozenset[int]], {Colour.RED: frozenset({1})}),
    (set[tuple[int, UUID]], {(1, UUID(int=2))}),
    (tuple[()], ()),
    (tuple[int, ...], (1, 2, 3)),
    (int | UUID | None, UUID(int=5)),
    (list[int] | dict[str, int] | None, {"a": 1}),
    (Rights, Rights.READ | Rights.WRITE),
    (Colour, Colour.BLUE),
    (Level, Level.HIGH),
    (Literal["a", "b"], "a"),
    (UserId, 5),
    (Annotated[int, msgspec.Meta(gt=1)], 5),
    (User, User(1, "Ada", Address("London"), ["x"], User(2, "Bob"))),
    (User | None, User(1, "Ada")),
    (list[User], [User(1, "Ada")]),
    (Point | Circle, Circle(Point(1, 2), 3)),
    (Node, Node(1, Node(2))),
    (Box[int], Box(5)),
    (Order, Order(1, NOON, [("a", 2)])),
    (list[Order] | None, [Order(1, NOON)]),
    (Product, Product(1, Decimal("9.99"))),
    (Price, Price(Decimal("9.99"))),
    (frozenset[Price], frozenset({Price(Decimal(1))})),
    (Price | None, None),
    (Crate[Price], Crate(Price(Decimal("0.10"), "USD"))),
    (Size, Size(5, frozenset({Colour.RED}))),
    (dict[UUID, Size | None], {UUID(int=1): Size(1), UUID(int=2): None}),
    (Pile[Order], Pile([Order(1, NOON)])),
    (Patch, {"id": 1}),
    (Patch, {"id": 1, "name": "a"}),
    (Many[UUID], {"items": [UUID(int=1)]}),
    (Labelled[Decimal], Labelled(Decimal("1.0"), "a")),
    (Box[tuple[Labelled[int] | None, ...]], Box((Labelled(1), None))),
    (Row, {"id": 1, "name": "a"}),
    (Pair, Pair(1, "a")),
    (Shop, SHOP),
    (Shop | None, SHOP),
    (Shop | None, None),
    (list[Shop], [SHOP, SHOP]),
    (dict[str, Owner | None], {"a": Owner(id=1), "b": None}),
    (tuple[Owner, int], (Owner(id=1), 5)),
    (Page[Owner], Page[Owner](items=[Owner(id=1)])),
    (Pet, Pet(Owner(id=1))),
    (Pet, Pet(5)),
    (Wrapped, Wrapped(SHOP, {"a": None, "b": Owner(id=2)})),
]
