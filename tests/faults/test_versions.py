"""Versions of namespaces and tags when Redis is lost, and when it comes back as another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import MISSING, Cache, CachePolicy, Client, ConfigError, InvalidationPending, Loaded
from millpond.events import DeleteUnconfirmed, InvalidationsReplayed
from tests.support.fleet import Member, Source, until
from tests.support.proxy import Proxy
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.events import Event

pytestmark = pytest.mark.both_loops

CLEAR = CachePolicy(restart="clear")


async def load() -> str:
    return "loaded"


@pytest.mark.parametrize("what", ["delete_tags", "expire_tags", "clear"])
@pytest.mark.parametrize("policy", ["journal", "raise"])
async def test_invalidation_during_an_outage_is_replayed_before_this_process_reads(
    start_server: Callable[[Server], Server], what: str, policy: Any
) -> None:
    server = start_server(Server())
    events: list[Event] = []
    async with Proxy(server.port) as proxy:
        client = Client.from_url(proxy.url, prefix="t", hooks=[events.append])
        async with client:
            users = Cache(
                client, "user", type=str, ttl=60, policy=CachePolicy(on_unconfirmed=policy)
            )
            assert await users.get_or_set(1, load, tags=["a"]) == "loaded"
            await proxy.refuse()
            proxy.cut_all()
            await until(lambda: client.statistics().state == "down")
            call = users.clear() if what == "clear" else getattr(users, what)("a")
            if policy == "raise":
                with pytest.raises(InvalidationPending):
                    await call
            else:
                assert await call is False
            assert client.statistics().journal >= 1
            first: list[str] = []

            async def read() -> None:  # as soon as calls are let through again
                while True:
                    found = await users.get(1, default="")
                    if client.statistics().state == "up":
                        first.append(found)
                        return
                    await asyncio.sleep(0)

            reader = asyncio.create_task(read())
            await proxy.accept()
            await asyncio.wait_for(reader, 10)
            assert first == [""]
            await until(lambda: client.statistics().journal == 0)
            assert any(isinstance(event, InvalidationsReplayed) for event in events)


async def test_pending_clear_survives_a_later_delete_of_tags(
    start_server: Callable[[Server], Server],
) -> None:
    """Both change the namespace's version, but not the same part of it."""
    server = start_server(Server())
    async with Proxy(server.port) as proxy, Member[int](proxy.url) as one:
        await one.cache.set(1, 1)
        await proxy.refuse()
        proxy.cut_all()
        await until(lambda: one.client.statistics().state == "down")
        assert await one.cache.clear() is False
        assert await one.cache.delete_tags("a") is False
        await proxy.accept()
        await until(lambda: one.client.statistics().state == "up")
        assert await one.cache.get(1) is MISSING
        await until(lambda: one.client.statistics().journal == 0)


# -- an epoch that is refused, and tags that are not --------------------------------------------


@pytest.mark.parametrize("what", ["delete_tags", "expire_tags"])
@pytest.mark.parametrize("stored", ["before it is said again", "after it was refused again"])
async def test_tag_whose_epoch_alone_was_refused_is_owed_until_it_was_changed_after_it(
    start_server: Callable[[Server], Server], what: str, stored: str
) -> None:
    server = start_server(Server())
    tags = (">secret", "resetkeys", "~t:n:{}tag:*", "&*", "+@all")
    server.execute("ACL", "SETUSER", "app", "on", *tags)
    url = server.tcp_url.replace("redis://", "redis://app:secret@")
    tag = "t:n:{}tag:a"
    async with Member[int](server.url) as one, Member[int](url) as other:
        source = Source(1, held=True)

        async def load_tagged() -> Loaded[int]:
            return Loaded(await source.load(), tags=["a"])

        early = asyncio.create_task(one.cache.get_or_set(1, load_tagged))
        await source.called()
        source.value = 2
        assert await getattr(other.cache, what)("a") is False
        assert [event.keys for event in other.told(DeleteUnconfirmed)] == [(tag,)]
        changed = server.execute("GET", tag)
        assert changed, "most readers need it alone"
        if stored == "after it was refused again":
            await until(lambda: server.execute("GET", tag) != changed)
        assert other.client.statistics().journal == 2
        source.release()
        assert await early == 1, "its call began before"
        assert await one.cache.get(1) == 1, "nothing that was acknowledged forbids it"
        server.execute("ACL", "SETUSER", "app", "~*")
        await until(lambda: other.client.statistics().journal == 0)
        assert await one.cache.get(1) is MISSING
        assert [event.count for event in other.told(InvalidationsReplayed)] == [2]


# -- a server that was restarted ---------------------------------------------------------------


async def back(server: Server, *members: Member[Any]) -> None:
    """Restart the server, and wait until everybody has noticed."""
    reconnects = [member.client.statistics().reconnects for member in members]
    await asyncio.to_thread(server.restart)
    for member, before in zip(members, reconnects, strict=True):
        await until(
            lambda member=member, before=before: (
                member.client.statistics().reconnects > before
                and member.client.statistics().state == "up"
            )
        )


async def test_restart_keeps_or_clears_what_the_server_kept(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(appendonly=True))
    async with (
        Member[int](server.url) as keeping,
        Member[int](server.url, policy=CLEAR) as clearing,
    ):
        cleared = Cache(clearing.client, "c", type=int, ttl=60, policy=CLEAR)
        await keeping.cache.set(1, 1)
        await cleared.set(1, 1)
        assert await cleared.get(1) == 1
        await back(server, keeping, clearing)
        assert await keeping.cache.get(1) == 1
        assert await cleared.get(1) is MISSING
        assert await cleared.get_or_set(1, Source(2).load) == 2
        assert await cleared.get(1) == 2


async def test_namespace_is_cleared_once_for_all_processes_those_born_later_included(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(appendonly=True))
    async with (
        Member[int](server.url, policy=CLEAR) as one,
        Member[int](server.url, policy=CLEAR) as other,
    ):
        await one.cache.set_many({1: 1, 2: 2})
        await back(server, one, other)
        source = Source(5)
        found = await asyncio.gather(
            *[member.cache.get_or_set(1, source.load) for member in (one, other) for _ in "ab"]
        )
        assert found == [5] * 4
        assert source.calls == 1
        async with Member[int](server.url, policy=CLEAR) as born_later:
            assert await born_later.cache.get(2) is MISSING
            assert await born_later.cache.get_or_set(2, Source(6).load) == 6
            assert await born_later.cache.get(1) == 5
        assert [await one.cache.get(1), await other.cache.get(2)] == [5, 6]


async def test_process_born_after_the_restart_serves_nothing_from_before(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(appendonly=True))
    async with Member[int](server.url, policy=CLEAR) as one:
        await one.cache.set(1, 1)
    await asyncio.to_thread(server.restart)
    async with Member[int](server.url, policy=CLEAR) as other:
        assert await other.cache.get(1) is MISSING


async def test_clearing_at_a_restart_works_in_memory_and_is_refused_without_a_run_id(
    server: Server,
) -> None:
    async with Member[int]("memory://", policy=CLEAR) as one:
        assert await one.cache.get_or_set(1, Source(1).load) == 1
        assert await one.cache.get(1) == 1
    import redis.asyncio

    theirs = redis.asyncio.Redis(unix_socket_path=server.socket_path)
    try:
        async with Client.from_redis(theirs, prefix="t", hooks=[]) as client:
            users = Cache(client, "n", type=int, ttl=60, policy=CLEAR)
            with pytest.raises(ConfigError, match=r"\+info"):
                await users.get_or_set(1, Source(1).load)
    finally:
        await theirs.aclose()
