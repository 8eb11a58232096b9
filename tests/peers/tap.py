"""A proxy that waits for one command, and then does one thing to it.

`tap.arm(b"name", "lose reply")`: the next bytes to the server that hold this name are the command
that is meant; names are unique in a case. What can be done to it:

- "hold request": the command waits here until `release()`; the server has not seen it.
- "hold reply": the server has run it, its reply waits here until `release()`.
- "lose reply": the server has run it, and the connection is cut before the reply is passed on.

A client that hangs up while its request is held does not take it back: the request is passed on
at the release, as a network does with what was on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal, Self

__all__ = ["Tap", "What"]

What = Literal["hold request", "hold reply", "lose reply"]


class Tap:
    """Stand between a library and the server: `async with Tap(port) as tap`.

    Attributes:
        url: Where the library connects.
        caught: Set when the armed command has come; for a reply, when the server has answered.
    """

    def __init__(self, port: int) -> None:
        """Take the server's port on 127.0.0.1."""
        self.url = ""
        self.caught = asyncio.Event()
        self._port = port
        self._own_port = 0
        self._armed: tuple[bytes, What] | None = None
        self._go = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def arm(self, needle: bytes, what: What) -> None:
        """Wait for the next command that holds `needle`."""
        self._armed = (needle, what)
        self.caught.clear()
        self._go.clear()

    def release(self) -> None:
        """Let go of what is held."""
        self._go.set()

    async def refuse(self) -> None:
        """Cut every connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.close()

    async def accept(self) -> None:
        """Accept connections, always at the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._own_port}/0"

    async def __aenter__(self) -> Self:
        """Begin to accept."""
        await self.accept()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End everything at once."""
        self.release()
        await self.refuse()  # with its sockets closed, each task reads an end-of-file and ends
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            upstream, server = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.add(server)
            line = _Line()
            replies = asyncio.create_task(self._pass_replies(line, upstream, writer))
            try:
                await self._pass_requests(line, reader, server)
            finally:
                server.close()
                replies.cancel()
                await asyncio.gather(replies, return_exceptions=True)
                writer.close()
                self._writers -= {writer, server}

    async def _pass_requests(
        self, line: _Line, reader: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(65536):
            if self._armed is not None and self._armed[0] in chunk:
                line.doing, self._armed = self._armed[1], None
                if line.doing == "hold request":
                    self.caught.set()
                    await self._go.wait()
            server.write(chunk)
            await server.drain()

    async def _pass_replies(
        self, line: _Line, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await upstream.read(65536):
                if line.doing == "hold reply":
                    self.caught.set()
                    await self._go.wait()
                elif line.doing == "lose reply":
                    self.caught.set()
                    break
                writer.write(chunk)
                await writer.drain()
        writer.close()


class _Line:
    """One connection, and what is being done to its next command."""

    doing: What | None = None
