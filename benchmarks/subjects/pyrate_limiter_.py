"""pyrate-limiter: a RedisBucket for each key, by a factory, as its README routes them.

https://pyratelimiter.readthedocs.io
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["SUBJECTS", "PyrateLimiter"]


class PyrateLimiter:
    """`await limiter.try_acquire_async(key, blocking=False)`."""

    def __init__(self, url: str, *, tasks: int, limit: int, per: float) -> None:
        """Take the address and the limit."""
        del tasks
        self._url = url
        self._limit = limit
        self._per_ms = round(per * 1000)

    async def open(self) -> None:
        """Connect."""
        from pyrate_limiter import BucketFactory, Limiter, Rate, RateItem, RedisBucket
        from redis.asyncio import ConnectionPool, Redis

        redis = Redis(connection_pool=ConnectionPool.from_url(self._url))
        rates = [Rate(self._limit, self._per_ms)]

        class PerKey(BucketFactory):
            """A bucket for each name, made when it is first seen."""

            def __init__(self) -> None:
                self._buckets: dict[str, RedisBucket] = {}

            def wrap_item(self, name: str, weight: int = 1) -> RateItem:
                return RateItem(name, time.time_ns() // 1_000_000, weight=weight)

            async def get(self, item: RateItem) -> RedisBucket:
                bucket = self._buckets.get(item.name)
                if bucket is None:
                    bucket = await RedisBucket.init(rates, redis, item.name)
                    self._buckets[item.name] = bucket
                    self.schedule_leak(bucket)
                return bucket

        self._redis = redis
        self._limiter = Limiter(PerKey())

    async def aclose(self) -> None:
        """Stop its leaking, and disconnect."""
        self._limiter.close()
        await self._redis.aclose()

    def hit(self, key: str, /) -> Awaitable[bool]:
        """Count a hit."""
        return self._limiter.try_acquire_async(key, blocking=False)


SUBJECTS = (
    Subject(
        name="pyrate-limiter",
        summary="pyrate-limiter: RedisBucket, an exact log by the clients' clocks",
        settings=(
            "one Limiter with a BucketFactory that makes a RedisBucket for each key and leaks it, "
            "redis-py's default pool; it lets one call at a time go to Redis"
        ),
        roles={"limiter": "PyrateLimiter"},
        module="pyrate_limiter",
        requires="pyrate-limiter[redis]",
        versions=("pyrate-limiter", "redis", "hiredis"),
        group="bench-rivals",
    ),
)
