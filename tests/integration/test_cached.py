"""Cached functions on a real server: one key however they are called, and all that a key can do."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

import pytest

from millpond import MISSING, Cache, Cached, Client, ConfigError
from millpond.testing import override
from tests.support.fleet import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Made at import, as applications do; opened on the test's server by the fixture.
client = Client.from_url("memory://", prefix="t", hooks=[])
names: Cache[str] = Cache(client, "name", type=str, ttl=60)
calls: list[Any] = []


@names.cached("{user_id}:{locale}:{style}")
async def get_name(user_id: int, locale: str = "en", *, style: str = "plain") -> str:
    """Say a name."""
    calls.append((user_id, locale, style))
    return f"{user_id} {locale} {style}"


@names.cached("{user_id}", ttl=20)
async def get_short(user_id: int) -> str:
    calls.append(user_id)
    return f"user {user_id}"


class Shop:
    """Where cached functions are methods."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.calls = 0
        self.by_tuple = names.cached("instance:{region}:{item}")(self._by_tuple)

    @names.cached("{self.region}:{item}")
    async def price(self, item: int) -> str:
        """Look it up."""
        self.calls += 1
        return f"{self.region} {item}"

    async def _by_tuple(self, region: str, item: int) -> str:
        return f"{self.region} {region} {item}"

    @classmethod
    @names.cached("class:{item}")
    async def of_class(cls, item: int = 1) -> str:
        calls.append(item)
        return f"{cls.__name__} {item}"

    @staticmethod
    @names.cached("static:{item}")
    async def static(item: int) -> str:
        return f"static {item}"


@pytest.fixture(autouse=True)
async def _open(url: str) -> AsyncIterator[None]:
    calls.clear()
    with override(client, url):
        async with client:
            yield


# -- calling -----------------------------------------------------------------------------------


async def test_every_way_to_write_one_call_is_one_key_and_one_load() -> None:
    answers = [
        await get_name(1),
        await get_name(user_id=1),
        await get_name(1, "en"),
        await get_name(1, locale="en"),
        await get_name(locale="en", user_id=1, style="plain"),
        await get_name(1, "en", style="plain"),
    ]
    assert answers == ["1 en plain"] * 6
    assert calls == [(1, "en", "plain")]
    assert names.statistics().hits >= 5


async def test_calls_that_differ_are_different_keys() -> None:
    assert await get_name(1) == "1 en plain"
    assert await get_name(1, "de") == "1 de plain"
    assert await get_name(2) == "2 en plain"
    assert await get_name(1, style="full") == "1 en full"
    assert len(calls) == 4
    assert get_name.key(1, "a:b", style="c") != get_name.key(1, "a", style="b:c")


async def test_template_of_one_parameter_is_the_caches_own_key() -> None:
    assert get_short.key(42) == names.key(42) == "t:name:42"
    assert await get_short(42) == "user 42"
    assert await names.get(42) == "user 42"
    assert 0 < await client.call("PTTL", names.key(42)) <= 20_000
    assert await names.delete(42)
    assert await get_short.get(42) is MISSING


async def test_crowd_shares_one_call() -> None:
    assert await asyncio.gather(*(get_short(n % 2) for n in range(100))) == [
        f"user {n % 2}" for n in range(100)
    ]
    assert sorted(calls) == [0, 1]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, "en", "plain"), {}), ((1,), {"user_id": 1}), ((1,), {"nonsense": 1})],
)
async def test_arguments_that_the_function_would_refuse_are_refused_on_a_hit_too(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    await get_name(1)
    refusing: Any = get_name
    with pytest.raises(TypeError):
        await refusing(*args, **kwargs)
    for helper in (refusing.get, refusing.delete, refusing.bypass):
        with pytest.raises(TypeError):
            await helper(*args, **kwargs)


async def test_argument_that_cannot_be_a_key_is_refused_before_anything_is_called() -> None:
    untyped: Any = get_name
    for bad, said in [(None, "NoneType"), (1.5, "float"), (True, "bool"), ([1], "list")]:
        with pytest.raises(ConfigError, match=f"a key part must not be a {said}"):
            await untyped(bad)
    assert calls == []


async def test_what_the_function_raises_reaches_the_caller_and_is_not_kept() -> None:
    failures = 0

    @names.cached("failing:{n}")
    async def fail(n: int) -> str:
        nonlocal failures
        failures += 1
        raise LookupError(n)

    for _ in range(2):
        with pytest.raises(LookupError):
            await fail(1)
    assert failures == 2


# -- what else a function can do ---------------------------------------------------------------


async def test_get_set_delete_and_bypass_take_the_functions_arguments() -> None:
    assert await get_name.get(1) is MISSING
    assert calls == []
    assert await get_name.set("Ada", 1, "de") is True
    assert await get_name.get(1, locale="de") == "Ada"
    assert await get_name(1, "de") == "Ada"
    assert await get_name.bypass(1, "de") == "1 de plain"
    assert await get_name(1, "de") == "Ada"
    assert await get_name.delete(user_id=1, locale="de") is True
    assert await get_name(1, "de") == "1 de plain"
    assert len(calls) == 2
    assert get_name.cache is names


async def test_delete_during_a_load_revokes_it() -> None:
    begun, end = asyncio.Event(), asyncio.Event()
    row = "old"

    @names.cached("slow:{n}")
    async def slow(n: int) -> str:
        read = row
        begun.set()
        await end.wait()
        return read

    early = asyncio.create_task(slow(1))
    await begun.wait()
    row = "new"
    assert await slow.delete(1)
    late = asyncio.create_task(slow(1))
    await asyncio.sleep(0)
    end.set()
    assert await late == "new"
    assert await early == "old"
    assert await slow.get(1) == "new"


async def test_cancelled_caller_leaves_the_others_their_load() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @names.cached("shared:{n}")
    async def shared(n: int) -> str:
        begun.set()
        await end.wait()
        return "done"

    first = asyncio.create_task(shared(1))
    await begun.wait()
    second = asyncio.create_task(shared(1))
    await until(lambda: names.statistics().misses and names.statistics().flights == 1)
    first.cancel()
    await asyncio.sleep(0)
    end.set()
    assert await second == "done"
    with pytest.raises(asyncio.CancelledError):
        await first


# -- tags --------------------------------------------------------------------------------------


@names.cached("member:{user_id}", tags=["org:{org_id}", "members"], ignore=("org_id",))
async def get_member(user_id: int, org_id: int = 0) -> str:
    calls.append((user_id, org_id))
    return f"user {user_id} of {org_id}"


async def test_result_is_deleted_by_the_tags_that_its_arguments_give() -> None:
    assert get_member.tags(1, org_id=7) == (("org", 7), "members")
    assert await get_member(1, 7) == "user 1 of 7"
    assert await get_member(2, org_id=8) == "user 2 of 8"
    assert await names.delete_tags(("org", 7))
    assert await get_member.get(1, 7) is MISSING
    assert await get_member.get(2, 8) == "user 2 of 8"
    assert await get_member(1, 7) == "user 1 of 7"
    assert await names.delete_tags(*get_member.tags(3, 9)[1:])
    assert await get_member.get(1, 7) is MISSING
    assert await get_member.get(2, 8) is MISSING
    assert calls == [(1, 7), (2, 8), (1, 7)]


async def test_what_is_set_and_refreshed_has_the_tags_too() -> None:
    assert await get_member.set("Ada", 1, 7)
    assert await get_member.refresh(2, org_id=7) == "user 2 of 7"
    assert await get_member.get(1, 7) == "Ada"
    assert await names.delete_tags(("org", 7))
    assert await get_member.get(1, 7) is MISSING
    assert await get_member.get(2, 7) is MISSING


async def test_tags_of_a_hit_are_read_in_its_own_batch() -> None:
    await get_member(1, 7)
    before = client.statistics().batches
    await get_member(1, 7)
    assert client.statistics().batches - before == 1


async def test_tag_of_a_method_may_come_from_its_object() -> None:
    class Branch:
        def __init__(self, region: str) -> None:
            self.region = region

        @names.cached("stock:{self.region}:{item}", tags=["stock:{self.region}"])
        async def stock(self, item: int) -> str:
            return f"{item} in {self.region}"

    eu, us = Branch("eu"), Branch("us")
    assert eu.stock.tags(1) == (("stock", "eu"),) == Branch.stock.tags(eu, 1)
    await eu.stock(1)
    await us.stock(1)
    assert await names.delete_tags(*eu.stock.tags(1))
    assert await eu.stock.get(1) is MISSING
    assert await us.stock.get(1) == "1 in us"


async def test_argument_that_cannot_be_in_a_tag_is_refused_before_anything_is_called() -> None:
    untyped: Any = get_member
    for bad, said in [(None, "NoneType"), (1.5, "float"), (True, "bool")]:
        with pytest.raises(ConfigError, match=f"a key part must not be a {said}"):
            await untyped(1, bad)
    assert calls == []


# -- methods -----------------------------------------------------------------------------------


async def test_methods_are_bound_and_so_is_all_that_they_can_do() -> None:
    eu, us = Shop("eu"), Shop("us")
    assert await eu.price(1) == await eu.price(item=1) == "eu 1"
    assert await us.price(1) == "us 1"
    assert (eu.calls, us.calls) == (1, 1)
    assert eu.price.key(1) == "t:name:eu:1"
    assert await eu.price.get(1) == "eu 1"
    assert await eu.price.delete(1)
    assert await eu.price.get(1) is MISSING
    assert await us.price.get(1) == "us 1"
    assert await eu.price.bypass(2) == "eu 2"
    assert await eu.price.set("dear", 3)
    assert await eu.price(3) == "dear"


async def test_method_of_the_class_takes_the_object_as_any_method_does() -> None:
    eu = Shop("eu")
    assert await Shop.price(eu, 1) == "eu 1"
    assert Shop.price.key(eu, 1) == eu.price.key(1)
    assert await Shop.static(5) == "static 5"
    assert await Shop.static.delete(5)


async def test_bound_method_may_be_decorated() -> None:
    shop = Shop("eu")
    assert await shop.by_tuple("x", 1) == "eu x 1"
    assert shop.by_tuple.key("x", 1) == "t:name:instance:x:1"


def test_bound_methods_are_equal_as_methods_are() -> None:
    eu, us = Shop("eu"), Shop("us")
    assert eu.price == eu.price
    assert hash(eu.price) == hash(eu.price)
    assert eu.price != us.price
    assert eu.price != Shop.price
    assert eu.price != eu.by_tuple
    assert Shop.price == Shop.price


# -- what others see of it ---------------------------------------------------------------------


def test_name_docstring_and_signature_are_the_functions() -> None:
    assert isinstance(get_name, Cached)
    assert get_name.__name__ == "get_name"
    assert get_name.__doc__ == "Say a name."
    assert get_name.__module__ == __name__
    assert list(inspect.signature(get_name).parameters) == ["user_id", "locale", "style"]
    assert list(inspect.signature(Shop.price).parameters) == ["self", "item"]
    bound: Any = Shop("eu").price
    assert list(inspect.signature(bound).parameters) == ["item"]
    assert bound.__doc__ == "Look it up."
    assert repr(get_name) == "<cached get_name>"


def test_frameworks_know_that_it_is_to_be_awaited() -> None:
    known = asyncio.iscoroutinefunction  # pyright: ignore[reportDeprecated]  (some ask it)
    assert known(get_name)
    assert known(get_name.__call__)
    assert known(Shop("eu").price)


async def test_partial_of_an_async_function_may_be_decorated() -> None:
    async def load(table: str, row: int) -> str:
        return f"{table} {row}"

    load_users = names.cached("users:{row}")(partial(load, "users"))
    assert await load_users(row=1) == "users 1"
    assert load_users.key(row=1) == "t:name:users:1"


async def test_class_method_deletes_what_it_has_stored_however_python_binds_it() -> None:
    kept: Any = vars(Shop)["of_class"].__func__
    since_3_13: Any = MethodType(kept, Shop)
    ways: list[tuple[Any, tuple[Any, ...]]] = [(Shop.of_class, ()), (since_3_13, (Shop,))]
    for bound, given in ways:
        for _ in range(2):
            assert await bound(2) == "Shop 2"
        assert await bound.delete(*given, 2)
        assert await bound(2) == "Shop 2"
        assert await bound.delete(*given, 2)
    assert calls == [2, 2, 2, 2]
    for wrong, given in ((since_3_13.delete, (2,)), (kept.refresh, ()), (since_3_13.tags, (2,))):
        with pytest.raises(ConfigError, match=r"Class.of_class.delete\(Class, ...\)"):
            await wrong(*given)
