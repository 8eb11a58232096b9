"""throttled-py, its asyncio side on Redis."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any, Self

from throttled.asyncio import RateLimiterType, Throttled, rate_limiter, store

from tests.peers.contract import Answer, Quota

__all__ = ["Gcra", "Leaking", "Sliding", "Token"]


class Sliding:
    """Two counters."""

    shape = "window"
    using = RateLimiterType.SLIDING_WINDOW.value

    def __init__(self, url: str) -> None:
        """Take the address."""
        self._store = store.RedisStore(server=url)

    async def __aenter__(self) -> Self:
        """It connects when it is used."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing is offered."""

    async def meter(self, quota: Quota) -> _Meter:
        """Return a limiter."""
        each = rate_limiter.per_duration(_seconds(quota.per), quota.limit, burst=quota.burst)
        return _Meter(Throttled(using=self.using, quota=each, store=self._store))


class Token(Sliding):
    """A token bucket."""

    shape = "bucket"
    using = RateLimiterType.TOKEN_BUCKET.value


class Leaking(Sliding):
    """A leaking bucket."""

    shape = "bucket"
    using = RateLimiterType.LEAKING_BUCKET.value


class Gcra(Sliding):
    """The generic cell rate algorithm."""

    shape = "bucket"
    using = RateLimiterType.GCRA.value


class _Meter:
    def __init__(self, throttled: Any) -> None:
        self._throttled = throttled

    async def hit(self, key: str, cost: int = 1) -> Answer:
        result = await self._throttled.limit(key, cost)
        return Answer(not result.limited, result.state.retry_after)

    async def wait(self, key: str, timeout: float) -> bool:
        return not (await self._throttled.limit(key, timeout=timeout)).limited


def _seconds(seconds: int) -> Any:
    from datetime import timedelta

    return timedelta(seconds=seconds)
