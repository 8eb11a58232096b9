"""What counts as an outage, how long, and what is said about it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond import Client
from millpond.errors import BackendTimeout, BackendUnavailable, ConfigError
from millpond.events import ServerLimited, WireDown, WireUp
from tests.support.conversation import OK, bulk
from tests.support.recovery import in_state, kinds, recovered
from tests.support.scripted import ScriptedServer
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.events import Event

pytestmark = pytest.mark.both_loops


async def test_quick_handshake_with_hanging_commands_is_one_outage() -> None:
    hanging = False

    def script(command: str) -> bytes | None:
        if command.startswith("ECHO"):
            return b"" if hanging else bulk(command.removeprefix("ECHO "))
        return None

    events: list[Event] = []
    async with ScriptedServer(script) as server:
        async with Client.from_url(
            server.url, command_timeout=0.1, hooks=[events.append]
        ) as client:
            assert await client.call("ECHO", "fine") == b"fine"
            hanging = True
            first = [client.call("ECHO", n) for n in range(50)]
            ends = await asyncio.gather(*first, return_exceptions=True)
            assert {type(end) for end in ends} == {BackendTimeout}
            for _ in range(3):
                await in_state(client, "trial")
                tried = [client.call("ECHO", "tried"), client.call("ECHO", "too")]
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert client.statistics().state == "trial"
                for _ in range(100):  # only one turn's commands pay for the trial
                    assert isinstance(client.call("ECHO", "no").exception(), BackendUnavailable)
                ends = await asyncio.gather(*tried, return_exceptions=True)
                assert {type(end) for end in ends} == {BackendTimeout}
                assert client.statistics().state == "down"
            assert kinds(events) == [WireUp, WireDown]
            hanging = False
            await in_state(client, "trial")
            assert await client.call("ECHO", "back") == b"back"
            assert client.statistics().state == "up"
            assert await client.call("ECHO", "and well") == b"and well"
    assert kinds(events) == [WireUp, WireDown, WireUp]
    assert "ECHO no" not in server.heard


async def test_trial_cut_short_is_followed_by_another_trial() -> None:
    async with ScriptedServer(lambda c: b"" if c.startswith("ECHO") else None) as server:
        async with Client.from_url(server.url, command_timeout=0.1) as client:
            with pytest.raises(BackendTimeout):
                await client.call("ECHO", 1)
            await in_state(client, "trial")
            server.sessions[-1].transport.abort()  # not by silence this time
            await in_state(client, "down")
            await in_state(client, "trial")


async def test_watch_whose_read_was_refused_during_a_trial_is_woken_when_it_passes() -> None:
    value = "old"

    def script(command: str) -> bytes | None:
        if command == "GET k":
            return bulk(value)
        if command == "PTTL k":
            return b":-1\r\n"
        return b"" if command == "ECHO hang" else None

    async with ScriptedServer(script) as server:
        async with Client.from_url(server.url, command_timeout=0.1) as client:
            async with client.watch("k") as watch:
                with pytest.raises(BackendTimeout):
                    await client.call("ECHO", "hang")
                with pytest.raises(BackendUnavailable):
                    await watch.changed()
                await in_state(client, "trial")
                tried = asyncio.ensure_future(client.call("ECHO", "hang"))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                with pytest.raises(BackendUnavailable, match="first answer"):
                    await watch.changed()
                value = "new"
                waiting = asyncio.ensure_future(watch.changed())
                server.say(OK)  # the trial is answered after all
                assert await tried == b"OK"
                assert await asyncio.wait_for(waiting, 5) is True
                assert watch.value == b"new"


@pytest.mark.parametrize("rubbish", [OK, bulk("surplus"), b"-ERR surplus\r\n", b"HTTP/1.1 400\r\n"])
async def test_unasked_reply_ends_the_connection_and_reaches_nobody(rubbish: bytes) -> None:
    async with ScriptedServer() as server, Client.from_url(server.url) as client:
        server.say(rubbish)
        await in_state(client, "down")
        await recovered(client)
        assert client.statistics().reconnects == 1


@pytest.mark.parametrize("code", ["LOADING", "READONLY", "MASTERDOWN"])
async def test_server_that_cannot_serve_is_an_outage_until_it_can(code: str) -> None:
    refusing = True

    def script(command: str) -> bytes | None:
        return f"-{code} not now\r\n".encode() if refusing and command == "DEL k" else None

    events: list[Event] = []
    async with ScriptedServer(script) as server:
        async with Client.from_url(server.url, hooks=[events.append]) as client:
            with pytest.raises(BackendUnavailable, match=code):
                await client.call("DEL", "k")
            assert client.statistics().state == "down"
            refusing = False
            await recovered(client)
            assert await client.call("DEL", "k") == b"OK"
    assert kinds(events) == [WireUp, WireDown, WireUp]


async def test_reason_that_will_not_pass_by_itself_is_told_while_the_outage_lasts(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    events: list[Event] = []
    async with Client.from_url(server.url, hooks=[events.append]) as client:
        server.execute("CONFIG", "SET", "requirepass", "new")
        with server.redis(password="new") as behind:
            behind.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        async with asyncio.timeout(5):
            while kinds(events) != [WireUp, WireDown, WireDown]:
                await asyncio.sleep(0.005)
        assert isinstance(events[2], WireDown)
        assert "wants a password" in events[2].reason
        error = client.call("PING").exception()
        assert isinstance(error, BackendUnavailable)
        assert "wants a password" in str(error)


async def test_listener_that_is_no_redis_is_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    for answer in (b"HTTP/1.1 400 Bad Request\r\n", b"*1\r\n$5\r\nHELLO\r\n", b":1\r\n"):
        async with ScriptedServer(lambda _, answer=answer: answer) as server:
            async with Client.from_url(server.url) as client:
                with pytest.raises(BackendUnavailable, match=r"is it Redis|answer like") as down:
                    await client.call("PING")
                assert client.statistics().state == "down"
                assert str(down.value).count("Redis at") == 1  # nothing is said twice
                assert "whether the command ran" not in str(down.value)
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize("refusal", ["ERR max number of clients reached", "DENIED protected mode"])
async def test_server_that_lets_nobody_in_is_an_outage_with_its_own_words(refusal: str) -> None:
    events: list[Event] = []
    async with ScriptedServer(lambda _: f"-{refusal}\r\n".encode()) as server:
        async with Client.from_url(server.url, hooks=[events.append]):
            [event] = events
            assert isinstance(event, WireDown)
            assert refusal in event.reason


async def test_proxy_that_knows_neither_info_nor_client_id_is_served() -> None:
    def script(command: str) -> bytes | None:
        if command.split(maxsplit=1)[0] in {"INFO", "CLIENT", "HELLO"}:
            return b"-ERR unknown command\r\n"
        return None

    events: list[Event] = []
    async with ScriptedServer(script) as server:
        async with Client.from_url(server.url, hooks=[events.append]) as client:
            assert await client.call("PING") == b"PONG"
            server.sessions[0].transport.abort()
            await in_state(client, "down")
            await recovered(client)
    assert kinds(events) == [ServerLimited, WireUp, WireDown, WireUp]


async def test_password_that_became_wrong_is_an_error_at_opening_only(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(requirepass="old"))
    client = Client.from_url(server.url)
    async with client:
        assert await client.call("PING") == b"PONG"
        server.execute("CONFIG", "SET", "requirepass", "new")
        assert await client.call("PING") == b"PONG"
    with pytest.raises(ConfigError, match="refused the user name or password"):
        await client.__aenter__()
    assert client.statistics().state == "closed"


@pytest.mark.parametrize("dies", ["in the handshake", "when it is up"])
async def test_attempts_become_rarer_until_a_connection_has_lasted(dies: str) -> None:
    """A connection that comes up and dies at once is no recovery: it may not be tried for ever."""

    def script(command: str) -> bytes | None:
        if dies == "in the handshake" or command == "PING":
            session = server.sessions[-1].transport
            asyncio.get_running_loop().call_later(0.001, session.close)
        return b"*1\r\n:1\r\n" if dies == "in the handshake" else None

    async with ScriptedServer(script) as server, Client.from_url(server.url):
        async with asyncio.timeout(10):
            while len(server.sessions) < 5:
                await asyncio.sleep(0.005)
        began, before = asyncio.get_running_loop().time(), len(server.sessions)
        await asyncio.sleep(0.5)
        took = asyncio.get_running_loop().time() - began
        assert len(server.sessions) - before <= 1 + took / 0.16  # the fifth waits as long as that
