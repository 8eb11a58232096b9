"""The connection that comes back: after kills, cuts, hangs; and what an old one may still do."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
import redis

from millpond import Client
from millpond.errors import BackendTimeout, BackendUnavailable
from millpond.events import ServerLimited, WireDown, WireUp
from tests.support.conversation import bulk
from tests.support.proxy import Proxy
from tests.support.recovery import in_state, kinds, recovered
from tests.support.scripted import ScriptedServer, info
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.events import Event

pytestmark = pytest.mark.both_loops


async def test_server_killed_in_mid_flight_fails_calls_cleanly_and_comes_back(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    events: list[Event] = []
    async with Client.from_url(server.url, hooks=[events.append]) as client:
        for round_ in range(2):
            answers = {n: client.call("ECHO", n) for n in range(2000)}
            await asyncio.sleep(0)
            server.pause()  # so that some are in flight for certain
            later = {n: client.call("ECHO", n) for n in range(2000, 2100)}
            await asyncio.sleep(0)
            server.kill()
            ends = await asyncio.gather(*answers.values(), *later.values(), return_exceptions=True)
            for number, end in enumerate(ends):
                assert end == b"%d" % number or type(end) is BackendUnavailable
            assert any(isinstance(end, BackendUnavailable) for end in ends[2000:])
            assert isinstance(client.call("PING").exception(), BackendUnavailable)
            server.start()
            await recovered(client)
            again = [client.call("ECHO", n) for n in range(1000)]
            assert await asyncio.gather(*again) == [b"%d" % n for n in range(1000)]
            assert client.statistics().reconnects == round_ + 1
    assert kinds(events) == [WireUp, WireDown, WireUp, WireDown, WireUp]


async def test_server_absent_at_opening_is_found_when_it_comes(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    server.kill()
    events: list[Event] = []
    async with Client.from_url(server.url, hooks=[events.append]) as client:
        assert kinds(events) == [WireDown]
        assert isinstance(client.call("PING").exception(), BackendUnavailable)
        server.start()
        await recovered(client)
    assert kinds(events) == [WireDown, WireUp]


async def test_write_held_back_on_the_old_connection_never_lands_after_the_new_ones(
    server: Server,
) -> None:
    async with Proxy(server.port) as proxy:
        async with Client.from_url(proxy.url, command_timeout=0.2) as client:
            await client.call("SET", "k", "first", "EX", 100)
            old = proxy.connections[0]
            old.to_server.hold()
            with pytest.raises(BackendTimeout):
                await client.call("SET", "k", "held back", "EX", 100)
            await recovered(client)
            assert await client.call("DEL", "k") == 1
            old.to_server.release()
            await old.server_closed()
            assert await client.call("GET", "k") is None


async def test_held_write_does_land_where_the_old_connection_may_not_be_killed(
    server: Server,
) -> None:
    """What the kill is for; and that its absence is said."""
    try:
        server.execute("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-client|kill")
    except redis.ResponseError:
        pytest.skip("this server's ACL cannot forbid a subcommand")
    events: list[Event] = []
    try:
        async with Proxy(server.port) as proxy:
            url = proxy.url.replace("redis://", "redis://u:pw@")
            async with Client.from_url(url, command_timeout=0.2, hooks=[events.append]) as client:
                old = proxy.connections[0]
                old.to_server.hold()
                with pytest.raises(BackendTimeout):
                    await client.call("SET", "k", "held back", "EX", 100)
                await recovered(client)
                await client.call("DEL", "k")
                old.to_server.release()
                await old.server_closed()
                assert await client.call("GET", "k") == b"held back"
    finally:
        server.execute("ACL", "DELUSER", "u")
    limited = [event for event in events if isinstance(event, ServerLimited)]
    assert [event.subject for event in limited] == ["kill"]
    assert "+client|kill" in limited[0].consequence


@pytest.mark.parametrize(
    ("first", "second", "killed"),
    [
        (info(run_id="a" * 40), info(run_id="a" * 40), True),
        (info(run_id="a" * 40), info(run_id="b" * 40), False),
        (b"-NOPERM no INFO\r\n", b"-NOPERM no INFO\r\n", False),
        (bulk("redis_version:7.2.0\r\n"), bulk("redis_version:7.2.0\r\n"), False),
    ],
    ids=["same server", "restarted", "no INFO", "no run id"],
)
async def test_only_a_connection_of_the_very_same_server_is_killed(
    first: bytes, second: bytes, killed: bool
) -> None:
    said = [first, second]

    def script(command: str) -> bytes | None:
        return said.pop(0) if command == "INFO server" else None

    async with ScriptedServer(script) as server, Client.from_url(server.url) as client:
        server.sessions[0].transport.abort()
        await in_state(client, "down")
        await recovered(client)
        assert ("CLIENT KILL ID 1" in server.heard) is killed


CUTS = range(0, 260, 3)


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_connection_cut_after_any_number_of_bytes_gives_nobody_a_wrong_reply(
    server: Server, direction: str
) -> None:
    async def cut_at(count: int) -> None:
        async with (
            Proxy(server.port) as proxy,
            Client.from_url(proxy.url, command_timeout=2) as client,
        ):
            getattr(proxy.connections[0], direction).cut_after(count)
            echoes = [client.call("ECHO", f"{count}-{n}") for n in range(5)]
            await asyncio.sleep(0)
            echoes += [client.call("ECHO", f"{count}-{n}") for n in range(5, 10)]
            both = client.pipeline([("ECHO", "a"), ("ECHO", "b")], transaction=True)
            *singles, last = await asyncio.gather(*echoes, both, return_exceptions=True)
            for number, end in enumerate(singles):
                assert end == f"{count}-{number}".encode() or type(end) is BackendUnavailable
            assert last == [b"a", b"b"] or type(last) is BackendUnavailable
            getattr(proxy.connections[0], direction).behave()  # should no byte have met the cut
            await recovered(client)
            assert await client.call("ECHO", f"{count}-after") == f"{count}-after".encode()

    for start in range(0, len(CUTS), 20):
        async with asyncio.TaskGroup() as group:
            for count in CUTS[start : start + 20]:
                group.create_task(cut_at(count))


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_handshake_cut_after_any_number_of_bytes_is_tried_again(
    server: Server, direction: str
) -> None:
    async with Proxy(server.port) as proxy:
        for count in range(0, 500, 23):
            proxy.to_client.behave()
            proxy.to_server.behave()
            getattr(proxy, direction).cut_after(count)
            async with Client.from_url(proxy.url, command_timeout=1) as client:
                proxy.to_client.behave()
                proxy.to_server.behave()
                await recovered(client)
                assert await client.call("ECHO", count) == b"%d" % count


async def test_replies_that_arrived_before_the_connection_was_lost_are_given() -> None:
    frames = b"".join(bulk(str(n)) for n in range(1000))
    async with ScriptedServer(lambda c: b"" if c.startswith("ECHO") else None) as server:
        async with Client.from_url(server.url) as client:
            answers = [client.call("ECHO", n) for n in range(1001)]
            await asyncio.sleep(0.01)
            session = server.sessions[0]
            session.transport.write(frames + b"$4\r\n10")
            session.transport.close()
            *whole, cut = await asyncio.gather(*answers, return_exceptions=True)
            assert whole == [b"%d" % n for n in range(1000)]
            assert type(cut) is BackendUnavailable


async def test_slow_callers_between_the_replies_of_one_read_condemn_nobody(server: Server) -> None:
    async with Client.from_url(server.url, command_timeout=0.1) as client:

        async def ask(number: int) -> None:
            assert await client.call("ECHO", number) == b"%d" % number
            time.sleep(0.002)

        await asyncio.gather(*[ask(number) for number in range(300)])
        assert client.statistics().reconnects == 0
