"""What users get wrong with a client: each a clear error that names the fix, and nothing hangs."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, Script
from millpond.errors import (
    BackendUnavailable,
    ClosedError,
    ConfigError,
    ReplyError,
)
from millpond.events import WireDown
from tests.support.conversation import bulk
from tests.support.scripted import ScriptedServer, info
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.events import Event


async def refusal(url: str) -> str:
    """Open a client that cannot be opened, and return what it says."""
    client = Client.from_url(url)
    with pytest.raises(ConfigError) as refused:
        await client.__aenter__()
    assert client.statistics().state == "closed"
    with pytest.raises(ClosedError):
        client.call("PING")
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return str(refused.value)


# -- who and where -----------------------------------------------------------------------------


async def test_wrong_and_missing_passwords_name_the_url(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(requirepass="geheim"))
    wrong = await refusal(server.url.replace("geheim", "falsch"))
    assert "refused the user name or password" in wrong
    assert "redis://user:password@host:port/0" in wrong
    assert "falsch" not in wrong
    missing = await refusal(server.url.replace(":geheim@", ""))
    assert "wants a password" in missing
    assert "redis://:password@host" in missing
    unknown = await refusal(server.url.replace(":geheim", "nobody:geheim"))
    assert "refused the user name or password" in unknown


async def test_wrong_and_missing_passwords_are_told_on_every_server(
    flavoured_server: Server,
) -> None:
    server = flavoured_server
    server.execute("CONFIG", "SET", "requirepass", "geheim")
    try:
        url = server.url
        assert "wants a password" in await refusal(url)
        wrong = await refusal(url.replace("redis://", "redis://:falsch@"))
        assert "refused the user name or password" in wrong
        async with Client.from_url(url.replace("redis://", "redis://:geheim@")) as client:
            assert await client.call("PING") == b"PONG"
    finally:
        with server.redis(password="geheim") as behind:
            behind.execute_command("CONFIG", "SET", "requirepass", "")


async def test_password_for_a_server_without_one_works_or_says_so(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    url = server.url.replace("redis://", "redis://:unneeded@")
    async with Client.from_url(url) as client:  # HELLO takes any for a user without a password
        assert await client.call("PING") == b"PONG"
    server = start_server(Server(args=["--rename-command", "HELLO", ""]))
    said = await refusal(server.url.replace("redis://", "redis://:unneeded@"))
    assert "has no password set" in said


async def test_wrong_password_is_told_where_hello_is_missing(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(requirepass="geheim", args=["--rename-command", "HELLO", ""]))
    said = await refusal(server.url.replace("geheim", "falsch"))
    assert "refused the user name or password" in said
    assert "wants a password" in await refusal(server.url.replace(":geheim@", ""))
    async with Client.from_url(server.url) as client:
        assert await client.call("PING") == b"PONG"


async def test_database_that_does_not_exist_is_named(server: Server) -> None:
    said = await refusal(server.url.removesuffix("0") + "99")
    assert "database 99" in said
    assert "out of range" in said


@pytest.mark.parametrize("version", ["6.0.16", "5.0.14", "3.2.1", "6"])
async def test_server_that_is_too_old_is_refused_with_its_version(version: str) -> None:
    async with ScriptedServer(lambda c: info(version) if c.startswith("INFO") else None) as server:
        said = await refusal(server.url)
    assert f"is version {version}" in said
    assert "6.2 or newer" in said


async def test_server_so_old_that_it_knows_no_hello_is_refused_for_its_age() -> None:
    def script(command: str) -> bytes | None:
        if command.startswith("HELLO"):
            return b"-ERR unknown command 'HELLO'\r\n"
        return bulk("redis_version:4.0.14\r\nrun_id:x\r\n") if command.startswith("INFO") else None

    async with ScriptedServer(script) as server:
        assert "is version 4.0.14" in await refusal(server.url)


async def test_server_that_is_not_there_is_a_warning_and_no_error() -> None:
    events: list[Event] = []
    client = Client.from_url("redis://127.0.0.1:1", hooks=[events.append])
    async with client:
        [event] = events
        assert isinstance(event, WireDown)
        assert event.address == "127.0.0.1:1"
        error = client.call("PING").exception()
        assert isinstance(error, BackendUnavailable)
        assert "127.0.0.1:1" in str(error)


async def test_plain_url_of_a_directory_or_an_absent_socket_is_an_outage() -> None:
    for path in ("/tmp", "/nowhere/redis.sock"):
        async with Client.from_url(f"unix://{path}") as client:
            assert isinstance(client.call("PING").exception(), BackendUnavailable)


@pytest.mark.parametrize("module", ["fakeredis", "lupa"])
def test_missing_extra_for_memory_names_the_pip_command(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"{module}.*pip install 'millpond\[memory\]'"):
        Client.from_url("memory://")


# -- what --------------------------------------------------------------------------------------

BAD: list[Any] = [None, True, object(), ["a"], {"a": 1}, bytearray(b"a"), "\ud800"]


@pytest.mark.parametrize("where", ["redis", "memory", "down"])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: type(bad).__name__)
async def test_argument_that_cannot_be_sent_is_refused_at_the_call(
    url: str, where: str, bad: Any
) -> None:
    urls = {"redis": url, "memory": "memory://", "down": "redis://127.0.0.1:1"}
    async with Client.from_url(urls[where], hooks=[]) as client:
        for call in (
            lambda: client.call("SET", "k", bad),
            lambda: client.call("GET", bad),
            lambda: client.pipeline([("PING",), ("SET", "k", bad)]),
            lambda: client.run(Script("return 1"), keys=["k"], args=[bad]),
        ):
            with pytest.raises(ConfigError, match="must be str, bytes, int or float"):
                call()
        if where != "down":
            assert await client.call("PING") in {b"PONG", True}


NO_COMMANDS: list[tuple[Any, ...]] = [(), (["GET", "k"],), ({},)]


@pytest.mark.parametrize("where", ["redis", "memory", "down"])
@pytest.mark.parametrize("command", NO_COMMANDS, ids=str)
async def test_command_without_a_name_is_refused(
    url: str, where: str, command: tuple[Any, ...]
) -> None:
    urls = {"redis": url, "memory": "memory://", "down": "redis://127.0.0.1:1"}
    async with Client.from_url(urls[where], hooks=[]) as client:
        with pytest.raises(ConfigError):
            client.call(*command)
        with pytest.raises(ConfigError):
            client.pipeline([("PING",), command])


@pytest.mark.parametrize("where", ["redis", "memory", "down"])
async def test_command_that_must_not_share_a_connection_names_the_alternative(
    url: str, where: str
) -> None:
    urls = {"redis": url, "memory": "memory://", "down": "redis://127.0.0.1:1"}
    async with Client.from_url(urls[where], hooks=[]) as client:
        for command, alternative in (
            (("BLPOP", "k", 0), "client.watch()"),
            (("multi",), "transaction=True"),
            (("SUBSCRIBE", "c"), "redis.asyncio"),
            ((b"select", 1), "URL"),
        ):
            with pytest.raises(ConfigError, match="cannot run on a shared connection") as refused:
                client.call(*command)
            assert alternative in str(refused.value)
            with pytest.raises(ConfigError, match="cannot run on a shared connection"):
                client.pipeline([("PING",), command])


async def test_command_that_does_not_exist_and_wrong_types_are_reply_errors(
    flavoured_server: Server,
) -> None:
    async with Client.from_url(flavoured_server.url) as client:
        with pytest.raises(ReplyError, match="unknown command"):
            await client.call("NOSUCHCOMMAND", "k")
        with pytest.raises(ReplyError, match="unknown command"):
            await client.call(b"\xff\xfe", b"\xff")
        await client.call("SET", "k", "text", "EX", 100)
        with pytest.raises(ReplyError) as refused:
            await client.call("LPUSH", "k", "v")
        assert refused.value.code == "WRONGTYPE"
        with pytest.raises(ReplyError):
            await client.run(Script("return no_such_function()"))
        with pytest.raises(ReplyError, match=r"(?i)script|compil"):
            await client.run(Script("this is no Lua"))
        assert await client.call("GET", "k") == b"text"


async def test_missing_permission_names_the_rule(flavoured_server: Server) -> None:
    server = flavoured_server
    server.execute("ACL", "SETUSER", "u", "on", ">pw", "~app:*", "+@all", "-set")
    try:
        url = server.url.replace("redis://", "redis://u:pw@")
        async with Client.from_url(url) as client:
            with pytest.raises(ReplyError) as command:
                await client.call("SET", "app:k", "v")
            assert command.value.code == "NOPERM"
            assert "+set" in str(command.value)
            with pytest.raises(ReplyError) as key:
                await client.call("GET", "other:k")
            assert key.value.code == "NOPERM"
            assert "~<prefix>:*" in str(key.value)
    finally:
        server.execute("ACL", "DELUSER", "u")
