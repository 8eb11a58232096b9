"""A server of a few lines, for answers that no real one gives: too old, garbled, byte by byte."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, cast

import hiredis

from tests.support.conversation import OK, bulk
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["ScriptedServer", "info"]


def info(version: str = "7.4.0", run_id: str = "f" * 40) -> bytes:
    """Frame what INFO says."""
    text = f"# Server\r\nredis_version:{version}\r\nrun_id:{run_id}\r\nos:any\r\n"
    return bulk(text)


class _Session(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._server.sessions.append(self)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (words := cast("list[bytes] | bool", self._reader.gets())) is not False:
            self.transport.write(self._server.answer(cast("list[bytes]", words)))


class ScriptedServer:
    """Answers commands as told, and otherwise well enough for a client to come up.

    Attributes:
        url: Where it listens.
        heard: Every command, as text.
        sessions: Every connection ever accepted.
    """

    def __init__(self, script: Callable[[str], bytes | None] | None = None) -> None:
        """Choose a port; `script` gets a command as text and answers it, or gives None."""
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.heard: list[str] = []
        self.sessions: list[_Session] = []
        self._script = script

    def answer(self, words: list[bytes]) -> bytes:
        """Answer one command."""
        command = b" ".join(words).decode(errors="replace")
        self.heard.append(command)
        said = self._script(command) if self._script is not None else None
        if said is not None:
            return said
        if command.startswith("INFO"):
            return info()
        if command == "CLIENT ID":
            return b":%d\r\n" % len(self.sessions)
        return b"+PONG\r\n" if command == "PING" else OK

    def say(self, data: bytes) -> None:
        """Send bytes on the youngest connection."""
        self.sessions[-1].transport.write(data)

    async def __aenter__(self) -> Self:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: _Session(self), "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything."""
        self._listening.close()
        for session in self.sessions:
            session.transport.abort()
        await asyncio.sleep(0)
