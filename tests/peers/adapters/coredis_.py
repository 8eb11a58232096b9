"""coredis: its tracking cache and its lock."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any, ClassVar, Self

import coredis
from coredis.exceptions import LockAcquisitionError
from coredis.patterns.cache import LRUCache
from coredis.patterns.lock import Lock

from tests.peers.contract import NotApplicable

__all__ = ["Locking", "Near"]


class _Opened:
    def __init__(self, url: str) -> None:
        self._client = self._make(url)

    def _make(self, url: str) -> Any:
        return coredis.Redis.from_url(url, decode_responses=True)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.__aexit__(None, None, None)


class Near(_Opened):
    """A client with an `LRUCache`."""

    def _make(self, url: str) -> Any:
        return coredis.Redis.from_url(url, decode_responses=True, cache=LRUCache())

    async def get(self, key: str) -> str | None:
        """Read."""
        return await self._client.get(key)

    async def set(self, key: str, value: str) -> None:
        """Store."""
        await self._client.set(key, value, ex=60)


class Locking(_Opened):
    """`Lock(client, name)`."""

    not_acquired: ClassVar[tuple[type[BaseException], ...]] = (LockAcquisitionError,)
    shares_objects = False  # its block cannot be entered twice

    def lock(self, name: str, *, lease: float, wait: float | None) -> Any:
        """Return a lock."""
        return Lock(
            self._client, name, timeout=lease, blocking=wait != 0, blocking_timeout=wait or None
        )

    def fence(self, held: Any) -> int:
        """There is none."""
        raise NotApplicable("has no fencing token")
