"""Deletes that Redis could not be told: kept, and said again before anything is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import BackendUnavailable, Cache, CachePolicy, Client, InvalidationPending
from millpond.core.journal import Invalidation, Journal
from millpond.core.link import Refusing
from millpond.core.scripts import Script
from millpond.events import (
    DeleteUnconfirmed,
    InvalidationsDropped,
    InvalidationsLeft,
    InvalidationsReplayed,
)
from tests.support.fleet import until
from tests.support.proxy import Proxy
from tests.support.recovery import recovered
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from millpond.events import Event

pytestmark = pytest.mark.both_loops

ERA = 1  # the key of the namespace's version, which no delete touches
FORGET = Script("return redis.call('DEL', KEYS[1])", name="forget")


class Told:
    """A hook that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def counts(
        self, kind: type[InvalidationsDropped | InvalidationsLeft | InvalidationsReplayed]
    ) -> list[int]:
        return [event.count for event in self.events if isinstance(event, kind)]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


def client_of(proxy: Proxy, told: Told, **options: Any) -> Client:
    return Client.from_url(proxy.url, prefix="t", hooks=[told], **options)


async def gone(proxy: Proxy) -> None:
    await proxy.refuse()
    proxy.cut_all()


async def old() -> str:
    return "old"


async def new() -> str:
    return "new"


async def test_delete_during_an_outage_is_replayed_before_this_process_reads(
    start_server: Callable[[Server], Server], told: Told
) -> None:
    server = start_server(Server())
    async with Proxy(server.port) as proxy:
        async with client_of(proxy, told) as client:
            users = Cache(client, "user", type=str, ttl=60)
            assert await users.get_or_set(1, old) == "old"
            assert await users.get_or_set(2, old) == "old"
            await gone(proxy)
            await until(lambda: client.statistics().state == "down")
            assert await users.delete(1) is False
            assert client.statistics().journal == 1
            assert [e.keys for e in told.events if isinstance(e, DeleteUnconfirmed)] == [
                ("t:user:1",)
            ]
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
            assert await users.get_or_set(1, new) == "new"
            assert await users.get(2) == "old"
            await until(lambda: client.statistics().journal == 0)
            assert told.counts(InvalidationsReplayed) == [1]


async def test_lost_reply_of_a_delete_is_no_acknowledgement(proxy: Proxy, told: Told) -> None:
    async with client_of(proxy, told, command_timeout=0.3) as client:
        users = Cache(client, "user", type=str, ttl=60)
        assert await users.set(1, "old")
        (connection,) = proxy.connections
        connection.to_client.hold()
        assert await users.delete(1) is False
        await recovered(client)
        await until(lambda: client.statistics().journal == 0)
        assert told.counts(InvalidationsReplayed) == [1]


async def test_raise_names_the_keys_and_journals_all_the_same(proxy: Proxy, told: Told) -> None:
    async with client_of(proxy, told) as client:
        policy = CachePolicy(on_unconfirmed="raise")
        users = Cache(client, "user", type=str, ttl=60, policy=policy)
        assert await users.set(1, "old")
        await gone(proxy)
        await until(lambda: client.statistics().state == "down")
        with pytest.raises(InvalidationPending, match="t:user:1") as caught:
            await users.delete(1, 2)
        assert caught.value.keys == ("t:user:1", "t:user:2")
        await proxy.accept()
        await recovered(client)
        await until(lambda: client.statistics().journal == 0)
        assert not await users.get(1)


async def test_cancelled_caller_leaves_the_obligation(proxy: Proxy, told: Told) -> None:
    async with client_of(proxy, told, command_timeout=0.3) as client:
        users = Cache(client, "user", type=str, ttl=60)
        assert await users.set(1, "old")
        (connection,) = proxy.connections
        connection.to_server.hold()
        deleting = asyncio.create_task(users.delete(1))
        await asyncio.sleep(0)
        deleting.cancel()
        await asyncio.gather(deleting, return_exceptions=True)
        await until(lambda: client.statistics().journal == 1)
        await recovered(client)
        await until(lambda: client.statistics().journal == 0)
        assert not await users.get(1)


async def test_refused_delete_is_tried_again_on_the_same_connection(
    start_server: Callable[[Server], Server], told: Told
) -> None:
    server = start_server(Server())
    server.execute("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-del")
    url = server.tcp_url.replace("redis://", "redis://app:secret@")
    async with Client.from_url(url, prefix="t", hooks=[told]) as client:
        users = Cache(client, "user", type=str, ttl=60)
        assert await users.set(1, "old")
        assert await users.delete(1) is False
        server.execute("ACL", "SETUSER", "app", "+del")
        await until(lambda: client.statistics().journal == 0)
        assert not await users.get(1)
        assert client.statistics().reconnects == 0


async def test_later_acknowledged_delete_ends_an_earlier_obligation(
    proxy: Proxy, told: Told
) -> None:
    async with client_of(proxy, told) as client:
        users = Cache(client, "user", type=str, ttl=60)
        await gone(proxy)
        await until(lambda: client.statistics().state == "down")
        assert await users.delete(1) is False
        assert await users.delete(1) is False  # the newest alone is kept
        assert client.statistics().journal == 1
        await proxy.accept()
        await recovered(client)
        await until(lambda: client.statistics().journal == 0)
        assert told.counts(InvalidationsReplayed) == [1]


async def test_server_restored_from_a_snapshot_is_told_the_last_minute_again(
    start_server: Callable[[Server], Server], told: Told
) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url, prefix="t", hooks=[told]) as client:
        users = Cache(client, "user", type=str, ttl=600)
        assert await users.get_or_set(1, old) == "old"
        server.execute("SAVE")
        assert await users.delete(1) is True
        server.kill()
        await until(lambda: client.statistics().state == "down")
        server.start()
        assert server.execute("EXISTS", "t:user:1") in (0, 1)  # back, until we are
        await recovered(client)
        assert not await users.get(1)
        await until(lambda: client.statistics().journal == 0)
        assert sum(told.counts(InvalidationsReplayed)) == 1


async def test_same_server_is_not_told_again(proxy: Proxy, told: Told) -> None:
    async with client_of(proxy, told) as client:
        users = Cache(client, "user", type=str, ttl=60)
        assert await users.delete(1)
        proxy.connections[0].cut()
        await until(lambda: client.statistics().reconnects == 1)
        await recovered(client)
        assert told.counts(InvalidationsReplayed) == []


async def test_closing_says_what_is_still_owed_and_opening_again_pays_it(
    proxy: Proxy, told: Told
) -> None:
    client = client_of(proxy, told)
    users = Cache(client, "user", type=str, ttl=60)
    async with client:
        assert await users.set(1, "old")
        await gone(proxy)
        await until(lambda: client.statistics().state == "down")
        assert await users.delete(1) is False
    assert told.counts(InvalidationsLeft) == [1]
    await proxy.accept()
    async with client:
        assert not await users.get(1)
        await until(lambda: client.statistics().journal == 0)


async def test_closing_with_something_owed_is_a_warning_with_its_count(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client.from_url(proxy.url, prefix="t") as client:  # with the hook that logs
        users = Cache(client, "user", type=str, ttl=60)
        assert await users.set(1, "old", tags=["a"])
        await gone(proxy)
        await until(lambda: client.statistics().state == "down")
        assert await users.delete(1, 2) is False
        for _ in range(3):
            assert await users.delete_tags("a", "b") is False
        # Two keys, two tags, and what tags that only loaders know are compared with: each once.
        assert client.statistics().journal == 5
        caplog.clear()
    (left,) = [record for record in caplog.records if "InvalidationsLeft" in record.getMessage()]
    assert left.levelname == "WARNING"
    assert "count=5" in left.getMessage()


async def test_thousands_are_replayed_in_order_and_bounded(proxy: Proxy, told: Told) -> None:
    async with client_of(proxy, told) as client:
        users = Cache(client, "user", type=str, ttl=60)
        await asyncio.gather(*[users.set(n, "old") for n in range(3000)])
        await gone(proxy)
        await until(lambda: client.statistics().state == "down")
        assert await users.delete(*range(3000)) is False
        assert client.statistics().journal == 3000
        await proxy.accept()
        await recovered(client)
        found = await asyncio.gather(*[users.get(n, default="") for n in range(3000)])
        assert set(found) == {""}
        await until(lambda: client.statistics().journal == 0)


async def test_full_journal_gives_up_the_oldest_and_says_so(told: Told) -> None:
    journal = Journal(told, most=4)
    for number in range(12):
        journal.unacknowledged(number, Invalidation(FORGET, (f"k{number}",)))
    assert len(journal) == 4
    assert told.counts(InvalidationsDropped) == [1, 2, 4, 8]


async def test_delete_of_more_than_is_kept_says_how_many_will_not_be_sent_again(
    proxy: Proxy, told: Told
) -> None:
    async with client_of(proxy, told) as client:
        policy = CachePolicy(on_unconfirmed="raise")
        users = Cache(client, "user", type=str, ttl=60, policy=policy)
        await gone(proxy)
        await until(lambda: client.statistics().state == "down")
        with pytest.raises(InvalidationPending, match="40,000 older ones were given up") as caught:
            await users.delete(*range(50_000))
        assert len(caught.value.keys) == 50_000
        assert client.statistics().journal == 10_000
        assert told.counts(InvalidationsDropped)[-1] == 40_000
        assert users.statistics().unconfirmed_deletes == 50_000
        await proxy.accept()
        await recovered(client)
        await until(lambda: client.statistics().journal == 0)
        assert told.counts(InvalidationsReplayed) == [10_000]


async def test_delete_of_thousands_holds_up_nobody_by_more_than_a_batch(
    proxy: Proxy, told: Told
) -> None:
    async with client_of(proxy, told) as client:
        users = Cache(client, "user", type=str, ttl=60)
        assert await users.set_many(dict.fromkeys(range(20_000), "old"))
        deleting = asyncio.create_task(users.delete(*range(20_000)))
        await asyncio.sleep(0)
        assert client.statistics().in_flight <= 500
        assert await users.get(19_999) == "old"  # answered between two batches
        assert await deleting is True
        assert await client.call("DBSIZE") == ERA


async def test_delete_of_thousands_goes_on_without_its_caller(proxy: Proxy, told: Told) -> None:
    async with client_of(proxy, told) as client:
        users = Cache(client, "user", type=str, ttl=60)
        assert await users.set_many(dict.fromkeys(range(3000), "old"))
        deleting = asyncio.create_task(users.delete(*range(3000)))
        await asyncio.sleep(0)
        deleting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deleting
        while await client.call("DBSIZE") > ERA:
            await asyncio.sleep(0.001)
        assert told.events[1:] == []


async def test_connection_lost_among_thousands_costs_no_delete(proxy: Proxy, told: Told) -> None:
    async with client_of(proxy, told) as client:
        users = Cache(client, "user", type=str, ttl=60)
        assert await users.set_many(dict.fromkeys(range(5000), "old"))
        deleting = asyncio.create_task(users.delete(*range(5000)))
        while await client.call("DBSIZE") > 4000:
            await asyncio.sleep(0)
        proxy.cut_all()
        assert await deleting is False
        await recovered(client)
        assert await users.get_many(range(5000)) == {}
        await until(lambda: client.statistics().journal == 0)
        assert await client.call("DBSIZE") == ERA


async def test_closing_among_thousands_says_how_many_are_left(proxy: Proxy, told: Told) -> None:
    client = client_of(proxy, told)
    users = Cache(client, "user", type=str, ttl=60)
    async with client:
        assert await users.set_many(dict.fromkeys(range(3000), "old"))
        proxy.to_client.hold()  # or it would be waited for
        deleting = asyncio.create_task(users.delete(*range(3000)))
        await asyncio.sleep(0)
    assert await deleting is False
    (left,) = told.counts(InvalidationsLeft)
    assert 2500 <= left <= 3000
    async with client:
        assert await users.get_many(range(3000)) == {}


async def test_server_that_may_have_forgotten_more_than_is_known_is_told_of(told: Told) -> None:
    loop = asyncio.get_running_loop()
    journal = Journal(told, most=4)
    lane = Refusing(loop, lambda: BackendUnavailable("gone"))
    records = [Invalidation(FORGET, (f"k{number}",)) for number in range(10)]
    await journal.send(loop, lane, records)
    for number, record in enumerate(records):
        journal.acknowledged(number + 1, record)
    before = told.counts(InvalidationsDropped)[-1]
    journal.rewound()
    assert len(journal) == 4
    assert told.counts(InvalidationsDropped)[-1] == before + 6


async def test_through_a_redis_client_it_is_tried_again_every_second(told: Told) -> None:
    fakeredis = pytest.importorskip("fakeredis")
    fake = fakeredis.FakeServer()
    redis = fakeredis.FakeAsyncRedis(server=fake)
    async with Client.from_redis(redis, prefix="t", hooks=[told]) as client:
        users = Cache(client, "user", type=str, ttl=60)
        assert await users.set(1, "old")
        fake.connected = False
        assert await users.delete(1) is False
        fake.connected = True
        await until(lambda: client.statistics().journal == 0)
        assert not await users.get(1)
    await redis.aclose()
