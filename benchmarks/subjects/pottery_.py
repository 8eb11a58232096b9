"""pottery: AIORedlock with one master.

https://github.com/brainix/pottery
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = ["SUBJECTS", "PotteryLocks"]


class PotteryLocks:
    """`async with AIORedlock(key=name, masters={redis})`."""

    def __init__(self, url: str, *, tasks: int) -> None:
        """Take the address and the number of concurrent calls."""
        self._url = url
        self._tasks = tasks

    async def open(self) -> None:
        """Connect."""
        # Its own modules are imported where they are first needed.
        from benchmarks.subjects.redis_py import connect

        self._redis = await connect(self._url, tasks=self._tasks)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    def hold(self, name: str, /) -> AbstractAsyncContextManager[object]:
        """Hold the lock while a block runs."""
        from pottery import AIORedlock

        return AIORedlock(key=name, masters={self._redis})


SUBJECTS = (
    Subject(
        name="pottery",
        summary="pottery: AIORedlock with one master",
        settings="defaults (lease 10 s); redis-py's client as for redis-py",
        roles={"lock": "PotteryLocks"},
        module="pottery",
        requires="pottery",
        versions=("pottery", "redis", "hiredis"),
        group="bench-rivals",
    ),
)
