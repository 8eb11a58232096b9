"""throttled-py: the sliding window, which is approximate, and GCRA.

https://throttled-py.readthedocs.io/en/latest/
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from datetime import timedelta

from benchmarks.keys import KEY_PREFIX
from benchmarks.subjects import Subject

__all__ = ["SUBJECTS", "GcraLimiter", "SlidingLimiter"]


class SlidingLimiter:
    """`await throttle.limit(key)`."""

    using = "sliding_window"

    def __init__(self, url: str, *, tasks: int, limit: int, per: float) -> None:
        """Take the address and the limit."""
        del tasks
        self._url = url
        self._limit = limit
        self._per = timedelta(seconds=per)

    async def open(self) -> None:
        """Connect."""
        from throttled.asyncio import RedisStore, Throttled, per_duration

        self._throttle = Throttled(
            using=self.using,
            quota=per_duration(self._per, self._limit),
            store=RedisStore(server=self._url),
            key_prefix=KEY_PREFIX,
        )

    async def aclose(self) -> None:
        """Have no way to disconnect: the store keeps its client to itself."""

    async def hit(self, key: str, /) -> bool:
        """Count a hit."""
        return not (await self._throttle.limit(key)).limited


class GcraLimiter(SlidingLimiter):
    """The same by GCRA."""

    using = "gcra"


_SETTINGS = "RedisStore(server=url) with its defaults"

SUBJECTS = (
    Subject(
        name="throttled-sliding",
        summary="throttled-py: the sliding window, approximate (two counters)",
        settings=_SETTINGS,
        roles={"limiter": "SlidingLimiter"},
        module="throttled",
        requires="throttled-py[redis] 'redis<8'",
        versions=("throttled-py", "redis", "hiredis"),
        group="bench-redis7",
    ),
    Subject(
        name="throttled-gcra",
        summary="throttled-py: GCRA, a bucket and no window",
        settings=f"{_SETTINGS}; burst as high as the limit",
        roles={"limiter": "GcraLimiter"},
        module="throttled",
        requires="throttled-py[redis] 'redis<8'",
        versions=("throttled-py", "redis", "hiredis"),
        group="bench-redis7",
    ),
)
