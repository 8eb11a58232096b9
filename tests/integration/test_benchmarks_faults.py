"""The proxy of the benchmarks' outages fails as it says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from benchmarks.faults import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def proxy() -> AsyncIterator[FaultyProxy]:
    """A proxy before a server that echoes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultyProxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


async def _open(proxy: FaultyProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_forwards_until_told_otherwise(proxy: FaultyProxy) -> None:
    reader, writer = await _open(proxy)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()


async def test_refusal_cuts_what_is_there_and_refuses_what_comes(proxy: FaultyProxy) -> None:
    reader, writer = await _open(proxy)
    writer.write(b"hello")
    await reader.readexactly(5)
    await proxy.refuse()
    with contextlib.suppress(ConnectionError):
        assert await reader.read(1) == b""
    with pytest.raises(ConnectionRefusedError):
        await _open(proxy)
    writer.close()


async def test_slow_replies_are_late_by_what_was_asked_for(proxy: FaultyProxy) -> None:
    reader, writer = await _open(proxy)
    proxy.slow_down(0.1)
    begun = time.monotonic()
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    assert time.monotonic() - begun >= 0.1
    writer.close()


async def test_black_hole_answers_neither_bytes_nor_connections(proxy: FaultyProxy) -> None:
    reader, writer = await _open(proxy)
    writer.write(b"hello")
    await reader.readexactly(5)
    await proxy.swallow()
    writer.write(b"hello")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await _open(proxy)
    writer.close()
