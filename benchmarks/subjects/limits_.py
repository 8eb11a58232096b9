"""limits: the moving window, its exact strategy.

https://limits.readthedocs.io/en/stable/async.html
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.keys import KEY_PREFIX
from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["SUBJECTS", "LimitsLimiter"]


class LimitsLimiter:
    """`MovingWindowRateLimiter(storage_from_string("async+redis://..."))`."""

    def __init__(self, url: str, *, tasks: int, limit: int, per: float) -> None:
        """Take the address and the limit, which it has in whole seconds."""
        del tasks
        self._url = url
        self._limit = limit
        self._per = round(per)

    async def open(self) -> None:
        """Connect."""
        from limits import RateLimitItemPerSecond
        from limits.aio.strategies import MovingWindowRateLimiter
        from limits.storage import storage_from_string

        storage = storage_from_string(
            f"async+{self._url}", implementation="redispy", key_prefix=KEY_PREFIX
        )
        self._limiter = MovingWindowRateLimiter(storage)
        self._item = RateLimitItemPerSecond(self._limit, self._per)

    async def aclose(self) -> None:
        """Have no way to disconnect: the storage keeps its client to itself."""

    def hit(self, key: str, /) -> Awaitable[bool]:
        """Count a hit."""
        return self._limiter.hit(self._item, key)


SUBJECTS = (
    Subject(
        name="limits",
        summary="limits: the moving window, exact, by the clients' clocks",
        settings=(
            "storage_from_string with implementation=redispy, which is faster here than its "
            "default, coredis; otherwise defaults"
        ),
        roles={"limiter": "LimitsLimiter"},
        module="limits",
        requires="limits[async-redis] 'redis<8'",
        versions=("limits", "redis", "hiredis"),
        group="bench-redis7",
    ),
)
