"""A TCP proxy that misbehaves on request, and keeps what it was told to keep.

Each connection has two flows, `to_server` and `to_client`, and two sides, `client` and `server`,
which live apart:

- The client closes while its last bytes are held: they stay queued, the server's side stays
  open, and `release()` delivers them however much later (and then the end-of-file).
- New connections come and go meanwhile; a flow knows nothing of other connections.

Rules given to `proxy.to_server` or `proxy.to_client` are for all connections, those to come
included; rules given to `proxy.connections[i].to_server` for that one alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Self, TypeGuard, cast

from tests.support.flow import Flow, Flows
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

__all__ = ["Connection", "Proxy"]


class _Side(asyncio.Protocol):
    """One socket of a connection: it feeds one flow and is written to by the other."""

    def __init__(self, incoming: Flow, outgoing: Flow) -> None:
        loop = asyncio.get_running_loop()
        self.silent: asyncio.Future[None] = loop.create_future()  # its end-of-file or loss came
        self.lost: asyncio.Future[None] = loop.create_future()
        self._incoming = incoming
        self._outgoing = outgoing
        self._transport: asyncio.Transport | None = None
        self._finished = False  # our end-of-file was sent
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._closed:
            self._transport.close()
            return
        self._incoming.attach(source=self)
        self._outgoing.attach(sink=self)

    def data_received(self, data: bytes) -> None:
        self._incoming.feed(data)

    def eof_received(self) -> bool:
        self._fall_silent()
        return not self._closed  # True: the other direction stays open

    def connection_lost(self, exc: Exception | None) -> None:
        self._fall_silent()
        self.lost.set_result(None)

    def pause_writing(self) -> None:
        self._outgoing.sink_is_full(True)

    def resume_writing(self) -> None:
        self._outgoing.sink_is_full(False)

    def write(self, data: bytes) -> None:
        if self._is_open(self._transport) and not self._finished:
            self._transport.write(data)

    def finish(self) -> None:
        """Send the end-of-file; the socket closes when both directions have ended."""
        if self._is_open(self._transport) and not self._finished:
            with contextlib.suppress(OSError):  # the peer has reset the connection meanwhile
                self._transport.write_eof()
        self._finished = True
        if self.silent.done():
            self.close()

    def read(self, on: bool, /) -> None:
        if self._is_open(self._transport):
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    async def abort(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.abort()
            await self.lost

    @staticmethod
    def _is_open(transport: asyncio.Transport | None) -> TypeGuard[asyncio.Transport]:
        return transport is not None and not transport.is_closing()

    def _fall_silent(self) -> None:
        if not self.silent.done():
            self.silent.set_result(None)
            self._incoming.feed(b"")
            if self._finished:
                self.close()


class Connection:
    """One accepted connection and its counterpart at the server; its flows outlive both sides."""

    def __init__(self, to_server: Flows, to_client: Flows) -> None:
        """Begin with the rules of the proxy."""
        self.to_server = to_server.add(self.cut)
        self.to_client = to_client.add(self.cut)
        self.client = _Side(self.to_server, self.to_client)
        self.server = _Side(self.to_client, self.to_server)

    async def client_closed(self) -> None:
        """Wait until the client's end-of-file has come, or its side is lost."""
        await asyncio.shield(self.client.silent)

    async def server_closed(self) -> None:
        """Wait until the server's end-of-file has come, or its side is lost."""
        await asyncio.shield(self.server.silent)

    def cut(self) -> None:
        """Close both sides: what was passed on arrives, what is queued is lost."""
        for flow in (self.to_server, self.to_client):
            flow.drop()
        for side in (self.client, self.server):
            side.close()


class Proxy:
    """Stand between clients and one server: `async with Proxy(server.port) as proxy`.

    Args:
        target: The server's TCP port on 127.0.0.1, or the path of its Unix socket.

    Attributes:
        host, port, url: Where clients connect; the port stays when connections are refused.
        connections: Every connection ever accepted, in order.
        to_server, to_client: The two directions of all of them.
    """

    def __init__(self, target: int | str) -> None:
        """Choose a port of its own; nothing listens yet."""
        self.host = "127.0.0.1"
        self.port = free_port()
        self.url = f"redis://{self.host}:{self.port}/0"
        self.connections: list[Connection] = []
        self.to_server = Flows()
        self.to_client = Flows()
        self._target = target
        self._black_hole = False
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self._arrivals: list[tuple[int, asyncio.Future[None]]] = []

    async def refuse(self) -> None:
        """Refuse new connections, as a machine does where no server runs; the others go on."""
        if self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._listener.close()
            self._accepting = self._listener = None

    async def accept(self) -> None:
        """Accept connections again, at the same port, and pass them on."""
        self._black_hole = False
        if self._listener is None:
            self._listener = socket.create_server((self.host, self.port), backlog=1024)
            self._listener.setblocking(False)
            self._accepting = self._task(self._accept_all(self._listener), "accept")

    def lead_to(self, target: int | str) -> None:
        """Pass on connections to come to another server, as an address that has moved."""
        self._target = target

    def black_hole(self) -> None:
        """Accept new connections, read from them and never answer; `accept()` ends it."""
        self._black_hole = True

    def cut_all(self) -> None:
        """Cut every connection there is."""
        for connection in self.connections:
            connection.cut()

    async def connected(self, count: int) -> Connection:
        """Wait until `count` connections were accepted in all, and return the last of these."""
        if len(self.connections) < count:
            arrival = asyncio.get_running_loop().create_future()
            self._arrivals.append((count, arrival))
            await arrival
        return self.connections[count - 1]

    async def aclose(self) -> None:
        """End everything at once; what is held is lost."""
        await self.refuse()
        for task in self._connecting:
            task.cancel()
        if self._connecting:
            await asyncio.wait(self._connecting)
        for connection in self.connections:
            connection.to_server.drop()
            connection.to_client.drop()
            await connection.client.abort()
            await connection.server.abort()

    async def __aenter__(self) -> Self:
        """Begin to accept."""
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def _accept_all(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(listener)
            connection = Connection(self.to_server, self.to_client)
            await loop.connect_accepted_socket(lambda side=connection.client: side, accepted)
            self.connections.append(connection)
            for count, arrival in self._arrivals:
                if len(self.connections) >= count and not arrival.done():
                    arrival.set_result(None)
            if not self._black_hole:
                task = self._task(self._connect(connection), "connect")
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self._target, str):
                await loop.create_unix_connection(lambda: connection.server, self._target)
            else:
                await loop.create_connection(lambda: connection.server, self.host, self._target)
        except OSError:
            connection.cut()

    @staticmethod
    def _task(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, name=f"proxy {name}")
