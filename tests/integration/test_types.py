"""Typed values through Redis: what a hit returns is what was stored, and each caller's own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest

from millpond import MISSING, Cache, Client, CodecError
from tests.support.fleet import Member, Source
from tests.support.samples import (
    NOON,
    ROUND_TRIPS,
    SHOP,
    Address,
    Circle,
    Order,
    Owner,
    Point,
    Shop,
    User,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IDS = [f"{number}-{type(value).__name__}" for number, (_, value) in enumerate(ROUND_TRIPS)]


@pytest.fixture(params=["server", "memory"])
async def client(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Client]:
    async with Client.from_url(url if request.param == "server" else "memory://") as client:
        yield client


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS, ids=IDS)
async def test_hit_returns_what_the_loader_returned(
    client: Client, annotation: Any, value: Any
) -> None:
    cache: Cache[Any] = Cache(client, "n", type=annotation, ttl=60)
    source = Source(value)
    assert await cache.get_or_set(1, source.load) is value
    for found in (await cache.get(1), await cache.get_or_set(1, source.load)):
        assert found == value
        if annotation is not Any:
            assert type(found) is type(value)
    assert source.calls == 1
    assert await cache.set(2, value)
    assert await cache.get(2) == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (User, User(1, "Ada", Address("London"), ["x"])),
        (Order, Order(1, NOON, [("a", 2)])),
        (Shop, SHOP),
        (list[User], [User(1, "Ada")]),
        (User | None, User(1, "Ada")),
        (Point | Circle, Circle(Point(1, 2), 3)),
    ],
    ids=["struct", "dataclass", "pydantic", "list", "optional", "union"],
)
async def test_model_comes_back_as_a_model_in_another_process(
    url: str, annotation: Any, value: Any
) -> None:
    async with Member[Any](url, type=annotation) as one, Member[Any](url, type=annotation) as other:
        assert await one.cache.get_or_set(1, Source(value).load) == value
        found = await other.cache.get_or_set(1, Source[Any](None).load)
        assert found == value
        assert type(found) is type(value)
        assert other.cache.statistics().loads == 0


# -- every caller's own ------------------------------------------------------------------------


@dataclass
class Basket:
    items: list[str]


class Cart(pydantic.BaseModel):
    items: list[str]


class Tray(msgspec.Struct):
    items: list[str]


def items_of(value: Any) -> list[str]:
    items = value.items  # of a dict this is a method
    return value["items"] if callable(items) else items


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Basket, Basket(["a"])),
        (Cart, Cart(items=["a"])),
        (Tray, Tray(["a"])),
        (Any, {"items": ["a"]}),
        (dict[str, list[str]], {"items": ["a"]}),
    ],
    ids=["dataclass", "pydantic", "struct", "any", "dict"],
)
async def test_no_caller_can_change_what_another_was_given(
    url: str, annotation: Any, value: Any
) -> None:
    async with Member[Any](url, type=annotation) as one, Member[Any](url, type=annotation) as other:
        source = Source(value, held=True)
        callers = [asyncio.create_task(one.cache.get_or_set(1, source.load)) for _ in range(3)]
        await source.called()
        callers += [asyncio.create_task(other.cache.get_or_set(1, source.load)) for _ in range(3)]
        await other.waiting()
        source.release()
        values: list[Any] = await asyncio.gather(*callers)
        values += await asyncio.gather(*(one.cache.get(1) for _ in range(3)))  # one GET for all
        assert len({id(value) for value in values}) == 9
        lists = [items_of(value) for value in values]
        assert len({id(items) for items in lists}) == 9
        for number, items in enumerate(lists):
            items.append(f"mine {number}")
        assert [len(items) for items in lists] == [2] * 9
        stored: Any = await one.cache.get(1)
        assert items_of(stored) == ["a"]


async def test_value_changed_after_it_was_set_is_stored_as_it_was(url: str) -> None:
    async with Member[Any](url, type=list[int]) as one:
        mine = [1]
        setting = asyncio.ensure_future(one.cache.set(1, mine))
        await asyncio.sleep(0)
        mine.append(2)
        await setting
        assert await one.cache.get(1) == [1]


async def test_values_that_nobody_can_change_may_be_shared(url: str) -> None:
    async with Member[Any](url, type=Point) as one:
        source = Source(Point(1, 2), held=True)
        callers = [asyncio.create_task(one.cache.get_or_set(1, source.load)) for _ in range(3)]
        await source.called()
        source.release()
        assert await asyncio.gather(*callers) == [source.value] * 3


# -- what does not fit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "wrong"),
    [
        (User, {"id": 1, "name": "Ada"}.keys()),
        (User, Owner(id=1)),
        (Owner, User(1, "Ada")),
        (list[int], ["a"]),
        (Any, object()),
        (Any, {1, 2}),
        (int | str, [1]),
        (int, None.__class__),
    ],
    ids=lambda x: str(x)[:20],
)
async def test_value_of_another_type_is_refused_when_it_is_stored(
    url: str, annotation: Any, wrong: Any
) -> None:
    async with Member[Any](url, type=annotation) as one:
        with pytest.raises(CodecError):
            await one.cache.set(1, wrong)
        with pytest.raises(CodecError):
            await one.cache.get_or_set(1, Source(wrong).load)
        assert await one.cache.get(1) is MISSING


async def test_field_with_a_default_may_be_added_and_removed_without_a_miss(url: str) -> None:
    before = msgspec.defstruct("Account", [("id", int)])
    after = msgspec.defstruct("Account", [("id", int), ("email", str, "")])
    async with Member[Any](url, type=before) as old, Member[Any](url, type=after) as new:
        await old.cache.set(1, before(1))  # pyright: ignore[reportCallIssue]
        assert await new.cache.get(1) == after(1, "")  # pyright: ignore[reportCallIssue]
        await new.cache.set(2, after(2, "a@b"))  # pyright: ignore[reportCallIssue]
        assert await old.cache.get(2) == before(2)  # pyright: ignore[reportCallIssue]


async def test_field_without_a_default_makes_stored_values_misses_and_they_are_replaced(
    url: str,
) -> None:
    before = msgspec.defstruct("Account", [("id", int)])
    after = msgspec.defstruct("Account", [("id", int), ("email", str)])
    async with Member[Any](url, type=before) as old, Member[Any](url, type=after) as new:
        await old.cache.set(1, before(1))  # pyright: ignore[reportCallIssue]
        assert await new.cache.get(1) is MISSING
        fresh = after(1, "a@b")  # pyright: ignore[reportCallIssue]
        assert await new.cache.get_or_set(1, Source(fresh).load) is fresh
        assert await new.cache.get(1) == fresh
        assert await old.cache.get(1) == before(1)  # pyright: ignore[reportCallIssue]
