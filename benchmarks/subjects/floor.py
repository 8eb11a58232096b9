"""The floor: the least that any client in this interpreter must do for one command.

A parser in C, one future a command, one write a turn of the loop. No timeouts, no limits, no
reconnecting, no cancellation, no check of anything: a client cannot be faster by doing its job
better, only by not giving every call a future of its own. As a cache it decodes what it is
answered, and that is all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import hiredis
import msgspec
import redis.connection

from benchmarks.keys import KEY_PREFIX
from benchmarks.source import Product
from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from benchmarks.subjects import Load

__all__ = ["SUBJECTS", "FloorCommands", "FloorShop", "endpoint"]

_decode = msgspec.msgpack.Decoder(Product).decode
# hiredis's stub types a command as a tuple of exactly one part.
_pack = cast("Callable[[tuple[str | bytes, ...]], bytes]", hiredis.pack_command)
_parse_url = cast(
    "Callable[[str], dict[str, str | int]]",
    redis.connection.parse_url,  # pyright: ignore[reportUnknownMemberType] - untyped there
)


class FloorCommands(asyncio.Protocol):
    """One connection that can GET."""

    def __init__(self, url: str, *, tasks: int) -> None:
        """Read the address.

        Args:
            url: `redis://` or `unix://`; the floor speaks no TLS.
            tasks: Any number; they share the connection.
        """
        del tasks
        if url.startswith("rediss://"):
            raise ValueError("the floor speaks no TLS: leave it out with --subjects")
        self._address = _parse_url(url)
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[object]] = deque()
        self._outgoing: list[bytes] = []
        self._flush_scheduled = False

    async def open(self) -> None:
        """Connect, log in and choose the database."""
        self._loop = asyncio.get_running_loop()
        address = self._address
        path = address.get("path")
        if path is not None:
            await self._loop.create_unix_connection(lambda: self, str(path))
        else:
            host, port = address.get("host", "localhost"), address.get("port", 6379)
            await self._loop.create_connection(lambda: self, str(host), int(port))
        if "password" in address:
            user = str(address.get("username", "default"))
            await self._call("AUTH", user, str(address["password"]))
        await self._call("SELECT", str(address.get("db", 0)))

    async def aclose(self) -> None:
        """Disconnect."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Resolve the futures in the order of their commands."""
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            waiting.popleft().set_result(reply)

    def get(self, key: str, /) -> asyncio.Future[object]:
        """Queue one GET for this turn's write."""
        return self._call("GET", key)

    def _call(self, *parts: str | bytes) -> asyncio.Future[object]:
        future: asyncio.Future[object] = self._loop.create_future()
        self._waiting.append(future)
        self._outgoing.append(_pack(parts))
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._flush_scheduled = False
        outgoing, self._outgoing = self._outgoing, []
        self._transport.write(b"".join(outgoing))


class FloorShop(FloorCommands):
    """GET and decode; on a miss load and SET."""

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Read the address, and take the TTL in seconds."""
        super().__init__(url, tasks=tasks)
        self._ttl_ms = str(round(ttl * 1000))

    def key(self, product_id: int, /) -> str:
        """Name the product's key."""
        return f"{KEY_PREFIX}:floor:{product_id}"

    async def fetch(self, product_id: int, load: Load, /) -> Product:
        """Read the product, or load it."""
        raw = await self._call("GET", f"{KEY_PREFIX}:floor:{product_id}")
        if raw is not None:
            return _decode(cast("bytes", raw))
        product = await load()
        await self.store(product)
        return product

    async def store(self, product: Product, /) -> None:
        """SET with the TTL."""
        encoded = msgspec.msgpack.encode(product)
        await self._call("SET", self.key(product.id), encoded, "PX", self._ttl_ms)

    async def forget(self, product_id: int, /) -> bool:
        """DEL the key."""
        return isinstance(await self._call("DEL", self.key(product_id)), int)


def endpoint(url: str) -> Any:
    """Make an application whose endpoint has a dependency that asks Redis and limits nothing.

    It does what any limit must: it waits for one reply, and sets the two headers.
    """
    from fastapi import Depends, FastAPI, Request, Response

    commands = FloorCommands(url, tasks=1)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await commands.open()
        yield
        await commands.aclose()

    async def ask(request: Any, response: Any) -> None:
        await commands.get(f"nobody:{request.client.host}")
        response.raw_headers.append((b"ratelimit-policy", b'"1-per-1s";q=1;w=1'))
        response.raw_headers.append((b"ratelimit", b'"1-per-1s";r=1;t=1'))

    # Here, not above: FastAPI would look for the names in the module, which shall not need it.
    ask.__annotations__.update(request=Request, response=Response)
    app = FastAPI(lifespan=lifespan)

    @app.get("/limited", dependencies=[Depends(ask)])
    async def limited() -> dict[str, bool]:
        return {"ok": True}

    return app


SUBJECTS = (
    Subject(
        name="floor",
        summary="a bare asyncio.Protocol on hiredis: one future a command, one write a turn",
        settings=(
            "one connection, RESP2, no timeouts, no checks of anything; cached reads: msgspec "
            "MessagePack"
        ),
        roles={"commands": "FloorCommands", "shop": "FloorShop"},
        versions=("hiredis", "msgspec", "uvloop"),
    ),
    Subject(
        name="bare-dependency",
        summary="a FastAPI dependency that asks Redis on the floor's connection and limits nothing",
        settings="one GET on the floor's connection, two headers; FastAPI, uvicorn",
        roles={"endpoint": "endpoint"},
        versions=("fastapi", "starlette", "uvicorn", "hiredis"),
        module="fastapi",
        requires="fastapi uvicorn httptools redis hiredis",
    ),
)
