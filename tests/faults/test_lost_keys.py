"""Servers that lose keys: evicted, flushed, their scripts forgotten; and clocks that step.

Whatever is lost may cost loads. It never brings an older value back.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import MISSING, Cache, CachePolicy, NearCache
from millpond.events import FillRefused, LoadUnleased
from tests.support.fleet import Member, Source, until
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

BALLAST = "x" * 20_000
ROOM = 1_200_000  # bytes: for less than half of the rows


@pytest.fixture
def own(start_server: Callable[[Server], Server]) -> Server:
    return start_server(Server())


@pytest.fixture
async def pair(own: Server) -> AsyncIterator[tuple[Member[int], Member[int]]]:
    async with Member[int](own.url) as one, Member[int](own.url) as other:
        yield one, other


Pair = tuple[Member[int], Member[int]]


# -- eviction ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "evicts", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl"]
)
async def test_full_server_that_evicts_gives_nothing_that_is_older_than_the_last_write(
    start_server: Callable[[Server], Server], evicts: str
) -> None:
    """Entries, versions and marks go; what is read is the row, or a load of it."""
    own = start_server(Server(maxmemory_policy=evicts))
    async with Member[str](own.url, type=str) as one, Member[str](own.url, type=str) as other:
        memory: Any = own.execute("INFO", "memory")
        own.execute("CONFIG", "SET", "maxmemory", memory["used_memory"] + ROOM)
        rows = dict.fromkeys(range(150), 0)

        async def read(member: Member[str], key: int) -> int:
            async def load() -> str:
                return f"{rows[key]}:{BALLAST}"

            value = await member.cache.get_or_set(key, load, tags=[("group", key % 10)])
            return int(value.partition(":")[0])

        for step in range(1200):
            key, writer = (step * 7919) % 150, (one, other)[step % 2]
            if step % 3 == 0:
                rows[key] += 1
                assert await writer.cache.delete(key)
            elif step % 3 == 1:
                rows[key] += 1
                assert await writer.cache.delete_tags(("group", key % 10))
            elif step % 5 == 0:
                async with writer.cache.writing(key, tags=[("group", key % 10)]) as write:
                    rows[key] += 1
                    write.set(f"{rows[key]}:{BALLAST}")
            found = await asyncio.gather(read(one, key), read(other, key), read(one, step % 150))
            assert found == [rows[key], rows[key], rows[step % 150]]
        information: Any = own.execute("INFO", "stats")
        assert information["evicted_keys"] > 100
        assert one.cache.statistics().hits > 100


async def test_evicted_version_is_a_miss_for_all_that_was_stored_under_it(pair: Pair) -> None:
    """As Redis evicts: without a word. Who reads next draws another version for all."""
    one, other = pair
    await one.cache.set_many({1: 1, 2: 2}, tags=["a"])
    await one.cache.set(3, 3)
    await one.client.call("DEL", "t:n:{}tag:a")
    assert await other.cache.get_many([1, 2, 3]) == {3: 3}
    await one.client.call("DEL", "t:n:{}era")
    assert await other.cache.get_many([1, 2, 3]) == {}
    source = Source(5)
    assert await other.cache.get_or_set(3, source.load) == 5
    assert await one.cache.get_many([1, 2, 3]) == {3: 5}


async def test_version_that_is_evicted_during_a_load_is_taken_for_a_change(pair: Pair) -> None:
    one, other = pair
    source = Source(1, held=True)
    load = asyncio.create_task(one.cache.get_or_set(1, source.load, tags=["a"]))
    await source.called()
    await other.client.call("DEL", "t:n:{}tag:a")
    source.release()
    assert await load == 1
    assert [event.reason for event in one.told(FillRefused)] == ["invalidated"]
    assert await other.cache.get(1) is MISSING


async def test_mark_that_is_evicted_is_put_again_or_its_writer_stores_nothing(pair: Pair) -> None:
    one, other = pair
    async with one.cache.writing(1) as write:
        await other.client.call("DEL", "t:n:1")
        assert await other.cache.get_or_set(1, Source(1).load) == 1
        write.set(2)
    assert [event.reason for event in one.told(FillRefused)] == ["overlapped"]
    assert await other.cache.get(1) is MISSING, "what was read during the write is gone, too"


async def test_copy_in_the_process_goes_when_its_entry_is_evicted(
    start_server: Callable[[Server], Server],
) -> None:
    own = start_server(Server(maxmemory_policy="volatile-ttl"))  # which takes what ends soonest
    async with Member[str](own.url, type=str, policy=CachePolicy(near=NearCache())) as one:
        await one.cache.set(1, "small", ttl=30)
        assert [await one.cache.get(1) for _ in range(3)] == ["small"] * 3
        assert one.cache.statistics().near_entries == 1
        memory: Any = own.execute("INFO", "memory")
        own.execute("CONFIG", "SET", "maxmemory", memory["used_memory"] + ROOM)
        async with Member[str](own.url, type=str) as other:
            for key in range(2, 150):
                await other.cache.set(key, BALLAST)
        await until(lambda: one.cache.statistics().near_entries == 0)
        assert await one.cache.get(1) is MISSING


# -- FLUSHALL ----------------------------------------------------------------------------------


async def test_flush_during_a_tagged_load_is_a_delete(own: Server, pair: Pair) -> None:
    one, other = pair
    source = Source(1, held=True)
    leader = asyncio.create_task(one.cache.get_or_set(1, source.load, tags=["a"]))
    await source.called()
    waiter = asyncio.create_task(other.cache.get_or_set(1, source.load, tags=["a"]))
    await other.waiting()
    source.value = 2
    own.execute("FLUSHALL")
    await source.called(2)
    source.release()
    assert [await leader, await waiter] == [1, 2]
    assert [event.reason for event in one.told(FillRefused)] == ["revoked"]
    assert [await member.cache.get(1) for member in pair] == [2, 2]


async def test_flush_during_a_write_takes_the_mark_and_leaves_nothing_stale(
    own: Server, pair: Pair
) -> None:
    one, other = pair
    source = Source(1)
    async with one.cache.writing(1) as write:
        own.execute("FLUSHALL")
        assert await other.cache.get_or_set(1, source.load) == 1  # stored: no mark says otherwise
        assert await other.cache.get(1) == 1
        source.value = 2
        write.set(2)
    assert not other.told(LoadUnleased)
    assert await other.cache.get(1) is MISSING
    assert await other.cache.get_or_set(1, source.load) == 2


async def test_flush_brings_nothing_back_that_a_tag_or_clear_had_removed(
    own: Server, pair: Pair
) -> None:
    one, other = pair
    await one.cache.set(1, 1, tags=["a"])
    held: Any = await one.client.call("GET", "t:n:1")
    for forget in (lambda: other.cache.delete_tags("a"), other.cache.clear):
        assert await forget() is True
        own.execute("FLUSHALL")
        await one.client.call("SET", "t:n:1", held, "PX", 60_000)  # as a late, foreign write would
        assert [await member.cache.get(1) for member in pair] == [MISSING, MISSING]
    assert await one.cache.get_or_set(1, Source(2).load, tags=["a"]) == 2
    assert await other.cache.get(1) == 2


# -- SCRIPT FLUSH ------------------------------------------------------------------------------


async def test_forgotten_scripts_are_sent_again_without_a_word(own: Server, pair: Pair) -> None:
    one, other = pair
    source = Source(1)

    async def forgetting(step: Callable[[], Any]) -> Any:
        own.execute("SCRIPT", "FLUSH")
        return await step()

    for _ in range(2):
        source.value += 1
        assert await forgetting(lambda: other.cache.delete(1)) is True
        load = lambda: one.cache.get_or_set(1, source.load, tags=["a"])  # noqa: E731
        assert await forgetting(load) == source.value
        source.value += 1
        assert await forgetting(lambda: other.cache.delete_tags("a")) is True
        assert await forgetting(load) == source.value
        assert await forgetting(lambda: one.cache.set(2, 2, tags=["a"])) is True
        assert await forgetting(other.cache.clear) is True
        assert await one.cache.get(2) is MISSING
        async with other.cache.writing(1) as write:
            own.execute("SCRIPT", "FLUSH")
            write.set(9)
        assert await one.cache.get(1) == 9
    assert not one.told(FillRefused)
    assert not other.told(FillRefused)


async def test_scripts_forgotten_during_a_load_do_not_cost_its_fill(
    own: Server, pair: Pair
) -> None:
    one, other = pair
    source = Source(1, held=True)
    load = asyncio.create_task(one.cache.get_or_set(1, source.load, tags=["a"]))
    await source.called()
    own.execute("SCRIPT", "FLUSH")
    source.release()
    assert await load == 1
    assert await other.cache.get(1) == 1


# -- clocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
async def test_clock_of_a_client_that_steps_by_a_day_changes_no_promise(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, step: float
) -> None:
    one, other = pair
    source = Source(1)
    await one.cache.get_or_set(1, source.load, tags=["a"])
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + step)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(step) * 1_000_000_000)
    assert await other.cache.get(1) == 1
    for forget in (
        lambda: one.cache.delete(1),
        lambda: one.cache.delete_tags("a"),
        one.cache.clear,
    ):
        source.value += 1
        assert await forget() is True
        assert await other.cache.get(1) is MISSING
        crowd = [m.cache.get_or_set(1, source.load, tags=["a"]) for m in pair for _ in range(20)]
        assert await asyncio.gather(*crowd) == [source.value] * 40
        assert source.calls == source.value
    async with one.cache.writing(1) as write:
        assert await other.cache.get(1) is MISSING
        write.set(9)
    assert await other.cache.get(1) == 9
    assert 0 < (await other.cache.ttl(1) or 0) <= 60


async def test_clock_of_a_client_that_is_ahead_makes_values_stale_early_and_loads_them_once(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    policy = CachePolicy(stale_while_revalidate=3600)
    async with Member[int](url, policy=policy) as one, Member[int](url, policy=policy) as other:
        source = Source(1)
        await one.cache.get_or_set(1, source.load)
        now, now_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: now() + 120)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + 120_000_000_000)
        source.value = 2
        found = await asyncio.gather(
            *[m.cache.get_or_set(1, source.load) for m in (one, other) for _ in range(20)]
        )
        assert found == [1] * 40
        await until(
            lambda: not (one.cache.statistics().flights or other.cache.statistics().flights)
        )
        assert source.calls == 2
        assert await one.cache.get(1) == await other.cache.get(1) == 2
        await other.cache.delete(1)
        assert await one.cache.get(1) is MISSING


async def test_lease_that_the_servers_clock_ends_early_costs_a_load_and_its_fill(
    own: Server, pair: Pair
) -> None:
    """A server's clock that jumps ahead expires everything that was to end before then."""
    one, other = pair
    source = Source(1, held=True)
    first = asyncio.create_task(one.cache.get_or_set(1, source.load))
    await source.called()
    own.execute("PEXPIRE", "t:n:1", 1)
    await until(lambda: not own.execute("EXISTS", "t:n:1"))
    source.value = 2
    second = asyncio.create_task(other.cache.get_or_set(1, source.load))
    await source.called(2)
    source.release()
    assert [await first, await second] == [1, 2]
    assert [event.reason for event in one.told(FillRefused)] == ["revoked"]
    assert await one.cache.get(1) == 2


async def test_cache_of_another_namespace_is_not_touched_by_any_of_it(pair: Pair) -> None:
    one, other = pair
    beside: Cache[int] = Cache(one.client, "beside", type=int, ttl=60)
    await beside.set(1, 5)
    await other.client.call("DEL", "t:n:{}era")
    await other.cache.clear()
    assert await beside.get(1) == 5
