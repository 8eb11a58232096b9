"""redis-py's own lock."""

# pyright: basic

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import LockError

from tests.peers.contract import NotApplicable

if TYPE_CHECKING:
    from redis.asyncio.lock import Lock

__all__ = ["Locking"]


class Locking:
    """`redis.lock(...)`."""

    not_acquired: ClassVar[tuple[type[BaseException], ...]] = (LockError,)
    shares_objects = True

    def __init__(self, url: str) -> None:
        """Take the address."""
        self._url = url

    async def __aenter__(self) -> Self:
        """Connect."""
        where = urlsplit(self._url)
        self._redis = Redis(host=where.hostname or "", port=where.port or 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect."""
        await self._redis.aclose()

    def lock(self, name: str, *, lease: float, wait: float | None) -> Lock:
        """Return a lock."""
        return self._redis.lock(name, timeout=lease, blocking=wait != 0, blocking_timeout=wait)

    def fence(self, held: Any) -> int:
        """There is none."""
        raise NotApplicable("has no fencing token")
