"""pottery's Redlock, with one master."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any, ClassVar, Self

from pottery import AIORedlock
from pottery.exceptions import QuorumNotAchieved
from redis.asyncio import Redis

from tests.peers.contract import NotApplicable

__all__ = ["Locking"]


class Locking:
    """`AIORedlock(...)`."""

    not_acquired: ClassVar[tuple[type[BaseException], ...]] = (QuorumNotAchieved,)
    shares_objects = True

    def __init__(self, url: str) -> None:
        """Take the address."""
        self._url = url

    async def __aenter__(self) -> Self:
        """Connect."""
        self._redis = Redis.from_url(self._url)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect."""
        await self._redis.aclose()

    def lock(self, name: str, *, lease: float, wait: float | None) -> Any:
        """Return a lock."""
        return AIORedlock(
            key=name,
            masters={self._redis},
            auto_release_time=lease,
            context_manager_blocking=wait != 0,
            context_manager_timeout=wait or -1,
        )

    def fence(self, held: Any) -> int:
        """There is none."""
        raise NotApplicable("has no fencing token")
