"""redis-py as its documentation shows it, with the pool that serves each load best."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.asyncio import BlockingConnectionPool, Redis

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["RedisPyCommands", "connect"]

# The default pool refuses the 101st connection; for more callers than that the documentation
# has BlockingConnectionPool, of 50 by default, which is also the fastest choice there.
_DEFAULT_POOL = 100


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


class RedisPyCommands:
    """`await r.get(key)`, one pooled connection a call."""

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

    def get(self, key: str, /) -> Awaitable[object]:
        """Read one string."""
        return self._redis.get(key)
