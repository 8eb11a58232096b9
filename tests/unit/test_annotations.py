"""Annotations: one name for every spelling, and nothing shared that could change."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import attrs
import msgspec
import pytest

from millpond.core.annotations import custom_types, describe, shareable
from millpond.core.codec import Codec
from tests.support.samples import (
    Address,
    Box,
    Circle,
    Colour,
    Crate,
    Foreign,
    Labelled,
    Node,
    Order,
    Owner,
    Page,
    Pair,
    Pile,
    Point,
    Price,
    Product,
    Rights,
    Row,
    Shop,
    Size,
    User,
    UserId,
    Wrapped,
)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Any, "Any"),
        (None, "None"),
        (int, "int"),
        (User | None, "None | User"),
        (dict[str, list[User]], "dict[str, list[User]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Literal["b", "a"], "Literal['a', 'b']"),
        (UserId, "int"),
        (Annotated[list[int], 5], "list[int]"),
        (Box[int], "Box[int]"),
        (Page[Owner], "Page[Owner]"),
    ],
)
def test_an_annotation_is_described_by_names(annotation: Any, text: str) -> None:
    assert describe(annotation) == text


# Frozen, and yet one caller could change what another holds.


@dataclass(frozen=True)
class Late:
    id: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", [])


@attrs.frozen
class AttrsLate:
    id: int

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "seen", [])


@dataclass(frozen=True)
class Hidden:
    id: int
    _seen: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class Holder:
    lists: tuple[list[int], ...]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, True),
        (str | None, True),
        (bytes, True),
        (UUID, True),
        (datetime, True),
        (Decimal, True),
        (Colour, True),
        (Literal["a"], True),
        (tuple[int, ...], True),
        (tuple[int, frozenset[str]], True),
        (Pair, True),
        (Address, True),
        (Address | None, True),
        (Point | Circle, True),
        (Node, True),
        (Box[int], True),
        (Annotated[int, msgspec.Meta(gt=1)], True),
        (Size, True),
        (Price, True),
        (tuple[Price, Size | None], True),
        (Rights, True),
        (Labelled[int], True),
        (Late, False),
        (AttrsLate, False),
        (Hidden, False),
        (Holder, False),
        (Crate[int], False),
        (Pile[int], False),
        (Labelled[list[int]], False),
        (Any, False),
        (list[int], False),
        (bytearray, False),
        (dict[str, int], False),
        (set[int], False),
        (tuple[list[int], ...], False),
        (User, False),
        (Address | list[int], False),
        (Box[list[int]], False),
        (Order, False),
        (Product, False),
        (Row, False),
        (Owner, False),
        (Shop, False),
        (Owner | None, False),
    ],
)
def test_only_what_cannot_change_is_shared(annotation: Any, expected: bool) -> None:
    assert shareable(annotation) is expected
    assert Codec(annotation).shareable is expected


def test_foreign_classes_are_found_however_deep_and_once() -> None:
    assert custom_types(Wrapped) == [Owner, Shop] or custom_types(Wrapped) == [Shop, Owner]
    assert custom_types(dict[str, tuple[Node, Box[list[Foreign | None]]]]) == [Foreign]
    assert custom_types(User) == []
