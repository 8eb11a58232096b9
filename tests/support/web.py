"""A real HTTP server around an ASGI application, in the event loop of the test."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

__all__ = ["serving"]


class _Server(uvicorn.Server):
    """A server that says when it is up, and leaves the process's signals alone."""

    def __init__(self, app: Any) -> None:
        super().__init__(uvicorn.Config(app, lifespan="on", ws="none", log_config=None))
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """Run uvicorn on a free port of the loopback; give a client for it.

    The application's start-up must succeed: uvicorn ends the process when it does not.
    """
    # Of a socket that does not say that it is TCP asyncio holds small answers back, for 40 ms each.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    port = listener.getsockname()[1]
    server = _Server(app)
    running = asyncio.create_task(server.serve([listener]))
    try:
        await server.up.wait()
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            trust_env=False,
            timeout=20,
            limits=httpx.Limits(max_connections=200),
        ) as http:
            yield http
    finally:
        server.should_exit = True
        await running
        listener.close()
