"""A proxy on loopback that can fail a server in the ways that networks do, from one moment on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FaultyProxy"]

_SETTLED = 0.05  # seconds in which a connection attempt on loopback succeeds, or does not


class FaultyProxy:
    """Forwards TCP on 127.0.0.1 until it is told to fail; a context manager.

    Attributes:
        port: Where clients connect.
    """

    def __init__(self, server_port: int) -> None:
        """Take the port to forward to."""
        self._server_port = server_port
        self._delay = 0.0
        self._swallowing = False
        self._connections: set[asyncio.Task[None]] = set()
        self._fillers: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        """Listen."""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._socket.getsockname()[1])
        self._server = await asyncio.start_server(self._accepted, sock=self._socket)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything."""
        for filler in self._fillers:
            filler.close()
        self._server.close()
        await self._cut()

    async def refuse(self) -> None:
        """Cut every connection and refuse new ones."""
        self._server.close()
        await self._cut()

    def slow_down(self, seconds: float) -> None:
        """Hold back whatever the server sends for so long."""
        self._delay = seconds

    async def swallow(self) -> None:
        """Answer nothing any more, not even a new connection: what a dropped route looks like.

        Nobody accepts, and the queue of those who ask is as short as it can be and full: the
        kernel then drops the first packet of every further connection.
        """
        self._swallowing = True
        loop = asyncio.get_running_loop()
        # The server's own socket object shares its file with ours; asyncio must stop accepting
        # on it, but closing it would refuse.
        loop.remove_reader(self._server.sockets[0].fileno())
        self._socket.listen(0)
        while True:
            filler = socket.socket()
            filler.setblocking(False)
            self._fillers.append(filler)
            try:
                address = ("127.0.0.1", self.port)
                await asyncio.wait_for(loop.sock_connect(filler, address), _SETTLED)
            except TimeoutError:
                return

    async def _cut(self) -> None:
        for one in self._connections:
            one.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._connections.add(task)
        try:
            upstream_reader, upstream = await asyncio.open_connection(
                "127.0.0.1", self._server_port
            )
            try:
                await asyncio.gather(
                    self._forward(reader, upstream, slow=False),
                    self._forward(upstream_reader, writer, slow=True),
                )
            finally:
                upstream.transport.abort()
        except (OSError, asyncio.CancelledError):
            # Cancelled by `_cut` alone, which asks for nothing but the end.
            pass
        finally:
            writer.transport.abort()
            self._connections.discard(task)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(2**16):
            if self._swallowing:
                continue
            if slow and self._delay:
                loop.call_later(self._delay, _write, writer, data)
                continue
            writer.write(data)
            await writer.drain()
        if not self._swallowing:
            with contextlib.suppress(OSError):
                writer.write_eof()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(data)
