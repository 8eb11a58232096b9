"""`get_entry` and `get_or_set_entry`: a value with its age and its future, for HTTP."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Cache, CachePolicy, Client, Entry, cache_mode
from millpond.core.entry import new_generation, pack_value
from millpond.events import LoadFinished
from tests.support.fleet import Member, Source, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

KEY = "t:n:1"


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


async def put(
    one: Member[int], value: int, *, ago: float, px: int = 30_000, soft: int | None = None
) -> None:
    """Store what a process stored some seconds ago."""
    codec: Any = one.cache._store.codec  # pyright: ignore[reportPrivateUsage]
    raw = pack_value(
        new_generation(),
        0,
        codec.fingerprint,
        codec.encode(value),
        created_ms=int((time.time() - ago) * 1000),
        soft_ms=soft,
    )
    await one.in_no_era()
    await one.client.call("SET", KEY, raw, "PX", px)


async def test_value_comes_with_its_age_and_what_it_has_left(one: Member[int]) -> None:
    await put(one, 5, ago=20)
    entry = await one.cache.get_entry(1)
    assert entry is not None
    assert (entry.value, entry.source, entry.stale) == (5, "redis", False)
    assert 20 <= entry.age < 25
    assert 25 < entry.ttl <= 30
    assert entry.fresh_for == entry.ttl
    statistics = one.cache.statistics()
    assert (statistics.hits, statistics.misses) == (1, 0)


@pytest.mark.parametrize(("ago", "soft", "stale"), [(20, 60_000, False), (20, 10_000, True)])
async def test_entry_past_its_soft_expiry_is_stale(
    url: str, ago: float, soft: int, *, stale: bool
) -> None:
    async with Member[int](url, policy=CachePolicy(stale_while_revalidate=60)) as one:
        await put(one, 5, ago=ago, soft=soft, px=100_000)
        entry = await one.cache.get_entry(1)
    assert one.cache.statistics().stale == stale
    assert entry is not None
    assert entry.stale is stale
    assert entry.fresh_for == 0 if stale else 35 < entry.fresh_for <= 40
    assert entry.ttl > 90


async def test_clock_that_is_ahead_makes_no_negative_age(one: Member[int]) -> None:
    await put(one, 5, ago=-100)
    entry = await one.cache.get_entry(1)
    assert entry is not None
    assert entry.age == 0


async def test_entry_made_to_stay_has_no_end(one: Member[int]) -> None:
    await put(one, 5, ago=1)
    await one.client.call("PERSIST", KEY)
    entry = await one.cache.get_entry(1)
    assert entry is not None
    assert entry.ttl == entry.fresh_for == math.inf
    await one.client.call("EXPIRE", KEY, 60)


async def test_none_is_an_entry_and_what_is_no_value_is_none(url: str) -> None:
    async with Member[int | None](url, type=int | None) as one:
        assert await one.cache.get_entry(1) is None
        await one.cache.set(1, None)
        entry = await one.cache.get_entry(1)
        assert isinstance(entry, Entry)
        assert entry.value is None
        for foreign in (b"rubbish", b"\x89M\x01l" + bytes(15), b"\x89M\x01v" + bytes(50)):
            await one.client.call("SET", KEY, foreign, "PX", 60_000)
            assert await one.cache.get_entry(1) is None
        await one.client.pipeline([("DEL", KEY), ("RPUSH", KEY, 1), ("EXPIRE", KEY, 60)])
        assert await one.cache.get_entry(1) is None
        assert one.cache.statistics().misses == 5


async def test_without_redis_there_is_no_entry_or_an_error_as_the_policy_says() -> None:
    async with Client.from_url("redis://127.0.0.1:1/0", hooks=[]) as client:
        cache: Cache[int] = Cache(client, "n", type=int, ttl=60)
        assert await cache.get_entry(1) is None
        entry = await cache.get_or_set_entry(1, Source(5).load)
        assert (entry.value, entry.source, entry.ttl, entry.age) == (5, "loader", 0, 0)
        strict: Cache[int] = Cache(
            client, "n", type=int, ttl=60, policy=CachePolicy(on_unavailable="raise")
        )
        with pytest.raises(Exception, match="is down"):
            await strict.get_entry(1)


async def test_loaded_entry_says_so_and_lives_as_long_as_was_asked(one: Member[int]) -> None:
    source = Source(5)
    for expected in ("loader", "redis"):
        entry = await one.cache.get_or_set_entry(1, source.load, ttl=20)
        assert (entry.value, entry.source) == (5, expected)
        assert 15 < entry.ttl <= 20
        assert 0 <= entry.age < 5
    assert source.calls == 1


async def test_value_that_was_not_stored_has_no_time_to_live(one: Member[int]) -> None:
    async def deleted_meanwhile() -> int:
        await one.cache.delete(1)
        return 5

    entry = await one.cache.get_or_set_entry(1, deleted_meanwhile)
    assert (entry.value, entry.source, entry.ttl, entry.fresh_for) == (5, "loader", 0, 0)
    await one.cache.set(1, 7)
    for scoped in (True, False):
        with cache_mode("bypass" if scoped else "normal"):
            mode = None if scoped else "bypass"
            entry = await one.cache.get_or_set_entry(1, Source(6).load, mode=mode)
        assert (entry.value, entry.source, entry.ttl) == (6, "loader", 0)
    with cache_mode("bypass"):
        assert await one.cache.get_entry(1) is None


KEEPS = CachePolicy(stale_while_revalidate=60)
FALLS_BACK = CachePolicy(stale_if_error=60, stale_retry=30)


async def test_entry_of_which_a_tag_was_expired_is_stale_before_its_time(url: str) -> None:
    async with Member[int](url, policy=KEEPS) as one:
        await one.cache.set(1, 5, tags=["a"])
        entry = await one.cache.get_entry(1)
        assert entry is not None
        assert (entry.stale, 55 < entry.fresh_for <= 60) == (False, True)
        await one.cache.expire_tags("a")
        entry = await one.cache.get_entry(1)
        assert entry is not None
        assert (entry.value, entry.stale, entry.fresh_for) == (5, True, 0)
        assert entry.ttl > 110
        assert one.cache.statistics().stale == 1
        await one.cache.delete_tags("a")
        assert await one.cache.get_entry(1) is None


async def test_entry_of_an_era_that_has_ended_is_none(one: Member[int]) -> None:
    await one.cache.set(1, 5)
    await one.cache.clear()
    assert await one.cache.get_entry(1) is None


async def test_stale_entry_is_given_as_it_is_and_refreshed(url: str) -> None:
    async with Member[int](url, policy=KEEPS) as one:
        await put(one, 5, ago=20, soft=10_000, px=100_000)
        source = Source(6)
        entry = await one.cache.get_or_set_entry(1, source.load)
        assert (entry.value, entry.source, entry.stale, entry.fresh_for) == (5, "redis", True, 0)
        assert 20 <= entry.age < 25
        assert entry.ttl > 90
        await until(lambda: one.told(LoadFinished))
        entry = await one.cache.get_or_set_entry(1, source.load)
        assert (entry.value, entry.source, entry.stale) == (6, "redis", False)
        assert entry.age < 5


@pytest.mark.parametrize("ends", ["fails", "takes longer"])
async def test_entry_that_stands_in_for_a_load_says_how_old_it_is(url: str, ends: str) -> None:
    slow = CachePolicy(stale_if_error=60, stale_after=0.05)
    async with Member[int](url, policy=FALLS_BACK if ends == "fails" else slow) as one:
        await put(one, 5, ago=20, soft=10_000, px=100_000)
        source = Source(6, held=ends != "fails")

        async def load() -> int:
            value = await source.load()
            if ends == "fails":
                raise KeyError("row")
            return value

        entry = await one.cache.get_or_set_entry(1, load)
        assert (entry.value, entry.source, entry.stale, entry.fresh_for) == (5, "redis", True, 0)
        assert 20 <= entry.age < 25
        assert 90 < entry.ttl <= 100
        source.release()
        await until(lambda: not one.cache.statistics().flights)


async def test_loaded_value_is_not_described_by_an_older_one_that_was_left(url: str) -> None:
    async with Member[int](url, policy=KEEPS) as one:

        async def overtaken() -> int:
            await one.cache.set(1, 5)
            await one.cache.expire(1)
            return 6

        entry = await one.cache.get_or_set_entry(1, overtaken)
        assert (entry.value, entry.source, entry.stale, entry.ttl) == (6, "loader", False, 0)
        assert await one.cache.get(1) == 5


async def test_hit_is_one_round_trip_and_its_tags_are_those_of_the_call(one: Member[int]) -> None:
    source = Source(5)
    await one.cache.get_or_set_entry(1, source.load, tags=["a"])
    before = one.client.statistics().batches
    entry = await one.cache.get_or_set_entry(1, source.load, tags=["a"])
    assert entry.source == "redis"
    assert one.client.statistics().batches - before == 1
    await one.cache.delete_tags("a")
    assert (await one.cache.get_or_set_entry(1, source.load, tags=["a"])).source == "loader"
    statistics = one.cache.statistics()
    assert (statistics.hits, statistics.misses, source.calls) == (1, 2, 2)


async def test_entry_of_any_server_tells_the_same(flavoured_server: Server) -> None:
    async with Member[int](flavoured_server.url) as one:
        await one.cache.set(1, 5, ttl=10)
        entry = await one.cache.get_entry(1)
        assert entry is not None
        assert entry.value == 5
        assert 5 < entry.ttl <= 10
