"""An ASGI application that tests step, and requests to it without a server between.

`Site` counts its runs and holds them until it is told. `Visit` is one request in a task of its own,
to be cancelled or disconnected. `Branch` is what a process has: a client, a cache and a middleware.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from millpond import Client
from millpond.ext.asgi import ResponseCache, ResponseCacheMiddleware
from tests.support.fleet import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from millpond.events import Event

__all__ = ["HOST", "Branch", "Site", "Visit", "scope_of"]

HOST = (b"host", b"shop.example")


def scope_of(
    path: str, *headers: tuple[bytes, bytes], method: str = "GET", query: bytes = b""
) -> dict[str, Any]:
    """Return the scope of a request, as a server makes it; headers that are given replace its."""
    given = {name for name, _ in headers}
    return {
        "type": "http",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [*[pair for pair in [HOST] if pair[0] not in given], *headers],
    }


class Site:
    """Answers each run with its number, when the gate is open.

    Attributes:
        runs: The scopes of the runs so far.
        ended: How many have ended, however they did.
        cancelled: How many of these were cancelled.
        status, headers: Of the answers to come.
        body: Makes a body of a run's number.
        fails: Is raised instead of an answer.
        after: Sends the body, and does what else there is to do.
    """

    def __init__(self, *headers: tuple[bytes, bytes], held: bool = False) -> None:
        """Begin; `held` runs wait for `release` before they answer."""
        self.runs: list[Any] = []
        self.ended = self.cancelled = 0
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = [*headers]
        self.fails: BaseException | None = None
        self.body: Callable[[int], bytes] = lambda number: b"run %d" % number
        self.after: Callable[[Any, Any], Awaitable[None]] | None = None
        self._open = not held
        self._gates: list[asyncio.Event] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        self.runs.append(scope)
        gate = asyncio.Event()
        self._gates.append(gate)
        if self._open:
            gate.set()
        body = self.body(len(self.runs))
        try:
            assert (await receive())["type"] == "http.request"
            await gate.wait()
            if self.fails is not None:
                raise self.fails
            await send(
                {"type": "http.response.start", "status": self.status, "headers": self.headers}
            )
            if self.after is not None:
                await self.after(receive, send)
            else:
                await send({"type": "http.response.body", "body": body})
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.ended += 1

    def hold(self) -> None:
        """Hold the runs that come."""
        self._open = False

    def release(self) -> None:
        """Let them all go, those to come as well."""
        self._open = True
        for gate in self._gates:
            gate.set()

    def let(self, number: int) -> None:
        """Let one run go."""
        self._gates[number - 1].set()

    async def run(self, times: int = 1) -> None:
        """Wait until so many runs have begun."""
        await until(lambda: len(self.runs) >= times)


class Visit:
    """One request.

    Attributes:
        task: What serves it.
        status, headers, body: What was answered so far.
        complete: Whether the answer is.
    """

    def __init__(
        self,
        app: Any,
        path: str = "/",
        *headers: tuple[bytes, bytes],
        method: str = "GET",
        query: bytes = b"",
    ) -> None:
        """Ask."""
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.complete = False
        self._gone = asyncio.Event()
        self._asked = False
        scope = scope_of(path, *headers, method=method, query=query)
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            assert not self.status, "two answers to one request"
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            assert self.status
            assert not self.complete
            self.body += message.get("body", b"")
            self.complete = not message.get("more_body", False)

    def disconnect(self) -> None:
        """Go away, as clients do."""
        self._gone.set()

    def __await__(self) -> Any:
        """Wait for the end of it, and return itself."""
        return self._ended().__await__()

    async def _ended(self) -> Self:
        await self.task
        assert self.complete
        return self


class Branch:
    """What one process has, opened by `async with`.

    Attributes:
        client, cache, app: Its own; `app` stands in front of the site.
        events: All that was told.
    """

    def __init__(
        self,
        url: str,
        site: Any,
        *,
        paths: Iterable[str] | None = ("/{path:path}",),
        ttl: float = 60,
        hosts: Iterable[str] | None = ("shop.example",),
        client: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Make them; nothing is connected."""
        self.events: list[Event] = []
        self.client = Client.from_url(url, prefix="t", hooks=[self.events.append], **(client or {}))
        named = None if hosts is None else [*hosts]
        self.cache = ResponseCache(self.client, "page", ttl=ttl, hosts=named, **options)
        self.app = ResponseCacheMiddleware(
            site, cache=self.cache, paths=None if paths is None else [*paths]
        )

    def ask(self, path: str = "/", *headers: tuple[bytes, bytes], **options: Any) -> Visit:
        """Ask for a page, in a task of its own."""
        return Visit(self.app, path, *headers, **options)

    async def joined(self, callers: int) -> None:
        """Wait until so many requests, in all, have missed."""
        await until(lambda: self.cache.statistics().misses >= callers)

    async def waiting(self) -> None:
        """Wait until a flight has read the lease of another process, and watches it."""
        await until(lambda: len(self.client.watches) and not self.client.statistics().in_flight)

    def reasons(self) -> list[str]:
        """List why responses were not kept."""
        return [reason for event in self.events if (reason := getattr(event, "reason", ""))]

    async def __aenter__(self) -> Self:
        """Open the client."""
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.client.aclose()
