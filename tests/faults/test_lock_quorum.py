"""Redlock over three real masters, one or two of which are killed, hung, or emptied."""

# ruff: noqa: PT012  (a block that is left by an error is what is tested)

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Self

import pytest
from redis.asyncio import Redis

from millpond import Client
from millpond.core.lease import RELEASE
from millpond.errors import ConfigError, LockLost, LockTimeout, NoQuorum
from millpond.lock.locks import Locks
from tests.support.lockers import cancel_at
from tests.support.proxy import Proxy
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

LEASE = 0.6


@pytest.fixture(scope="module")
def masters() -> Iterator[list[Server]]:
    """Three masters that have run for longer than any lease here."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Server()) for _ in range(3)]
        time.sleep(LEASE + 1.5)
        yield servers


@pytest.fixture
def nodes(masters: list[Server]) -> Iterator[list[Server]]:
    """The same, whole and empty again afterwards."""
    yield masters
    restarted = False
    for server in masters:
        if not server.running:
            server.start()
            restarted = True
        server.resume()
        restarted = restarted or server.execute("INFO", "server")["uptime_in_seconds"] < 2
        server.execute("FLUSHALL")
    if restarted:
        time.sleep(LEASE + 2)


class Fleet:
    """The clients and the locks of one process."""

    def __init__(self, servers: Sequence[Server | Proxy]) -> None:
        self.clients = [
            Client.from_url(server.url, prefix="t", hooks=[], command_timeout=1.0)
            for server in servers
        ]
        self.locks = Locks(self.clients, "n", lease=LEASE)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        for client in self.clients:
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


@pytest.fixture
async def one(nodes: list[Server]) -> AsyncIterator[Fleet]:
    async with Fleet(nodes) as fleet:
        yield fleet


@pytest.fixture
async def other(nodes: list[Server]) -> AsyncIterator[Fleet]:
    async with Fleet(nodes) as fleet:
        yield fleet


def holding(nodes: list[Server], key: str) -> int:
    return sum(bool(server.running and server.execute("EXISTS", key)) for server in nodes)


async def freed(nodes: list[Server], key: str) -> None:
    async with asyncio.timeout(LEASE / 2):
        while holding(nodes, key):
            await asyncio.sleep(0.005)


async def test_lock_is_held_on_all_nodes_with_one_fence(
    nodes: list[Server], one: Fleet, other: Fleet
) -> None:
    key = one.locks.key("a")
    ahead = int(time.time() * 1e6) + 10**12  # a fence was given out: a majority knows it
    for server in nodes[1:]:
        server.execute("SET", f"{key}:fence", ahead, "EX", 100)
    async with one.locks.hold("a") as held:
        assert held.fence > ahead
        assert 0 < held.remaining() <= LEASE * 0.99 - 0.002
        async with other.locks.try_hold("a") as rival:
            assert rival is None
        async with asyncio.timeout(5):  # two of three are enough; the third hears of it, too
            while holding(nodes, key) < 3 or {
                int(server.execute("GET", f"{key}:fence")) for server in nodes
            } != {held.fence}:
                await asyncio.sleep(0.001)
        await asyncio.sleep(LEASE * 2)
        held.ensure_held()
    await freed(nodes, key)
    async with other.locks.hold("a", wait=1) as again:
        assert again.fence > held.fence


async def test_contenders_exclude_each_other_under_rising_fences(one: Fleet, other: Fleet) -> None:
    fences: list[int] = []
    inside = 0

    async def work(fleet: Fleet) -> None:
        nonlocal inside
        for _ in range(5):
            async with fleet.locks.hold("a", wait=10) as held:
                inside += 1
                assert inside == 1
                fences.append(held.fence)
                await asyncio.sleep(0.001)
                held.ensure_held()
                inside -= 1

    await asyncio.gather(*[work(fleet) for fleet in (one, other) for _ in range(2)])
    assert fences == sorted(set(fences))
    assert len(fences) == 20


@pytest.mark.parametrize("fault", ["kill", "pause", "restart"])
async def test_one_node_lost_during_a_hold_delays_and_loses_nothing(
    nodes: list[Server], one: Fleet, other: Fleet, fault: str
) -> None:
    async with one.locks.hold("a") as held:
        getattr(nodes[2], fault)()
        await asyncio.sleep(LEASE * 2)
        held.ensure_held()
        with pytest.raises(LockTimeout):
            async with other.locks.hold("a", wait=0.1):
                pytest.fail("it is held")
        before = time.monotonic()
    assert time.monotonic() - before < 0.15
    before = time.monotonic()
    async with other.locks.hold("a", wait=3) as rival:
        assert time.monotonic() - before < 0.5
        assert rival.fence > held.fence


async def test_hung_node_delays_no_acquisition(nodes: list[Server], one: Fleet) -> None:
    async with one.locks.hold("warm"):
        pass
    nodes[0].pause()
    began = time.monotonic()
    for number in range(10):
        async with one.locks.hold(number):
            pass
    assert time.monotonic() - began < 0.5


async def test_majority_lost_during_a_hold_ends_the_block_by_the_deadline(
    nodes: list[Server], one: Fleet
) -> None:
    began = time.monotonic()
    with pytest.raises(LockLost):
        async with one.locks.hold("a"):
            nodes[0].pause()
            nodes[1].pause()
            try:
                await asyncio.sleep(10)
            finally:
                assert time.monotonic() - began < LEASE + 0.2
    for server in nodes:
        server.resume()


async def test_majority_down_is_named_node_by_node(nodes: list[Server], one: Fleet) -> None:
    async with one.locks.hold("warm"):
        pass
    nodes[0].kill()
    nodes[2].kill()
    with pytest.raises(NoQuorum, match="node 1: Backend") as caught:
        async with one.locks.hold("a", wait=0):
            pytest.fail("there is no majority")
    assert list(caught.value.nodes) == ["node 1", "node 2", "node 3"]
    assert caught.value.nodes["node 2"] == "granted"
    await freed(nodes, one.locks.key("a"))  # the minority was given back


async def test_node_restarted_empty_has_no_vote_until_every_lease_is_over(
    nodes: list[Server], one: Fleet, other: Fleet
) -> None:
    """One holds nodes 1 and 2; 2 forgets; without the rule, 2 and 3 would elect another at once."""
    async with other.locks.hold("warm"):
        pass
    async with one.locks.hold("a") as held:
        await held.release()
        fence = held.fence
    keys = (one.locks.key("a"), f"{fence}:of-a-holder-that-is-stopped")
    for server in nodes[:2]:
        server.execute("SET", *keys, "PX", 30_000)
    nodes[1].restart()
    restarted = time.monotonic()
    async with asyncio.timeout(10), other.locks.hold("a") as rival:
        assert time.monotonic() - restarted >= LEASE
        assert rival.fence > fence


async def test_node_restarted_while_the_clients_were_closed_has_no_vote(
    nodes: list[Server],
) -> None:
    fleet = Fleet(nodes)
    async with fleet:
        await _held_by_another_on_two(nodes, fleet.locks)
    nodes[1].restart()
    async with fleet:
        await _not_elected(fleet.locks)


async def test_node_restarted_behind_a_client_that_reconnects_in_silence_has_no_vote(
    nodes: list[Server],
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                Client.from_redis(
                    await stack.enter_async_context(Redis(port=node.port)), prefix="t", hooks=[]
                )
            )
            for node in nodes
        ]
        locks = Locks(clients, "n", lease=LEASE)
        await _held_by_another_on_two(nodes, locks)
        nodes[1].restart()
        await _not_elected(locks)


async def _held_by_another_on_two(nodes: list[Server], locks: Locks) -> None:
    async with locks.hold("a"):
        pass
    for server in nodes[:2]:
        server.execute("SET", locks.key("a"), "1:another", "PX", 30_000)


async def _not_elected(locks: Locks) -> None:
    with pytest.raises((NoQuorum, LockTimeout)):
        async with locks.hold("a", wait=0):
            pytest.fail("there are two holders")


async def test_minority_won_beside_another_holder_is_given_back_while_waiting(
    nodes: list[Server], one: Fleet
) -> None:
    key = one.locks.key("a")
    for server in nodes[:2]:
        server.execute("SET", key, "1:another", "PX", 30_000)
    waiting = asyncio.create_task(_refused(one))
    await asyncio.sleep(0.1)
    free = 0
    while not waiting.done():
        free += not nodes[2].execute("EXISTS", key)
        await asyncio.sleep(0.01)
    await waiting
    assert free > 5, "the third node stayed locked between the tries"


async def _refused(fleet: Fleet) -> None:
    with pytest.raises(LockTimeout):
        async with fleet.locks.hold("a", wait=0.6):
            pytest.fail("another has the majority")


async def test_server_given_twice_under_two_names_is_refused(nodes: list[Server]) -> None:
    """At the latest once all have said who they are; until then two servers are a majority."""
    async with Fleet([nodes[0], nodes[1], nodes[1]]) as fleet:
        with pytest.raises(ConfigError, match="same server"):
            async with asyncio.timeout(10):
                while True:
                    async with fleet.locks.hold("a"):
                        await asyncio.sleep(0)


async def test_release_that_a_node_is_owed_does_not_free_what_was_won_since(
    nodes: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Won on node 3 alone and given back, unheard; won with 2 and 3; now node 3 hears of it."""
    monkeypatch.setattr("millpond.core.lease._AGAIN", 0.4)  # seconds until it is told again
    async with Proxy(nodes[2].port) as proxy, Fleet([*nodes[:2], proxy]) as one:
        async with one.locks.hold("warm"):
            pass
        key = one.locks.key("a")
        for server in nodes[:2]:
            server.execute("SET", key, "1:another", "PX", 30_000)
        connection = proxy.connections[0]
        connection.to_client.hold()

        async def use() -> None:
            async with one.locks.hold("a") as held:
                for _ in range(10):
                    await asyncio.sleep(0.05)
                    held.ensure_held()
                    assert nodes[2].execute("EXISTS", key), "another could have 1 and 3 now"

        task = asyncio.create_task(use())
        async with asyncio.timeout(5):
            while not nodes[2].execute("EXISTS", key):
                await asyncio.sleep(0.001)
        connection.to_server.swallow()  # the release
        await asyncio.sleep(0.25)  # node_timeout
        connection.cut()
        nodes[1].execute("DEL", key)
        async with asyncio.timeout(5):
            await task


@pytest.mark.parametrize("answered", [False, True])
async def test_cancelled_at_any_await_leaves_no_node_locked(
    nodes: list[Server], one: Fleet, answered: bool
) -> None:
    async def use() -> None:
        async with one.locks.hold("a"):
            await asyncio.sleep(0)

    struck, step = True, 0
    while struck:
        step += 1
        struck, _ = await cancel_at(step, use(), answered=answered)
        await freed(nodes, one.locks.key("a"))
    assert step >= 4


@pytest.mark.parametrize("forgetful", [3, 1])
async def test_cancelled_where_nodes_have_forgotten_the_script_leaves_none_locked(
    nodes: list[Server], one: Fleet, forgetful: int
) -> None:
    """They are asked again, by the source, and that is behind the release."""
    async with one.locks.hold("warm"):
        pass
    for server in nodes[:forgetful]:
        server.execute("SCRIPT", "FLUSH")
        server.execute("SCRIPT", "LOAD", RELEASE.source)
    run = asyncio.create_task(_entered(one))
    await asyncio.sleep(0)
    run.cancel()
    await asyncio.wait([run])
    await asyncio.sleep(0.05)
    await freed(nodes, one.locks.key("a"))


async def test_lost_election_leaves_no_node_locked_that_had_forgotten_the_script(
    nodes: list[Server],
) -> None:
    async with Proxy(nodes[2].port) as slow, Fleet([*nodes[:2], slow]) as fleet:
        async with fleet.locks.hold("warm"):
            pass
        key = fleet.locks.key("a")
        nodes[2].execute("SCRIPT", "FLUSH")
        nodes[2].execute("SCRIPT", "LOAD", RELEASE.source)
        for server in nodes[:2]:
            server.execute("SET", key, "1:another", "PX", 30_000)
        slow.to_client.hold()
        with pytest.raises(LockTimeout):
            async with fleet.locks.hold("a", wait=0):
                pytest.fail("another has the majority")
        slow.to_client.release()
        await asyncio.sleep(0.05)
        await freed(nodes[2:], key)


async def _entered(fleet: Fleet) -> None:
    async with fleet.locks.hold("a"):
        await asyncio.sleep(0)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_even_number_of_nodes_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="odd"):
        Locks([Client.from_url("memory://") for _ in range(count)], "n")


def test_what_a_quorum_cannot_do_is_refused() -> None:
    client = Client.from_url("memory://")
    with pytest.raises(ConfigError, match="twice"):
        Locks([client, client, Client.from_url("memory://")], "n")
    with pytest.raises(ConfigError, match="prefix"):
        Locks([client, Client.from_url("memory://", prefix="a"), Client.from_url("memory://")], "n")
    locks = Locks([Client.from_url("memory://") for _ in range(3)], "n", lease=5)
    with pytest.raises(ConfigError, match="one Redis"):
        locks.semaphore("a", permits=2)
    with pytest.raises(ConfigError, match="one Redis"):
        locks.read("a")
    with pytest.raises(ConfigError, match="one Redis"):
        locks.write("a")
    with pytest.raises(ConfigError, match="one Redis"):
        locks.hold("a", fair=True)
    with pytest.raises(ConfigError, match="longer"):
        locks.hold("a", lease=6)
    with pytest.raises(ConfigError, match="node_timeout"):
        Locks([Client.from_url("memory://") for _ in range(3)], "n", lease=0.2)


async def test_lease_cannot_be_extended_beyond_what_restarted_nodes_wait_for(one: Fleet) -> None:
    async with one.locks.hold("a") as held:
        with pytest.raises(ConfigError, match="longer"):
            await held.extend(LEASE * 2)
        await held.extend(LEASE / 2)
