"""The proxy of the cases does to the armed command what it says, and to no other."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.peers.tap import Tap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.servers import Server


class _Line:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def ask(self, command: bytes) -> bytes:
        self.writer.write(command + b"\r\n")
        return await self._reader.readline()


@contextlib.asynccontextmanager
async def line(port: int) -> AsyncGenerator[_Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield _Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


def port_of(tap: Tap) -> int:
    return int(tap.url.rpartition(":")[2].partition("/")[0])


async def test_held_request_reaches_the_server_when_it_is_released(server: Server) -> None:
    async with Tap(server.port) as tap, line(port_of(tap)) as one:
        assert await one.ask(b"SET other 1 EX 60") == b"+OK\r\n"
        tap.arm(b"name", "hold request")
        asking = asyncio.create_task(one.ask(b"SET name 1 EX 60"))
        await tap.caught.wait()
        assert server.execute("EXISTS", "name") == 0
        tap.release()
        assert await asking == b"+OK\r\n"


async def test_held_request_of_a_client_that_hung_up_still_reaches_the_server(
    server: Server,
) -> None:
    async with Tap(server.port) as tap:
        async with line(port_of(tap)) as one:
            tap.arm(b"name", "hold request")
            one.writer.write(b"SET name 1 EX 60\r\n")
            await tap.caught.wait()
        tap.release()
        async with asyncio.timeout(5):
            while not server.execute("EXISTS", "name"):
                await asyncio.sleep(0.001)


async def test_reply_is_held_after_the_server_has_run_the_command(server: Server) -> None:
    async with Tap(server.port) as tap, line(port_of(tap)) as one, line(port_of(tap)) as two:
        tap.arm(b"name", "hold reply")
        asking = asyncio.create_task(one.ask(b"SET name 1 EX 60"))
        await tap.caught.wait()
        assert server.execute("EXISTS", "name") == 1
        assert await two.ask(b"PING") == b"+PONG\r\n"
        assert not asking.done()
        tap.release()
        assert await asking == b"+OK\r\n"


async def test_lost_reply_cuts_the_connection_after_the_server_has_run_the_command(
    server: Server,
) -> None:
    async with Tap(server.port) as tap, line(port_of(tap)) as one:
        tap.arm(b"name", "lose reply")
        assert await one.ask(b"SET name 1 EX 60") == b""
        assert server.execute("EXISTS", "name") == 1


async def test_refused_connections_are_accepted_again_at_the_same_port(server: Server) -> None:
    async with Tap(server.port) as tap:
        url = tap.url
        async with line(port_of(tap)) as one:
            await tap.refuse()
            with contextlib.suppress(ConnectionResetError):
                assert await one.ask(b"PING") == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port_of(tap))
        await tap.accept()
        assert tap.url == url
        async with line(port_of(tap)) as one:
            assert await one.ask(b"PING") == b"+PONG\r\n"
