"""pyrate-limiter, with a bucket for each name."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any, Self

from pyrate_limiter import (
    BucketFactory,
    Duration,
    Limiter,
    Rate,
    RateItem,
    RedisBucket,
    RedisStateStore,
    StateBucket,
    WallClock,
)
from redis.asyncio import ConnectionPool, Redis

from tests.peers.contract import Answer, Quota

__all__ = ["Gcra", "Window"]


class Window:
    """A log in a sorted set."""

    shape = "window"

    def __init__(self, url: str) -> None:
        """Take the address."""
        self._url = url

    async def __aenter__(self) -> Self:
        """Connect."""
        self._redis = Redis(connection_pool=ConnectionPool.from_url(self._url))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def meter(self, quota: Quota) -> _Meter:
        """Return a limiter."""
        return _Meter(Limiter(_PerName(self, quota)))

    async def bucket(self, name: str, quota: Quota) -> Any:
        """Make the bucket of a name."""
        rate = Rate(quota.limit, Duration.SECOND * quota.per)
        return await RedisBucket.init([rate], self._redis, name)


class Gcra(Window):
    """One number."""

    shape = "bucket"

    async def bucket(self, name: str, quota: Quota) -> Any:
        """Make the bucket of a name."""
        rate = Rate(quota.limit, Duration.SECOND * quota.per, burst=quota.burst)
        return StateBucket([rate], store=RedisStateStore(self._redis, name))


class _PerName(BucketFactory):
    def __init__(self, peer: Window, quota: Quota) -> None:
        self.clock = WallClock()
        self.buckets: dict[str, Any] = {}
        self._peer, self._quota = peer, quota

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        return RateItem(name, self.clock.now(), weight=weight)

    async def get(self, item: RateItem) -> Any:
        if item.name not in self.buckets:
            bucket = await self._peer.bucket(item.name, self._quota)
            self.schedule_leak(bucket)
            self.buckets[item.name] = bucket
        return self.buckets[item.name]


class _Meter:
    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def hit(self, key: str, cost: int = 1) -> Answer:
        return Answer(await self._limiter.try_acquire_async(key, weight=cost, blocking=False))

    async def wait(self, key: str, timeout: float) -> bool:
        return await self._limiter.try_acquire_async(key, timeout=timeout)
