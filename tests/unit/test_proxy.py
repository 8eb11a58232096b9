"""The proxy that fault tests rely on does exactly what it was told to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

import pytest

from tests.support.proxy import Proxy
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

pytestmark = pytest.mark.both_loops


class Echo(asyncio.Protocol):
    """A server that answers with what it hears, and remembers it."""

    def __init__(self, heard: list[Echo]) -> None:
        self.said = b""
        self.ended = asyncio.get_running_loop().create_future()
        heard.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.said += data
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.ended.set_result(self.said)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(self.said)


class Target:
    """Where the proxy leads."""

    def __init__(self) -> None:
        self.port = free_port()
        self.heard: list[Echo] = []


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    target = Target()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(target.heard), "127.0.0.1", target.port)
    yield target
    server.close()
    for echo in target.heard:
        echo.transport.abort()
    await server.wait_closed()


@pytest.fixture
async def proxy(target: Target) -> AsyncIterator[Proxy]:
    async with Proxy(target.port) as proxy:
        yield proxy


class Caller:
    """A client with streams, closed in one call."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, proxy: Proxy) -> Caller:
        return cls(*await asyncio.open_connection(proxy.host, proxy.port))

    async def ask(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def test_bytes_pass_both_ways_and_are_counted(proxy: Proxy) -> None:
    caller = await Caller.to(proxy)
    assert await caller.ask(b"hello") == b"hello"
    assert (proxy.to_server.received, proxy.to_server.delivered) == (5, 5)
    assert (proxy.to_client.received, proxy.to_client.delivered) == (5, 5)
    assert len(proxy.connections) == 1
    await caller.close()


async def test_large_values_pass_whole_through_full_buffers(proxy: Proxy) -> None:
    caller = await Caller.to(proxy)
    blob = bytes(range(256)) * 40_000
    assert await caller.ask(blob) == blob
    await caller.close()


async def test_held_bytes_of_a_closed_connection_reach_the_server_later(
    proxy: Proxy, target: Target
) -> None:
    old = await Caller.to(proxy)
    assert await old.ask(b"a") == b"a"
    first = proxy.connections[0]
    first.to_server.hold()
    old.writer.write(b"late")
    await first.to_server.received_at_least(5)
    await old.close()
    await first.client_closed()

    new = await Caller.to(proxy)
    assert await new.ask(b"b") == b"b"
    assert target.heard[0].said == b"a"
    assert not target.heard[0].ended.done()
    assert first.to_server.waiting == 4

    first.to_server.release()
    assert await target.heard[0].ended == b"alate"
    await new.close()


async def test_held_set_of_a_dead_client_lands_after_a_newer_del(server: Server) -> None:
    async with Proxy(server.socket_path) as proxy:
        old = await Caller.to(proxy)
        connection = await proxy.connected(1)
        connection.to_server.hold()
        old.writer.write(b"SET k old EX 10\r\n")
        await connection.to_server.received_at_least(17)
        await old.close()
        server.execute("DEL", "k")
        connection.to_server.release()
        await connection.server_closed()  # its end-of-file came after the SET
        assert server.execute("GET", "k") == b"old"


async def test_held_replies_arrive_in_order_on_release(proxy: Proxy) -> None:
    caller = await Caller.to(proxy)
    proxy.to_client.hold()
    flow = (await proxy.connected(1)).to_client
    for part in (b"one", b"two"):
        caller.writer.write(part)
        await flow.received_at_least(3 if part == b"one" else 6)
    assert proxy.to_client.delivered == 0
    proxy.to_client.release()
    assert await caller.reader.readexactly(6) == b"onetwo"
    await caller.close()


async def test_rule_for_all_flows_binds_connections_to_come(proxy: Proxy, target: Target) -> None:
    proxy.to_server.hold()
    caller = await Caller.to(proxy)
    caller.writer.write(b"x")
    connection = await proxy.connected(1)
    await connection.to_server.received_at_least(1)
    assert connection.to_server.waiting == 1
    proxy.to_server.release()
    assert await caller.reader.readexactly(1) == b"x"
    await caller.close()


async def test_rule_for_one_connection_spares_the_others(proxy: Proxy) -> None:
    first = await Caller.to(proxy)
    await first.ask(b"1")
    proxy.connections[0].to_client.hold()
    second = await Caller.to(proxy)
    assert await second.ask(b"2") == b"2"
    first.writer.write(b"3")
    await proxy.connections[0].to_client.received_at_least(2)
    assert proxy.connections[0].to_client.waiting == 1
    await first.close()
    await second.close()


async def test_swallowed_replies_are_lost_for_good(proxy: Proxy) -> None:
    caller = await Caller.to(proxy)
    proxy.to_client.swallow()
    caller.writer.write(b"gone")
    flow = (await proxy.connected(1)).to_client
    await flow.received_at_least(4)
    assert flow.swallowed == 4
    proxy.to_client.behave()
    assert await caller.ask(b"here") == b"here"
    await caller.close()


@pytest.mark.parametrize("count", [0, 1, 4, 5])
async def test_cut_after_k_bytes_delivers_k_and_closes(proxy: Proxy, count: int) -> None:
    proxy.to_client.cut_after(count)
    caller = await Caller.to(proxy)
    caller.writer.write(b"12345")
    assert await caller.reader.read() == b"12345"[:count]
    assert proxy.to_client.delivered == count
    await caller.close()


async def test_cut_towards_the_server_delivers_k_bytes_there(proxy: Proxy, target: Target) -> None:
    proxy.to_server.cut_after(3)
    caller = await Caller.to(proxy)
    caller.writer.write(b"12345")
    connection = await proxy.connected(1)
    await connection.client_closed()
    await caller.close()
    while not target.heard:
        await asyncio.sleep(0)
    assert await target.heard[0].ended == b"123"


async def test_delayed_bytes_keep_their_order_and_their_time(proxy: Proxy) -> None:
    caller = await Caller.to(proxy)
    await caller.ask(b"-")
    flow = proxy.connections[0].to_client
    flow.delay(0.05)
    loop = asyncio.get_running_loop()
    start = loop.time()
    caller.writer.write(b"slow")
    await flow.received_at_least(5)
    flow.delay(0)
    caller.writer.write(b"fast")
    assert await caller.reader.readexactly(8) == b"slowfast"
    assert loop.time() - start >= 0.049
    await caller.close()


async def test_half_closed_client_hears_nothing_and_is_still_heard(
    proxy: Proxy, target: Target
) -> None:
    caller = await Caller.to(proxy)
    await caller.ask(b"1")
    connection = proxy.connections[0]
    connection.to_client.half_close()
    assert await caller.reader.read() == b""
    caller.writer.write(b"2")
    await connection.to_server.received_at_least(2)
    await connection.to_client.received_at_least(2)
    assert target.heard[0].said == b"12"
    assert connection.to_client.delivered == 1
    await caller.close()


async def test_refused_connections_fail_and_old_ones_go_on(proxy: Proxy) -> None:
    old = await Caller.to(proxy)
    await old.ask(b"1")
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await Caller.to(proxy)
    assert await old.ask(b"2") == b"2"
    await proxy.accept()
    new = await Caller.to(proxy)
    assert await new.ask(b"3") == b"3"
    await old.close()
    await new.close()


async def test_black_hole_accepts_reads_and_never_answers(proxy: Proxy, target: Target) -> None:
    proxy.black_hole()
    caller = await Caller.to(proxy)
    caller.writer.write(b"anyone?")
    connection = await proxy.connected(1)
    await connection.to_server.received_at_least(7)
    assert target.heard == []
    await proxy.accept()
    heard = await Caller.to(proxy)
    assert await heard.ask(b"yes") == b"yes"
    await caller.close()
    await heard.close()


async def test_unread_connection_fills_the_senders_buffers(proxy: Proxy) -> None:
    caller = await Caller.to(proxy)
    await caller.ask(b"-")
    proxy.to_server.stop_reading()
    blob = bytes(32 * 1024 * 1024)
    caller.writer.write(blob)
    draining = asyncio.get_running_loop().create_task(caller.writer.drain())
    done, _ = await asyncio.wait([draining], timeout=0.05)
    assert not done
    proxy.to_server.behave()
    assert len(await caller.reader.readexactly(len(blob))) == len(blob)
    await draining
    await caller.close()


async def test_cut_all_closes_every_client(proxy: Proxy) -> None:
    callers = [await Caller.to(proxy) for _ in range(3)]
    for caller in callers:
        await caller.ask(b"x")
    proxy.cut_all()
    for caller in callers:
        assert await caller.reader.read() == b""
        await caller.close()


async def test_dead_target_closes_the_client(proxy: Proxy) -> None:
    async with Proxy(free_port()) as leading_nowhere:
        caller = await Caller.to(leading_nowhere)
        assert await caller.reader.read() == b""
        await caller.close()


async def test_server_that_closes_is_seen_by_the_client(proxy: Proxy, target: Target) -> None:
    caller = await Caller.to(proxy)
    await caller.ask(b"x")
    target.heard[0].transport.close()
    assert await caller.reader.read() == b""
    await caller.close()


async def test_closing_with_bytes_held_leaves_nothing_open(target: Target) -> None:
    async with Proxy(target.port) as proxy:
        caller = await Caller.to(proxy)
        await caller.ask(b"x")
        proxy.to_server.hold()
        caller.writer.write(b"never")
        await proxy.connections[0].to_server.received_at_least(6)
    await caller.close()
    assert await target.heard[0].ended == b"x"
