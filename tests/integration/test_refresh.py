"""`refresh`: what it gives was loaded after the call began, and is stored unless revoked."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from millpond import MISSING, Cache, CachePolicy, LoadDeadlock, cache_mode
from tests.support.fleet import Member, Source, ask, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.fixture
async def two(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


async def test_value_is_loaded_and_stored_over_what_is_there(flavoured_server: Server) -> None:
    async with Member[int](flavoured_server.url) as one:
        source = Source(1)
        assert await one.cache.refresh(1, source.load) == 1
        source.value = 2
        assert await one.cache.get(1) == 1
        assert await one.cache.refresh(1, source.load, ttl=20) == 2
        assert await one.cache.get(1) == 2
        left = await one.cache.ttl(1)
        assert left is not None
        assert left <= 20
        assert source.calls == 2


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_load_that_began_before_is_not_taken(
    one: Member[int], two: Member[int], *, elsewhere: bool
) -> None:
    source = Source(1, held=True)
    early = ask(two if elsewhere else one, source.load)
    await source.called()
    source.value = 2
    late = asyncio.create_task(one.cache.refresh(1, source.load))
    await (one.waiting() if elsewhere else asyncio.sleep(0))
    source.release()
    assert await late == 2
    assert await early == 1
    assert await one.cache.get(1) == 2
    assert source.calls == 2


async def test_calls_that_come_before_a_load_share_it(one: Member[int]) -> None:
    source = Source(1, held=True)
    early = asyncio.create_task(one.cache.refresh(1, source.load))
    await source.called()
    source.value = 2
    crowd = [asyncio.create_task(one.cache.refresh(1, source.load)) for _ in range(50)]
    await asyncio.sleep(0)
    source.release()
    assert await asyncio.gather(*crowd) == [2] * 50
    assert await early == 1
    assert (source.calls, source.most) == (2, 1)


async def test_readers_wait_for_a_refresh_instead_of_loading(
    one: Member[int], two: Member[int]
) -> None:
    source = Source(1, held=True)
    refreshing = asyncio.create_task(one.cache.refresh(1, source.load))
    await source.called()
    here, there = ask(one, source.load), ask(two, source.load)
    await two.waiting()
    source.release()
    assert await asyncio.gather(refreshing, here, there) == [1, 1, 1]
    assert source.calls == 1


async def test_delete_during_a_refresh_revokes_it(one: Member[int], two: Member[int]) -> None:
    source = Source(1, held=True)
    await one.cache.set(1, 0)
    refreshing = asyncio.create_task(one.cache.refresh(1, source.load))
    await source.called()
    assert await two.cache.delete(1)
    source.release()
    assert await refreshing == 1
    assert await one.cache.get(1) is MISSING


async def test_under_a_write_mark_it_loads_and_stores_nothing(
    one: Member[int], two: Member[int]
) -> None:
    async with two.cache.writing(1) as write:
        assert await one.cache.refresh(1, Source(1).load) == 1
        write.set(5)
    assert await one.cache.get(1) == 5


async def test_stored_error_is_loaded_over(url: str) -> None:
    async with Member[int](url, policy=CachePolicy(error_ttl=60)) as one:

        async def fail() -> int:
            raise LookupError

        with pytest.raises(LookupError):
            await one.cache.get_or_set(1, fail)
        assert await one.cache.refresh(1, Source(1).load) == 1
        assert await one.cache.get(1) == 1


async def test_failure_of_the_load_before_is_not_the_refreshs(one: Member[int]) -> None:
    begun, end = asyncio.Event(), asyncio.Event()
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: unheard.append(what))

    async def fail() -> int:
        begun.set()
        await end.wait()
        raise LookupError

    early = ask(one, fail)
    await begun.wait()
    late = asyncio.create_task(one.cache.refresh(1, Source(1).load))
    await asyncio.sleep(0)
    end.set()
    with pytest.raises(LookupError):
        await early
    assert await late == 1
    del early
    gc.collect()
    assert unheard == []


async def test_cancelled_caller_leaves_the_refresh_to_the_others(one: Member[int]) -> None:
    source = Source(1, held=True)
    first = asyncio.create_task(one.cache.refresh(1, source.load))
    await source.called()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.release()
    await until(lambda: not one.cache.statistics().flights)
    assert await one.cache.get(1) == 1


async def test_loader_that_refreshes_its_own_key_is_an_error(one: Member[int]) -> None:
    async def own() -> int:
        return await one.cache.refresh(1, Source(1).load)

    for call in (one.cache.refresh, one.cache.get_or_set):
        with pytest.raises(LoadDeadlock):
            await call(1, own)


async def test_without_redis_it_loads() -> None:
    async with Member[int]("redis://127.0.0.1:1/0") as one:
        assert await one.cache.refresh(1, Source(1).load) == 1


# -- by scope, call and function ---------------------------------------------------------------


async def test_scope_refreshes_what_is_asked_for_inside_and_what_that_asks_for(
    one: Member[int],
) -> None:
    inner: Cache[int] = Cache(one.client, "inner", type=int, ttl=60)
    source = Source(1)

    async def load() -> int:
        return await inner.get_or_set(1, source.load)

    assert await one.cache.get_or_set(1, load) == 1
    source.value = 2
    with cache_mode("refresh"):
        assert await one.cache.get(1) == 1
        assert await one.cache.get_or_set(1, load) == 2
    assert await one.cache.get(1) == await inner.get(1) == 2
    source.value = 3
    with cache_mode("refresh", inner):
        assert await one.cache.get_or_set(1, load) == 2
    assert await one.cache.get_or_set(1, load, mode="refresh") == 2
    with cache_mode("bypass"):
        assert await one.cache.refresh(1, load) == 3
    with cache_mode("disable"):
        assert await one.cache.refresh(2, Source(4).load) == 4
    assert await one.cache.get(2) is MISSING


async def test_cached_function_is_refreshed_by_its_arguments(one: Member[int]) -> None:
    calls = 0

    @one.cache.cached("{key}", ttl=20)
    async def count(key: int) -> int:
        nonlocal calls
        calls += 1
        return calls

    assert await count(1) == 1
    assert await count.refresh(key=1) == 2
    assert await count(1) == 2
    with cache_mode("refresh", one.cache):
        assert await count(1) == 3
    assert await count.get(1) == 3
    left = await one.cache.ttl(1)
    assert left is not None
    assert left <= 20
