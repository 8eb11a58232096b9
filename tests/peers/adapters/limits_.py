"""limits, its asyncio strategies on redis-py."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import time
from typing import Any, ClassVar, Self

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    SlidingWindowCounterRateLimiter,
)

from tests.peers.contract import Answer, NotApplicable, Quota

__all__ = ["Fixed", "Moving", "Sliding"]


class Moving:
    """The moving window: a log."""

    shape = "window"
    strategy: ClassVar[Any] = MovingWindowRateLimiter

    def __init__(self, url: str) -> None:
        """Take the address."""
        self._url = url

    async def __aenter__(self) -> Self:
        """Make the storage; it connects when it is used."""
        self._storage = RedisStorage(f"async+{self._url}", implementation="redispy")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect."""
        await self._storage.bridge.storage.aclose()

    async def meter(self, quota: Quota) -> _Meter:
        """Return a limiter."""
        return _Meter(self.strategy(self._storage), RateLimitItemPerSecond(quota.limit, quota.per))


class Sliding(Moving):
    """Two counters."""

    strategy: ClassVar[Any] = SlidingWindowCounterRateLimiter


class Fixed(Moving):
    """One counter."""

    shape = "fixed"
    strategy: ClassVar[Any] = FixedWindowRateLimiter


class _Meter:
    def __init__(self, limiter: Any, item: Any) -> None:
        self._limiter, self._item = limiter, item

    async def hit(self, key: str, cost: int = 1) -> Answer:
        if await self._limiter.hit(self._item, key, cost=cost):
            return Answer(True)
        stats = await self._limiter.get_window_stats(self._item, key)
        return Answer(False, max(0.0, stats.reset_time - time.time()))

    async def wait(self, key: str, timeout: float) -> bool:
        raise NotApplicable("does not wait")
