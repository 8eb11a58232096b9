"""redis-py as its documentation shows it, with the pool that serves each load best."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis

from benchmarks.keys import KEY_PREFIX
from benchmarks.source import Product
from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from contextlib import AbstractAsyncContextManager

__all__ = ["SUBJECTS", "RedisPyCommands", "RedisPyLocks", "RedisPyLoop", "connect"]

# The default pool refuses the 101st connection; for more callers than that the documentation
# has BlockingConnectionPool, of 50 by default, which is also the fastest choice there.
_DEFAULT_POOL = 100
_LEASE = 10.0  # seconds

_decode = msgspec.json.Decoder(Product).decode
_encode = msgspec.json.Encoder().encode


async def connect(url: str, *, tasks: int) -> Redis:
    """Open a client with the connections of its pool made.

    Args:
        url: The server's.
        tasks: How many calls will run at once.
    """
    # redis-py leaves `**kwargs` untyped, which strict checking refuses.
    if tasks <= _DEFAULT_POOL:
        client = Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]
    else:
        pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url, timeout=None
        )
        client = Redis.from_pool(pool)
    await asyncio.gather(*(client.get("no such key") for _ in range(tasks)))
    return client


class _RedisPy:
    def __init__(self, url: str, *, tasks: int) -> None:
        """Take the address and the number of concurrent calls."""
        self._url = url
        self._tasks = tasks

    async def open(self) -> None:
        """Connect."""
        self._redis = await connect(self._url, tasks=self._tasks)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._redis.aclose()


class RedisPyCommands(_RedisPy):
    """`await r.get(key)`, one pooled connection a call."""

    def get(self, key: str, /) -> Awaitable[object]:
        """Read one string."""
        return self._redis.get(key)


class RedisPyLocks(_RedisPy):
    """`async with r.lock(name, timeout=10)`: SET NX, asked again every 100 ms."""

    def hold(self, name: str, /) -> AbstractAsyncContextManager[object]:
        """Hold the lock while a block runs."""
        return self._redis.lock(name, timeout=_LEASE)


class RedisPyLoop(_RedisPy):
    """Many products by as many GETs, one after another, as a loop over them is written."""

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Take the address, the number of concurrent calls, and the TTL in seconds."""
        super().__init__(url, tasks=tasks)
        self._ttl_ms = round(ttl * 1000)

    def key(self, product_id: int, /) -> str:
        """Name the product's key."""
        return f"{KEY_PREFIX}:redis-py:{product_id}"

    async def store(self, product: Product, /) -> None:
        """SET with the TTL."""
        await self._redis.set(self.key(product.id), _encode(product), px=self._ttl_ms)

    async def fetch_many(self, product_ids: Sequence[int], /) -> list[Product]:
        """GET and decode, product by product."""
        return [
            _decode(cast("bytes", await self._redis.get(self.key(number))))
            for number in product_ids
        ]


SUBJECTS = (
    Subject(
        name="redis-py",
        summary="redis.asyncio with hiredis, as its documentation shows",
        settings=(
            "Redis.from_url with its default pool up to 100 tasks, BlockingConnectionPool of 50 "
            "beyond, connections made before the clock starts; locks: timeout=10, otherwise "
            "defaults (asked again every 100 ms); get_many: a loop of GETs, msgspec JSON"
        ),
        roles={"commands": "RedisPyCommands", "lock": "RedisPyLocks", "many": "RedisPyLoop"},
        versions=("redis", "hiredis"),
    ),
)
