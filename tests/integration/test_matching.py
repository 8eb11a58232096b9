"""`delete_matching` removes the entries of its namespace that match, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import (
    MISSING,
    BackendError,
    Cache,
    CachePolicy,
    Client,
    ConfigError,
    InvalidationPending,
    Limiter,
    Locks,
    ReplyError,
    SlidingWindow,
)
from tests.support.fleet import Member, Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


async def left(cache: Cache[int], keys: list[Any]) -> list[Any]:
    """List the keys that still have a value."""
    return [key for key in keys if await cache.get(key) is not MISSING]


async def test_what_matches_goes_and_the_rest_stays(flavoured_server: Server) -> None:
    async with Member[int](flavoured_server.url) as one:
        cache = one.cache
        keys = [1, 41, 42, "42x", ("shop", 1), ("shop", 2), ("shop", "a:b"), "a*b", "h\N{OGONEK}"]
        for pattern, goes in [
            ("4?", [41, 42]),
            ("4*", [41, 42, "42x"]),
            ("shop:*", [("shop", 1), ("shop", 2), ("shop", "a:b")]),
            ("shop:[12]", [("shop", 1), ("shop", 2)]),
            ("*%3A*", [("shop", "a:b")]),
            (r"a\*b", ["a*b"]),
            ("h\N{OGONEK}", ["h\N{OGONEK}"]),
            ("nothing*", []),
            ("*", keys),
        ]:
            await cache.set_many(dict.fromkeys(keys, 1))
            assert await cache.delete_matching(pattern) == len(goes)
            assert await left(cache, keys) == [key for key in keys if key not in goes]
            await cache.delete(*keys)


async def test_thousands_go_in_bounded_batches(one: Member[int]) -> None:
    await one.cache.set_many(dict.fromkeys(range(2500), 1))
    await one.cache.set_many({("kept", n): 1 for n in range(500)})
    assert await one.cache.delete_matching("[0-9]*") == 2500
    assert await one.cache.delete_matching("kept:*") == 500


async def test_nothing_else_on_the_server_is_touched(one: Member[int], server: Server) -> None:
    client = one.client
    locks = Locks(client, "n", lease=30)
    limits = Limiter(client, "n", SlidingWindow(5, per=60))
    other: Cache[int] = Cache(client, "nn", type=int, ttl=60)
    await other.set(1, 1)
    await limits.hit("1")
    for name in ("t:n:foreign", "n:1", "xt:n:1", b"t:n:\xff", "t:n:with space", "t:n:{tag}"):
        await client.call("SET", name, "somebody's", "EX", 60)
    await client.call("SET", "t:n:{entry}", b"\x89M\x01v", "EX", 60)
    await client.call("RPUSH", "t:n:list", 1)
    await client.call("EXPIRE", "t:n:list", 60)
    await one.cache.get_or_set(2, Source(1).load)
    await one.cache.delete(2)
    async with locks.hold("1"):
        with server.redis() as behind:
            before: Any = set(behind.scan_iter())
        await one.cache.set(1, 1)
        assert await one.cache.delete_matching("*") == 1
        with server.redis() as behind:
            assert set(behind.scan_iter()) == before
    assert len(before) >= 10


@pytest.mark.parametrize("prefix", ["t*", "t?", "[st]", "t\\", "t[", "*"])
async def test_prefix_that_looks_like_a_pattern_is_taken_as_it_is(url: str, prefix: str) -> None:
    async with (
        Client.from_url(url, prefix=prefix, hooks=[]) as ours,
        Client.from_url(url, prefix="tt", hooks=[]) as theirs,
        Client.from_url(url, prefix="t", hooks=[]) as others,
    ):
        caches: list[Cache[int]] = [
            Cache(client, "n", type=int, ttl=60) for client in (ours, theirs, others)
        ]
        for cache in caches:
            await cache.set(1, 1)
        assert await caches[0].delete_matching("*") == 1
        assert [await cache.get(1) for cache in caches] == [MISSING, 1, 1]


async def test_load_under_way_stores_nothing(one: Member[int]) -> None:
    source = Source(1, held=True)
    loading = asyncio.create_task(one.cache.get_or_set(1, source.load))
    await source.called()
    assert await one.cache.delete_matching("1") == 1
    source.release()
    assert await loading == 1
    assert await one.cache.get(1) is MISSING


async def test_write_mark_stays_and_its_value_is_not_stored(one: Member[int]) -> None:
    async with one.cache.writing(1) as write:
        write.set(5)
        assert await one.cache.delete_matching("*") == 1
        assert await one.cache.set(1, 6) is False
    assert await one.cache.get(1) is MISSING


@pytest.mark.parametrize("pattern", ["", None, 42, b"*", "\ud800"])
async def test_what_is_no_pattern_is_refused(one: Member[int], pattern: Any) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        await one.cache.delete_matching(pattern)


async def test_without_redis_it_raises_whatever_the_policy_says(server: Server) -> None:
    async with Member[int](
        "redis://127.0.0.1:1/0", policy=CachePolicy(on_unavailable="load")
    ) as one:
        with pytest.raises(BackendError):
            await one.cache.delete_matching("*")


async def test_refused_deletes_are_told(one: Member[int], server: Server) -> None:
    await one.cache.set(1, 1)
    server.execute("ACL", "SETUSER", "scanner", "on", ">x", "~*", "+@all", "-evalsha", "-eval")
    try:
        url = server.tcp_url.replace("redis://", "redis://scanner:x@")
        async with Member[int](url) as other:
            with pytest.raises(InvalidationPending) as pending:
                await other.cache.delete_matching("*")
            assert pending.value.keys == ("t:n:1",)
    finally:
        server.execute("ACL", "DELUSER", "scanner")


async def test_missing_permission_to_scan_is_named(server: Server) -> None:
    server.execute("ACL", "SETUSER", "blind", "on", ">x", "~*", "+@all", "-scan")
    try:
        url = server.tcp_url.replace("redis://", "redis://blind:x@")
        async with Member[int](url) as one:
            with pytest.raises(ReplyError, match=r"(?s)NOPERM.*scan"):
                await one.cache.delete_matching("*")
    finally:
        server.execute("ACL", "DELUSER", "blind")


async def test_in_memory_it_works_too() -> None:
    async with Client.from_url("memory://", hooks=[]) as client:
        cache: Cache[int] = Cache(client, "n", type=int, ttl=60)
        await cache.set_many(dict.fromkeys(range(20), 1))
        assert await cache.delete_matching("1*") == 11
