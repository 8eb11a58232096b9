"""`Cache` on a real server: values, None, TTLs, deletes, statistics."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from millpond import MISSING, Cache, CachePolicy, Client, ConfigError, ReplyError
from millpond.events import DeleteUnconfirmed
from tests.support.fleet import Member, Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tests.support.servers import Server

KEY = "t:n:1"


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


# -- values ------------------------------------------------------------------------------------


async def test_miss_is_missing_and_a_value_is_found_until_it_is_deleted(one: Member[int]) -> None:
    cache = one.cache
    assert await cache.get(1) is MISSING
    assert not MISSING
    assert await cache.get(1, default=-1) == -1
    assert await cache.set(1, 5) is True
    assert await cache.get(1) == 5
    assert await cache.get("1") == 5
    assert await cache.delete(1) is True
    assert await cache.get(1) is MISSING


async def test_none_is_a_value_and_is_not_loaded_again(url: str) -> None:
    async with Member[int | None](url, type=int | None) as one:
        source = Source[int | None](None)
        for _ in range(2):
            assert await one.cache.get_or_set(1, source.load) is None
        assert source.calls == 1
        assert await one.cache.get(1, default=-1) is None
        assert await one.cache.set(2, None)
        assert await one.cache.get(2) is None


async def test_none_may_live_shorter_and_any_call_may_choose_its_ttl(url: str) -> None:
    policy = CachePolicy(none_ttl=10)
    async with Member[int | None](url, type=int | None, ttl=60, policy=policy) as one:

        async def left(key: int) -> int:
            return await one.client.call("PTTL", one.cache.key(key))

        await one.cache.get_or_set(1, Source[int | None](None).load)
        await one.cache.get_or_set(2, Source[int | None](5).load)
        await one.cache.get_or_set(3, Source[int | None](5).load, ttl=20)
        await one.cache.set(4, 5, ttl=timedelta(seconds=30))
        await one.cache.set(5, None)
        await one.cache.get_or_set(6, Source[int | None](None).load, ttl=40)
        for key, seconds in [(1, 10), (2, 60), (3, 20), (4, 30), (5, 10), (6, 40)]:
            assert seconds - 5 < (await left(key)) / 1000 <= seconds


async def test_jitter_spreads_the_ends_of_entries_stored_together(url: str) -> None:
    async with Member[int](url, ttl=60, policy=CachePolicy(jitter=30)) as one:
        for key in range(50):
            await one.cache.get_or_set(key, Source(key).load)
        keys = [("PTTL", one.cache.key(key)) for key in range(50)]
        left = await one.client.pipeline(keys)
        assert min(left) > 29_000
        assert max(left) <= 60_000
        assert max(left) - min(left) > 10_000


async def test_value_that_has_expired_is_loaded_again(url: str) -> None:
    async with Member[int](url, ttl=0.05) as one:
        source = Source(1)
        assert await one.cache.get_or_set(1, source.load) == 1
        source.value = 2
        await one.client.call("PEXPIRE", KEY, 1)
        async with one.client.watch(KEY) as watch:
            await watch.changed(timeout=0.01)
        assert await one.cache.get_or_set(1, source.load) == 2


async def test_two_caches_of_one_name_share_and_of_two_do_not(url: str) -> None:
    async with Client.from_url(url, prefix="t") as client:
        numbers, same = (Cache[int](client, "n", type=int, ttl=60) for _ in range(2))
        others: Cache[int] = Cache(client, "other", type=int, ttl=60)
        await numbers.set(1, 5)
        assert await same.get(1) == 5
        assert await others.get(1) is MISSING


async def test_cache_works_over_a_redis_client_that_somebody_else_made(server: Server) -> None:
    from redis.asyncio import Redis

    async with Redis(unix_socket_path=server.socket_path) as redis:
        async with Client.from_redis(redis, prefix="t") as client, Member[int](server.url) as other:
            cache: Cache[int] = Cache(client, "n", type=int, ttl=60)
            source = Source(1, held=True)
            leader = asyncio.create_task(other.cache.get_or_set(1, source.load))
            await source.called()
            waiter = asyncio.create_task(cache.get_or_set(1, source.load))
            source.release()
            assert [await leader, await waiter] == [1, 1]
            assert source.calls == 1
            assert await cache.delete(1)
            assert await other.cache.get(1) is MISSING


# -- deletes -----------------------------------------------------------------------------------


async def test_delete_of_thousands_is_acknowledged_and_removes_them_all(one: Member[int]) -> None:
    keys = range(3500)
    await one.client.pipeline([("SET", one.cache.key(key), "x", "PX", 60_000) for key in keys])
    assert await one.client.call("DBSIZE") == 3500
    assert await one.cache.delete(*keys) is True
    assert await one.client.call("DBSIZE") == 0


async def test_delete_of_thousands_fits_through_a_narrow_client(url: str) -> None:
    async with Member[int](url, max_inflight=10) as one:
        await one.cache.set(3499, 5)
        assert await one.cache.delete(*range(3500)) is True
        assert await one.cache.get(3499) is MISSING


async def test_delete_of_nothing_and_of_what_is_not_there_is_acknowledged(one: Member[int]) -> None:
    assert await one.cache.delete() is True
    assert await one.cache.delete(1, 2) is True
    assert not one.events[1:]


async def test_plain_del_of_the_key_by_anybody_is_a_delete(one: Member[int]) -> None:
    await one.cache.set(1, 5)
    await one.client.call("DEL", one.cache.key(1))
    assert await one.cache.get(1) is MISSING


async def test_cancelled_delete_has_deleted_nonetheless(one: Member[int]) -> None:
    await one.cache.set(1, 5)
    deleting = asyncio.create_task(one.cache.delete(1))
    await asyncio.sleep(0)
    deleting.cancel()
    await asyncio.wait([deleting])
    assert await one.cache.get(1) is MISSING


async def test_delete_with_a_key_that_cannot_be_one_deletes_nothing(one: Member[int]) -> None:
    await one.cache.set(1, 5)
    with pytest.raises(ConfigError):
        await one.cache.delete(1, 2.5)  # pyright: ignore[reportArgumentType]
    assert await one.cache.get(1) == 5


async def test_delete_that_redis_refuses_is_false_and_told_with_its_keys(one: Member[int]) -> None:
    await one.client.call("ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all", "-del")
    try:
        async with limited(one, "reader:pw") as reader:
            assert await reader.cache.set(1, 5)
            assert await reader.cache.delete(1, 2) is False
            (told,) = reader.told(DeleteUnconfirmed)
            assert told.keys == ("t:n:1", "t:n:2")
            assert told.reason.startswith("NOPERM")
            assert reader.cache.statistics().unconfirmed_deletes == 2
            assert await reader.cache.get(1) == 5
    finally:
        await one.client.call("ACL", "DELUSER", "reader")


@asynccontextmanager
async def limited(member: Member[int], login: str) -> AsyncGenerator[Member[int]]:
    """Open another member that logs in as a user of the server."""
    port = (await member.client.call("CONFIG", "GET", "port"))[b"port"].decode()
    async with Member[int](f"redis://{login}@127.0.0.1:{port}/0") as other:
        yield other


async def test_missing_permission_to_read_or_claim_is_an_error_and_hides_nothing(
    one: Member[int],
) -> None:
    for number, lacking in enumerate(["-get", "-evalsha"]):
        user = f"poor{number}"
        await one.client.call("ACL", "SETUSER", user, "on", ">pw", "~*", "&*", "+@all", lacking)
        try:
            async with limited(one, f"{user}:pw") as poor:
                with pytest.raises(ReplyError, match="NOPERM"):
                    await poor.cache.get_or_set(1, Source(1).load)
        finally:
            await one.client.call("ACL", "DELUSER", user)


# -- statistics --------------------------------------------------------------------------------


async def test_statistics_count_what_happened(one: Member[int], url: str) -> None:
    async with Member[int](url) as other:
        cache = one.cache
        source = Source(1, held=True)
        await cache.get(1)
        loading = asyncio.create_task(cache.get_or_set(1, source.load))
        await source.called()
        waiting = asyncio.create_task(other.cache.get_or_set(1, source.load))
        await other.waiting()
        assert cache.statistics().flights == other.cache.statistics().flights == 1
        source.release()
        await asyncio.gather(loading, waiting)
        for _ in range(3):
            await cache.get_or_set(1, source.load)
        await cache.get(1)
        await one.client.call("SET", KEY, b"foreign", "PX", 60_000)
        await cache.get(1)

        async def fail() -> int:
            await cache.delete(2)
            raise LookupError

        with pytest.raises(LookupError):
            await cache.get_or_set(2, fail)

        async def revoked() -> int:
            await cache.delete(3)
            return 3

        await cache.get_or_set(3, revoked)
        counted = cache.statistics()
    assert (counted.hits, counted.misses) == (4, 5)
    assert counted.hit_ratio == pytest.approx(4 / 9)
    assert (counted.loads, counted.load_failures) == (3, 1)
    assert counted.refused_fills == 1
    assert counted.unreadable == 1
    assert (counted.waits, counted.unleased_loads, counted.unconfirmed_deletes) == (0, 0, 0)
    assert counted.flights == 0
    assert other.cache.statistics().waits == 1
    assert other.cache.statistics().loads == 0


async def test_call_that_starts_over_is_one_miss(one: Member[int]) -> None:
    source = Source(1, held=True)
    early = asyncio.create_task(one.cache.get_or_set(1, source.load))
    await source.called()
    late = asyncio.create_task(one.cache.get_or_set(1, source.load))
    await one.joined(2)
    await one.cache.delete(1)
    source.release()
    await asyncio.gather(early, late)
    assert one.cache.statistics().loads == 2
    assert one.cache.statistics().misses == 2
