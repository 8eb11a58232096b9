"""The near cache: what it answers, when it forgets, and how long it is trusted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis.asyncio

from millpond import MISSING, Cache, CachePolicy, Client, ConfigError, NearCache
from tests.support.fleet import Member, Source, ask, until
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

pytestmark = pytest.mark.both_loops

NEAR = CachePolicy(near=NearCache())


class Frozen(msgspec.Struct, frozen=True):
    id: int


@dataclass
class Open:
    tags: list[str]


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url, policy=NEAR) as member:
        yield member


@pytest.fixture
async def other(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


def near_hits(member: Member[Any]) -> int:
    return member.cache.statistics().near_hits


def copies(member: Member[Any]) -> int:
    return member.cache.statistics().near_entries


async def keep(member: Member[int], key: int = 1, value: int = 1) -> None:
    """Have a copy of a value near."""
    await member.cache.set(key, value)
    assert await member.cache.get(key) == value
    assert copies(member) >= 1


async def pushed(member: Member[Any]) -> None:
    """Return when everything that was pushed before has arrived."""
    await member.client.call("PING")


# -- hits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["server", "memory"])
async def test_second_read_asks_nobody(where: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("url") if where == "server" else "memory://"
    async with Member[int](url, policy=NEAR) as one:
        source = Source(5)
        assert await one.cache.get_or_set(1, source.load) == 5
        assert await one.cache.get(1) == 5
        commands = one.client.statistics().commands
        assert await one.cache.get_or_set(1, source.load) == 5
        assert await one.cache.get(1) == 5
        assert one.client.statistics().commands == commands
        statistics = one.cache.statistics()
        assert (statistics.near_hits, statistics.near_entries) == (2, 1)
        assert (statistics.hits, statistics.misses, source.calls) == (3, 1, 1)


async def test_frozen_values_are_shared_and_others_are_each_callers_own(url: str) -> None:
    async with Member[Frozen](url, type=Frozen, policy=NEAR) as one:
        await one.cache.set(1, Frozen(1))
        assert await one.cache.get(1) == Frozen(1)
        assert await one.cache.get(1) is await one.cache.get(1)
    async with Member[Open](url, type=Open, policy=NEAR) as one:
        await one.cache.set(2, Open(["a"]))
        assert await one.cache.get(2) == Open(["a"])
        first: Any = await one.cache.get(2)
        first.tags.append("changed by a caller")
        assert await one.cache.get(2) == Open(["a"])
        assert near_hits(one) == 2


# -- forgetting --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["delete", "set", "writing", "foreign DEL", "clear", "FLUSHALL"])
async def test_change_in_another_process_is_pushed(
    one: Member[int], other: Member[int], how: str, server: Server
) -> None:
    await keep(one)
    if how == "delete":
        await other.cache.delete(1)
    elif how == "set":
        await other.cache.set(1, 2)
    elif how == "writing":
        async with other.cache.writing(1) as write:
            write.set(2)
    elif how == "clear":
        await other.cache.clear()
    else:
        server.execute(*(["DEL", "t:n:1"] if how == "foreign DEL" else ["FLUSHALL"]))
    await pushed(one)
    assert copies(one) == (how == "clear")  # it is dropped when the era is read
    expected = 2 if how in {"set", "writing"} else MISSING
    assert await one.cache.get(1) == expected
    assert near_hits(one) == 0


@pytest.mark.parametrize("pushes", ["as they come", "late"])
async def test_own_changes_are_seen_at_once(one: Member[int], pushes: str) -> None:
    await keep(one)
    if pushes == "late":  # servers differ in whether the push or the acknowledgement comes first
        listeners: Any = one.client.watches._listeners  # pyright: ignore[reportPrivateUsage]
        listeners.clear()
    for value in range(1, 50):
        await keep(one, value=value)
        assert await one.cache.get(1) == value
        assert await one.cache.delete(1) is True
        assert await one.cache.get(1) is MISSING
        await keep(one, value=value)
        assert await one.cache.set(1, -value) is True
        assert await one.cache.get(1) == -value
        async with one.cache.writing(1) as write:
            assert await one.cache.get(1) is MISSING
            write.set(value + 1)
        assert await one.cache.get(1) == value + 1
        assert await one.cache.refresh(1, Source(value + 2).load) == value + 2
        assert await one.cache.get(1) == value + 2
        await one.cache.clear()
        assert await one.cache.get(1) is MISSING


async def test_push_between_a_reply_and_its_task_finds_the_copy(
    one: Member[int], other: Member[int]
) -> None:
    """Both arrive in one read; put in by the task that wakes, the copy would stay for ever."""
    for value in range(1, 30):
        await other.cache.set(1, value)
        reader = asyncio.create_task(one.cache.get(1))
        await asyncio.sleep(0)  # it has asked; this leaves in the same batch, behind it
        changed = one.client.call("DEL", "t:n:1")
        assert await reader == value
        await changed
        await pushed(one)
        assert copies(one) == 0
        assert await one.cache.get(1) is MISSING


@pytest.mark.parametrize("how", ["set", "clear"])
async def test_change_between_the_commands_of_one_read_leaves_no_copy(
    server: Server, how: str
) -> None:
    """The push that comes before the last reply finds no copy, and there will be no other push."""
    async with (
        Proxy(server.port) as proxy,
        Member[int](proxy.url, policy=NEAR) as one,
        Member[int](server.tcp_url) as other,
    ):
        await other.cache.set_many({1: 1, 2: 2})
        if how == "set":
            assert await one.cache.get(2) == 2  # what is read now is the key, and no version
        (connection,) = proxy.connections
        connection.to_server.hold()
        reader = asyncio.create_task(one.cache.get(1))
        await until(lambda: connection.to_server.waiting)
        delivered = connection.to_client.delivered
        connection.to_server.release_before(b"*2\r\n$4\r\nPTTL\r\n")
        await until(lambda: connection.to_client.delivered > delivered)
        assert await (other.cache.set(1, 5) if how == "set" else other.cache.clear())
        connection.to_server.release()
        assert await reader == 1
        await pushed(one)
        assert await one.cache.get(1) == (5 if how == "set" else MISSING)


async def test_lost_connection_forgets_everything(server: Server) -> None:
    async with Proxy(server.port) as proxy, Member[int](proxy.url, policy=NEAR) as one:
        await keep(one)
        await proxy.refuse()
        proxy.cut_all()
        await until(lambda: one.client.statistics().state == "down")
        assert copies(one) == 0
        await proxy.accept()
        await until(lambda: one.client.statistics().state == "up")
        assert await one.cache.get(1) == 1
        assert await one.cache.get(1) == 1
        assert near_hits(one) == 1


async def test_client_that_is_opened_again_begins_without_copies(url: str) -> None:
    member = Member[int](url, policy=NEAR)
    async with member:
        await keep(member)
    assert copies(member) == 0
    async with member:
        assert await member.cache.get(1) == 1
        assert near_hits(member) == 0
        assert await member.cache.get(1) == 1
        assert near_hits(member) == 1


async def test_copy_ends_with_its_entry_or_its_own_time(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = CachePolicy(near=NearCache(ttl=20, heartbeat=1000))
    async with Member[int](url, policy=policy) as one:
        near: Any = one.cache._store.near  # pyright: ignore[reportPrivateUsage]
        for ttl, lives in ((10, 10), (50, 20)):
            await one.cache.set(1, 1, ttl=ttl)
            assert await one.cache.get(1) == 1
            asked = asyncio.get_running_loop().time()
            assert near.get("t:n:1") == 1
            monkeypatch.setattr(near, "_time", lambda at=asked + lives - 0.5: at)
            assert near.get("t:n:1") == 1
            monkeypatch.setattr(near, "_time", lambda at=asked + lives: at)
            assert near.get("t:n:1") is MISSING
            assert copies(one) == 0
            monkeypatch.undo()


async def test_value_that_may_be_stale_one_day_is_kept_while_it_is_fresh(url: str) -> None:
    policy = CachePolicy(stale_while_revalidate=60, near=NearCache())
    async with Member[int](url, ttl=0.4, policy=policy) as one:
        source = Source(1)
        assert await one.cache.get_or_set(1, source.load) == 1
        assert await one.cache.get(1) == 1
        assert await one.cache.get(1) == 1
        assert near_hits(one) == 1
        near: Any = one.cache._store.near  # pyright: ignore[reportPrivateUsage]
        await until(lambda: near.get("t:n:1") is MISSING)
        async with asyncio.timeout(10):  # a copy ends a moment before the value is stale
            while not one.cache.statistics().stale:
                assert await one.cache.get(1) == 1


async def test_value_with_tags_is_not_kept_near(one: Member[int]) -> None:
    await one.cache.set(1, 1, tags=["a"])
    for _ in range(3):
        assert await one.cache.get_or_set(1, Source(2).load, tags=["a"]) == 1
    assert (near_hits(one), copies(one)) == (0, 0)
    await one.cache.delete_tags("a")
    assert await one.cache.get(1) is MISSING


async def test_copy_that_cannot_be_decoded_is_a_miss_each_time(url: str) -> None:
    async with Member[Open](url, type=Open, policy=NEAR) as one:
        await one.cache.set(1, Open(["a"]))
        raw: bytes = await one.client.call("GET", "t:n:1")
        await one.client.call("SET", "t:n:1", raw[:-1] + b"\xc1", "PX", 60_000)
        for _ in range(3):
            assert await one.cache.get(1) is MISSING
            assert await one.cache.get_many([1]) == {}
        assert (near_hits(one), one.cache.statistics().unreadable) == (0, 6)


async def test_near_cache_listens_to_the_server_that_it_reads_from() -> None:
    """A client that is closed may be given another way to Redis, as tests do."""
    member = Member[int]("memory://one", policy=NEAR)
    async with member:
        await keep(member)
    async with Member[int]("memory://two") as elsewhere:
        other = Client.from_url("memory://two")
        member.client.replace_backend(other.backend)
        async with member:
            await keep(member)
            assert await elsewhere.cache.delete(1) is True
            assert await member.cache.get(1) is MISSING


# -- suspending --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["delete_tags", "expire_tags"])
@pytest.mark.parametrize("who", ["one", "other"])
async def test_change_of_tags_costs_a_read_of_the_era_and_no_copy(
    one: Member[int], other: Member[int], who: str, what: str
) -> None:
    await keep(one, 1)
    await keep(one, 2)
    assert await getattr((one if who == "one" else other).cache, what)("a") is True
    await pushed(one)
    hits = near_hits(one)
    assert await one.cache.get(1) == 1
    assert near_hits(one) == hits, "it might have been cleared"
    assert await one.cache.get(2) == await one.cache.get(1) == 1
    assert near_hits(one) == hits + 2


@pytest.mark.parametrize("where", ["server", "memory"])
async def test_who_only_asks_for_many_has_copies_again_after_a_change_of_tags(
    where: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("url") if where == "server" else "memory://many"
    async with Member[int](url, policy=NEAR) as one, Member[int](url) as other:
        await keep(one, 1)
        await keep(one, 2)
        assert await other.cache.delete_tags("a") is True
        await pushed(one)
        hits = near_hits(one)
        many = one.cache.get_many([1, 2]), one.cache.get_many([2, 1])
        assert await asyncio.gather(*many) == [{1: 1, 2: 1}, {2: 1, 1: 1}]
        assert near_hits(one) == hits, "it might have been cleared"
        assert await one.cache.get_many([1, 2]) == {1: 1, 2: 1}
        assert near_hits(one) == hits + 2
        await other.cache.clear()
        await pushed(one)
        assert await one.cache.get_many([1, 2]) == {}
        assert copies(one) == 0


async def test_many_who_find_no_copy_in_one_turn_send_one_read(one: Member[int]) -> None:
    await one.cache.set_many({1: 1, 2: 2})
    before = one.client.statistics().commands
    got = await asyncio.gather(*[one.cache.get(key) for key in (1, 2) * 50])
    assert got == [1, 2] * 50
    # The era for the comparison and, tracked, for the copies; the two keys.
    assert one.client.statistics().commands - before == 1 + 3 * 3
    assert copies(one) == 2


async def test_caller_behind_a_delete_does_not_share_the_read_ahead_of_it(
    one: Member[int], other: Member[int]
) -> None:
    await other.cache.set(1, 5)
    ahead, deleted, behind = await asyncio.gather(
        one.cache.get(1), one.cache.delete(1), one.cache.get(1)
    )
    assert (ahead, deleted, behind) == (5, True, MISSING)
    assert copies(one) == 0


async def test_copy_that_changes_while_the_era_is_unknown_does_not_come_back(
    one: Member[int], other: Member[int]
) -> None:
    await keep(one, 1)
    await keep(one, 2)
    await other.cache.delete_tags("a")
    await other.cache.set(1, 7)
    await pushed(one)
    assert await one.cache.get(2) == 1
    assert await one.cache.get(1) == 7


async def test_copies_of_an_era_that_has_ended_do_not_come_back(
    one: Member[int], other: Member[int]
) -> None:
    await keep(one, 1)
    await keep(one, 2)
    await other.cache.delete_tags("a")
    await other.cache.clear()
    await pushed(one)
    hits = near_hits(one)
    assert await one.cache.get(1) is MISSING
    assert copies(one) == 0
    assert await one.cache.get(2) is MISSING
    assert near_hits(one) == hits


async def test_sign_of_life_brings_back_no_copies_of_an_era_that_has_ended(
    url: str, other: Member[int]
) -> None:
    policy = CachePolicy(near=NearCache(heartbeat=0.05))
    async with Member[int](url, policy=policy) as one:
        await keep(one)
        await other.cache.clear()
        await pushed(one)
        commands = one.client.statistics().commands
        await until(lambda: one.client.statistics().commands >= commands + 3)
        await pushed(one)
        assert copies(one) == 1
        assert await one.cache.get(1) is MISSING
        assert near_hits(one) == 0


# -- trust -------------------------------------------------------------------------------------


async def test_process_that_is_cut_off_serves_copies_for_the_heartbeat_and_no_longer(
    server: Server,
) -> None:
    policy = CachePolicy(near=NearCache(heartbeat=0.3))
    async with (
        Proxy(server.port) as proxy,
        Member[int](proxy.url, policy=policy, command_timeout=5.0) as one,
        Member[int](server.tcp_url) as other,
    ):
        await keep(one)
        loop = asyncio.get_running_loop()
        near: Any = one.cache._store.near  # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(0.6)  # twice the heartbeat: signs of life have been asked for
        assert near.get("t:n:1") == 1
        proxy.to_client.hold()
        cut = loop.time()
        assert await other.cache.delete(1) is True
        await until(lambda: near.get("t:n:1") is MISSING)
        assert loop.time() - cut <= 0.3 + 0.1
        assert one.client.statistics().state == "up", "nobody has noticed yet"
        proxy.to_client.release()
        assert await one.cache.get(1) is MISSING


async def test_process_that_was_frozen_trusts_nothing_when_it_thaws(
    one: Member[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(one)
    near: Any = one.cache._store.near  # pyright: ignore[reportPrivateUsage]
    assert near.get("t:n:1") == 1
    thaws = asyncio.get_running_loop().time() + 5
    monkeypatch.setattr(near, "_time", lambda: thaws)
    assert near.get("t:n:1") is MISSING
    monkeypatch.undo()
    assert await one.cache.get(1) == 1


async def test_heartbeat_ends_when_there_is_nothing_to_trust(url: str, server: Server) -> None:
    policy = CachePolicy(near=NearCache(heartbeat=0.06))
    async with Member[int](url, policy=policy) as one:
        await keep(one)

        def pings() -> int:
            counts: Any = server.execute("INFO", "commandstats")
            return counts["cmdstat_ping"]["calls"]

        before = pings()
        await asyncio.sleep(0.3)
        assert pings() - before >= 5
        await one.cache.delete(1)
        await asyncio.sleep(0.1)
        before = pings()
        await asyncio.sleep(0.2)
        assert pings() == before


# -- bounds ------------------------------------------------------------------------------------


async def test_entries_and_bytes_stay_within_their_bounds(url: str) -> None:
    for bounds in (NearCache(max_entries=10), NearCache(max_bytes=3100)):
        async with Member[int](url, policy=CachePolicy(near=bounds)) as one:
            await one.cache.set_many({key: key for key in range(100)})
            for key in range(100):
                assert await one.cache.get(key) == key
            statistics = one.cache.statistics()
            assert 5 <= statistics.near_entries <= 10
            assert statistics.near_bytes <= bounds.max_bytes
            await one.cache.delete(*range(100))
            statistics = one.cache.statistics()
            assert (statistics.near_entries, statistics.near_bytes) == (0, 0)


async def test_what_is_read_often_stays_and_what_is_too_large_never_comes(url: str) -> None:
    policy = CachePolicy(near=NearCache(max_entries=10, max_bytes=5000))
    async with Member[str](url, type=str, policy=policy) as one:
        await one.cache.set("often", "x")
        await one.cache.get("often")
        for key in range(50):
            await one.cache.set(key, "x")
            await one.cache.get(key)
            assert await one.cache.get("often") == "x"
        assert near_hits(one) == 50
        await one.cache.set("large", "x" * 5000)
        for _ in range(2):
            assert await one.cache.get("large") == "x" * 5000
        assert near_hits(one) == 50


@pytest.mark.parametrize(
    ("bounds", "advice"),
    [
        ({"max_entries": 0}, "above 0"),
        ({"max_entries": True}, "above 0"),
        ({"max_bytes": -1}, "above 0"),
        ({"max_bytes": 1.5}, "above 0"),
        ({"ttl": 0}, "near ttl"),
        ({"heartbeat": 0}, "heartbeat"),
        ({"heartbeat": 0.01}, "shorter than"),
        ({"heartbeat": float("nan")}, "heartbeat"),
    ],
)
def test_bounds_that_keep_nothing_are_refused(bounds: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        NearCache(**bounds)


def test_near_cache_that_is_none_is_refused() -> None:
    near: Any = True
    with pytest.raises(ConfigError, match="NearCache"):
        CachePolicy(near=near)


async def test_way_without_pushes_is_refused_with_the_fix(server: Server) -> None:
    theirs = redis.asyncio.Redis(unix_socket_path=server.socket_path)
    try:
        async with Client.from_redis(theirs, prefix="t", hooks=[]) as client:
            users = Cache(client, "n", type=int, ttl=60, policy=NEAR)
            for call in (users.get(1), users.get_or_set(1, Source(1).load)):
                with pytest.raises(ConfigError, match="pushes"):
                    await call
    finally:
        await theirs.aclose()


async def test_herd_on_a_key_that_is_near_nobody_yet_is_one_load(
    one: Member[int], url: str
) -> None:
    async with Member[int](url, policy=NEAR) as two:
        source = Source(1, held=True)
        crowd = [ask(member, source.load) for member in (one, two) for _ in range(50)]
        await source.called()
        source.release()
        assert await asyncio.gather(*crowd) == [1] * 100
        assert source.calls == 1
