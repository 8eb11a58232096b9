"""Servers that go back in time: an old snapshot, an append-only file cut short, a late replica.

The server has acknowledged a delete and does not know of it any more. What comes back, for how
long, and who takes it away again is told in `docs/explanation/failures.md`; here it is shown.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import MISSING, Cache, CachePolicy
from millpond.events import InvalidationsReplayed
from tests.support.fleet import Member, Source, until
from tests.support.proxy import Proxy
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from millpond import Client

CLEAR = CachePolicy(restart="clear")
FORGET = ["delete", "delete_tags", "clear"]


def clearing(client: Client) -> Cache[int]:
    """Make a cache beside the member's that begins empty under another server."""
    return Cache(client, "c", type=int, ttl=60, policy=CLEAR)


async def forget(cache: Cache[int], how: str) -> None:
    if how == "delete":
        assert await cache.delete(1) is True
    elif how == "delete_tags":
        assert await cache.delete_tags("a") is True
    else:
        assert await cache.clear() is True


async def reconnected(*members: Member[Any]) -> None:
    await until(
        lambda: all(
            (counted := member.client.statistics()).reconnects and counted.state == "up"
            for member in members
        )
    )


@pytest.fixture
def own(start_server: Callable[[Server], Server]) -> Server:
    return start_server(Server())


@pytest.fixture
async def reader(own: Server) -> AsyncIterator[Member[int]]:
    async with Member[int](own.url) as member:
        yield member


# -- an old snapshot ---------------------------------------------------------------------------


async def stored_saved_and_forgotten(
    own: Server, member: Member[int], how: str
) -> dict[str, bytes]:
    """Store a value in two caches, take a snapshot, forget the value; return the snapshot."""
    cleared = clearing(member.client)
    for cache in (member.cache, cleared):
        await cache.set(1, 1, tags=["a"])
    own.execute("SAVE")
    old = own.data()
    for cache in (member.cache, cleared):
        await forget(cache, how)
        assert await cache.get(1) is MISSING
    own.execute("SAVE")  # the newest snapshot has it right; the older one is what is brought back
    return old


@pytest.mark.parametrize("how", FORGET)
async def test_old_snapshot_brings_back_what_a_process_that_is_gone_has_deleted(
    own: Server, reader: Member[int], how: str
) -> None:
    cleared = clearing(reader.client)
    async with Member[int](own.url) as gone:
        old = await stored_saved_and_forgotten(own, gone, how)
    await asyncio.to_thread(own.come_back_with, old)
    await reconnected(reader)
    assert await reader.cache.get(1) == 1, "restart='keep' has to live with that until its TTL"
    assert 0 < (await reader.cache.ttl(1) or 0) <= 60
    assert await cleared.get(1) is MISSING
    async with Member[int](own.url) as born_later:
        assert await born_later.cache.get(1) == 1
        assert await clearing(born_later.client).get(1) is MISSING
    # The next delete is as good as any.
    await forget(reader.cache, how)
    assert await reader.cache.get(1) is MISSING


@pytest.mark.parametrize("how", FORGET)
async def test_process_that_lives_deletes_again_what_it_deleted_within_the_last_minute(
    own: Server, reader: Member[int], how: str
) -> None:
    async with Member[int](own.url) as deleter:
        old = await stored_saved_and_forgotten(own, deleter, how)
        await asyncio.to_thread(own.come_back_with, old)
        await reconnected(reader, deleter)
        await until(lambda: deleter.told(InvalidationsReplayed))
        assert [await member.cache.get(1) for member in (reader, deleter)] == [MISSING, MISSING]
        assert await clearing(reader.client).get(1) is MISSING


async def test_lease_that_an_old_snapshot_brings_back_takes_the_fill_of_its_load(
    own: Server, reader: Member[int]
) -> None:
    """The delete that revoked the load is forgotten as well, until its process says it again.

    The reader's load began before the delete and is filled after it: what it stores is old.
    """
    source = Source(1, held=True)
    load = asyncio.create_task(reader.cache.get_or_set(1, source.load))
    await source.called()
    own.execute("SAVE")
    old = own.data()
    source.value = 2
    async with Member[int](own.url) as deleter:
        assert await deleter.cache.delete(1) is True
        await asyncio.to_thread(own.come_back_with, old)
        await reconnected(reader, deleter)
        await until(lambda: deleter.told(InvalidationsReplayed))
        source.release()
        assert await load == 1
        assert await reader.cache.get(1) is MISSING
        assert await deleter.cache.get_or_set(1, source.load) == 2
        assert await reader.cache.get(1) == 2


# -- an append-only file -----------------------------------------------------------------------


async def test_append_only_file_keeps_what_was_acknowledged_when_the_process_is_killed(
    start_server: Callable[[Server], Server],
) -> None:
    """It is in the kernel's hands before the answer: `everysec` is about power cuts."""
    everysec = ("--appendonly", "yes", "--appendfsync", "everysec")
    own = start_server(Server(args=everysec))
    async with Member[int](own.url) as reader:
        async with Member[int](own.url) as gone:
            await gone.cache.set_many({1: 1, 2: 2}, tags=["a"])
            await gone.cache.set(3, 3)
            assert await gone.cache.delete(3) is True
        await asyncio.to_thread(own.restart)
        await reconnected(reader)
        assert await reader.cache.get(3) is MISSING
        assert await reader.cache.get_many([1, 2]) == {1: 1, 2: 2}


@pytest.mark.parametrize("how", FORGET)
async def test_append_only_file_without_its_last_second_brings_back_what_was_deleted_in_it(
    start_server: Callable[[Server], Server], how: str
) -> None:
    own = start_server(Server(appendonly=True))
    async with Member[int](own.url) as reader:
        cleared = clearing(reader.client)
        async with Member[int](own.url) as gone:
            for cache in (gone.cache, clearing(gone.client)):
                await cache.set(1, 1, tags=["a"])
            old = own.data()  # as after a power cut that took what was not on the disk yet
            for cache in (gone.cache, clearing(gone.client)):
                await forget(cache, how)
        await asyncio.to_thread(own.come_back_with, old)
        await reconnected(reader)
        assert await reader.cache.get(1) == 1
        assert await cleared.get(1) is MISSING


# -- no persistence ----------------------------------------------------------------------------


async def test_server_without_persistence_comes_back_empty_and_fresh(
    own: Server, reader: Member[int]
) -> None:
    source = Source(1)
    await reader.cache.get_or_set(1, source.load, tags=["a"])
    source.value = 2
    await reader.cache.delete_tags("a")
    await asyncio.to_thread(own.restart)
    await reconnected(reader)
    assert await reader.cache.get_or_set(1, source.load, tags=["a"]) == 2
    async with Member[int](own.url) as other:
        assert await other.cache.get(1) == 2


# -- a replica that is promoted ----------------------------------------------------------------


@pytest.mark.parametrize("how", FORGET)
@pytest.mark.parametrize("lives", [True, False], ids=["deleter lives", "deleter is gone"])
async def test_promoted_replica_that_lacks_the_last_deletes(
    own: Server, start_server: Callable[[Server], Server], how: str, *, lives: bool
) -> None:
    replica = start_server(Server())
    own.execute("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    replica.execute("REPLICAOF", own.host, own.port)
    async with (
        Proxy(own.port) as proxy,
        Member[int](proxy.url) as reader,
        Member[int](proxy.url) as deleter,
    ):
        for cache in (deleter.cache, clearing(deleter.client)):
            await cache.set(1, 1, tags=["a"])
        await until(lambda: replica.execute("EXISTS", "t:n:1", "t:c:1") == 2)
        replica.execute("REPLICAOF", "NO", "ONE")  # it hears no more, and is promoted
        for cache in (deleter.cache, clearing(deleter.client)):
            await forget(cache, how)
        assert await reader.cache.get(1) is MISSING
        if not lives:
            await deleter.client.aclose()
        proxy.lead_to(replica.port)
        own.kill()
        await reconnected(reader, *([deleter] if lives else []))
        if lives:
            await until(lambda: deleter.told(InvalidationsReplayed))
        assert await reader.cache.get(1) == (MISSING if lives else 1)
        assert await clearing(reader.client).get(1) is MISSING
        source = Source(2)
        assert await clearing(reader.client).get_or_set(1, source.load) == 2
        assert await reader.cache.delete(1) is True
        assert await reader.cache.get_or_set(1, source.load) == 2


async def test_load_during_a_failover_stores_nothing_where_its_lease_is_not(
    own: Server, start_server: Callable[[Server], Server]
) -> None:
    replica = start_server(Server())
    async with Proxy(own.port) as proxy, Member[int](proxy.url) as reader:
        source = Source(1, held=True)
        load = asyncio.create_task(reader.cache.get_or_set(1, source.load))
        await source.called()
        proxy.lead_to(replica.port)
        own.kill()
        await reconnected(reader)
        source.release()
        assert await load == 1
        assert await reader.cache.get(1) is MISSING
        assert await reader.cache.get_or_set(1, source.load) == 1
        assert await reader.cache.get(1) == 1
