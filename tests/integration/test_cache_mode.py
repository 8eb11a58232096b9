"""Scopes and calls that lead past a cache: what is read and stored, and what still reaches it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Query

from millpond import MISSING, Cache, CachePolicy, Client, ClosedError, ConfigError, cache_mode
from millpond.ext.fastapi import install
from millpond.testing import override
from tests.support.fleet import Member, Source
from tests.support.web import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.fixture
async def two(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


# -- what each mode does -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bypass", "disable"])
async def test_reads_inside_find_nothing_and_loads_store_nothing(
    one: Member[int], mode: Any
) -> None:
    cache, source = one.cache, Source(1)
    assert await cache.get_or_set(1, source.load) == 1
    source.value = 2
    with cache_mode(mode):
        assert await cache.get(1) is MISSING
        assert await cache.get(1, default=-1) == -1
        assert await cache.get_or_set(1, source.load) == 2
        assert await cache.get_or_set(2, source.load) == 2
    assert source.calls == 3
    assert await cache.get(1) == 1
    assert await cache.get(2) is MISSING
    assert cache.statistics().bypassed == 2


@pytest.mark.parametrize("mode", ["bypass", "disable"])
async def test_deletes_inside_reach_everybody_and_revoke_loads(
    one: Member[int], two: Member[int], mode: Any
) -> None:
    source = Source(1, held=True)
    await one.cache.set(1, 5)
    loading = asyncio.create_task(two.cache.get_or_set(2, source.load))
    await source.called()
    with cache_mode(mode):
        assert await one.cache.delete(1, 2) is True
    source.release()
    assert await loading == 1
    assert await two.cache.get(1) is MISSING
    assert await two.cache.get(2) is MISSING


async def test_bypass_stores_what_is_set_and_disable_does_not(one: Member[int]) -> None:
    with cache_mode("bypass"):
        assert await one.cache.set(1, 5) is True
    with cache_mode("disable"):
        assert await one.cache.set(1, 6) is False
        assert await one.cache.set_many({1: 6, 2: 6}) is False
    assert await one.cache.get(1) == 5
    assert await one.cache.get(2) is MISSING


async def test_write_marks_are_put_in_every_mode_and_values_not_stored_when_disabled(
    one: Member[int], two: Member[int]
) -> None:
    await one.cache.set(1, 1)
    for mode, left in [("bypass", 2), ("disable", MISSING)]:
        with cache_mode(mode):  # pyright: ignore[reportArgumentType]
            async with one.cache.writing(1) as write:
                assert await two.cache.set(1, 0) is False
                assert await two.cache.get_or_set(1, Source(7).load) == 7
                write.set(2)
        assert await two.cache.get(1) == left


async def test_calls_past_the_cache_share_nothing(one: Member[int]) -> None:
    source = Source(1, held=True)
    with cache_mode("bypass"):
        asking = [asyncio.create_task(one.cache.get_or_set(1, source.load)) for _ in range(3)]
    await source.called(3)
    source.release()
    assert await asyncio.gather(*asking) == [1, 1, 1]
    assert (source.calls, source.most) == (3, 3)


async def test_loader_that_fails_past_the_cache_fails_its_caller(one: Member[int]) -> None:
    async def fail() -> int:
        raise LookupError

    with pytest.raises(LookupError):
        await one.cache.get_or_set(1, fail, mode="bypass")


async def test_mode_of_a_call_is_stronger_than_a_scope_unless_that_disables(
    one: Member[int],
) -> None:
    source = Source(1)
    assert await one.cache.get_or_set(1, source.load, mode="bypass") == 1
    assert await one.cache.get(1) is MISSING
    with cache_mode("bypass"):
        assert await one.cache.get_or_set(1, source.load, mode="normal") == 1
    assert await one.cache.get(1) == 1
    with cache_mode("disable"):
        assert await one.cache.get_or_set(2, source.load, mode="normal") == 1
    assert await one.cache.get(2) is MISSING


# -- how far a scope reaches -------------------------------------------------------------------


async def test_innermost_scope_that_covers_a_cache_decides(one: Member[int]) -> None:
    other: Cache[int] = Cache(one.client, "other", type=int, ttl=60)
    await one.cache.set(1, 5)
    await other.set(1, 5)

    async def found() -> tuple[bool, bool]:
        return await one.cache.get(1) == 5, await other.get(1) == 5

    with cache_mode("bypass", other):
        assert await found() == (True, False)
        with cache_mode("disable", one.client):
            assert await found() == (False, False)
            with cache_mode("normal", other):
                assert await found() == (False, True)
        with cache_mode("normal"):
            assert await found() == (True, True)
        assert await found() == (True, False)
    assert await found() == (True, True)


async def test_other_tasks_are_not_concerned_and_those_started_inside_are(
    one: Member[int],
) -> None:
    await one.cache.set(1, 5)
    inside, left = asyncio.Event(), asyncio.Event()

    async def outside() -> Any:
        await inside.wait()
        found = await one.cache.get(1)
        left.set()
        return found

    async def read_late() -> Any:
        await left.wait()
        return await one.cache.get(1)

    other = asyncio.create_task(outside())
    await asyncio.sleep(0)
    with cache_mode("bypass"):
        inside.set()
        child = asyncio.create_task(read_late())
        assert await asyncio.gather(asyncio.create_task(one.cache.get(1))) == [MISSING]
    assert await one.cache.get(1) == 5
    assert await other == 5
    assert await child is MISSING


async def test_loads_begun_in_a_scope_run_in_it(one: Member[int]) -> None:
    inner: Cache[int] = Cache(one.client, "inner", type=int, ttl=60)
    await inner.set(1, 1)

    async def load() -> int:
        return await inner.get_or_set(1, Source(2).load)

    with cache_mode("bypass", inner):
        assert await one.cache.get_or_set(1, load) == 2
    assert await one.cache.get_or_set(2, load) == 1


async def test_scope_ends_when_its_block_raises_and_may_be_entered_again(
    one: Member[int],
) -> None:
    await one.cache.set(1, 5)
    scope = cache_mode("bypass")
    for _ in range(2):
        with contextlib.suppress(LookupError), scope, scope:
            assert await one.cache.get(1) is MISSING
            raise LookupError
        assert await one.cache.get(1) == 5


def test_scope_closed_in_another_context_ends_nothing_there() -> None:
    import contextvars

    scope = cache_mode("bypass")
    contextvars.copy_context().run(scope.__enter__)
    scope.__exit__(None, None, None)


@pytest.mark.parametrize("mode", ["off", "", None, True])
def test_unknown_mode_is_refused_with_those_there_are(mode: Any) -> None:
    with pytest.raises(
        ConfigError, match="mode must be one of 'normal', 'bypass', 'refresh', 'disable'"
    ):
        cache_mode(mode)


async def test_unknown_mode_of_a_call_is_refused(one: Member[int]) -> None:
    wrong: Any = "off"
    with pytest.raises(ConfigError, match="mode must be one of"):
        await one.cache.get_or_set(1, Source(1).load, mode=wrong)


def test_scope_over_something_else_is_refused() -> None:
    wrong: Any = "user"
    with pytest.raises(ConfigError, match="covers caches and clients, not a str"):
        cache_mode("bypass", wrong)


# -- without Redis -----------------------------------------------------------------------------


async def test_disabled_cache_needs_no_connection() -> None:
    client = Client.from_url("redis://127.0.0.1:1/0", hooks=[])
    policy = CachePolicy(on_unavailable="raise", on_unconfirmed="raise")
    cache: Cache[int] = Cache(client, "n", type=int, ttl=60, policy=policy)

    @cache.cached("{n}")
    async def double(n: int) -> int:
        return 2 * n

    with cache_mode("disable", cache):
        assert await double(2) == 4
        assert await double.get(2) is MISSING
        assert await double.set(5, 2) is False
        assert await double.delete(2) is True
        assert await cache.touch(2) == 0
        assert await cache.ttl(2) is None
        async with cache.writing(2) as write:
            write.set(5)
    with pytest.raises(ClosedError):
        await double(2)
    with cache_mode("bypass"), pytest.raises(ClosedError):
        await double.delete(2)


# -- one request -------------------------------------------------------------------------------

web_client = Client.from_url("memory://", prefix="t", hooks=[])
numbers: Cache[int] = Cache(web_client, "number", type=int, ttl=60)
loads = 0


async def fresh(*, fresh: Annotated[bool, Query()] = False) -> AsyncGenerator[None]:
    with cache_mode("bypass" if fresh else "normal"):
        yield


@numbers.cached("{n}")
async def count(n: int) -> int:
    global loads  # noqa: PLW0603
    loads += 1
    return loads


app = FastAPI(dependencies=[Depends(fresh)])
install(app, web_client)


@app.get("/{n}")
async def read(n: int) -> int:
    return await count(n)


async def test_dependency_with_yield_bypasses_for_one_request(url: str) -> None:
    with override(web_client, url):
        async with serving(app) as http:

            async def ask(query: str = "") -> int:
                return (await http.get(f"/1{query}")).json()

            first = await ask()
            assert await ask() == first
            assert await ask("?fresh=1") == first + 1
            assert await ask() == first
            answers = await asyncio.gather(*(ask("?fresh=1" if n % 2 else "") for n in range(20)))
            assert answers[::2] == [first] * 10
            assert first not in answers[1::2]
