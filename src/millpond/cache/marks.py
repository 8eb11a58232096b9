"""Write marks: the commands of `writing.py`, and what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millpond.cache.deletes import DELETE
from millpond.cache.near import forgetting
from millpond.core.entry import pack_mark
from millpond.core.futures import consumed
from millpond.core.journal import First, Invalidation
from millpond.core.scripts import Script
from millpond.errors import ClosedError, ConfigError
from millpond.events import FillRefused, WriteUnconfirmed

if TYPE_CHECKING:
    import asyncio

    from millpond.cache.near import Near
    from millpond.cache.statistics import Counters
    from millpond.cache.versions import Versions
    from millpond.core.client import Client
    from millpond.core.codec import Codec

__all__ = ["Marks"]

_MARK = Script.load("millpond.cache", "mark", after=("writers",))
_LEAVE = Script.load("millpond.cache", "leave", after=("writers",))


class Marks:
    """The write marks of one cache.

    Attributes:
        milliseconds: How long one counts without being renewed.
    """

    __slots__ = ("_client", "_codec", "_counters", "_near", "_versions", "milliseconds")

    def __init__(
        self,
        client: Client,
        codec: Codec,
        versions: Versions,
        near: Near[Any] | None,
        counters: Counters,
        *,
        milliseconds: int,
    ) -> None:
        """Prepare.

        Args:
            client: The way to Redis.
            codec: Of the cache's type and version.
            versions: Of its namespace.
            near: Forgets what is written.
            counters: Of the cache.
            milliseconds: How long a mark counts without being renewed.
        """
        self._client = client
        self._codec = codec
        self._versions = versions
        self._near = near
        self._counters = counters
        self.milliseconds = milliseconds

    def mark(self, key: str, token: bytes, *, renewal: bool) -> asyncio.Future[int]:
        """Put a write mark, or prolong our part in it.

        Redis: one EVALSHA.
        """
        head = pack_mark(token, self._codec.version, self._codec.fingerprint)
        args = (head, token, self.milliseconds, "1" if renewal else "")
        return self._client.run(_MARK, keys=[key], args=args, tell=forgetting(self._near, key))

    def unmark(self, key: str, token: bytes) -> None:
        """Take back a mark under which nothing was written, without waiting."""
        try:
            future = self._client.run(_LEAVE, keys=[key], args=[token, b"", 0])
        except (ClosedError, ConfigError):
            return
        future.add_done_callback(consumed)

    def leave(
        self, names: list[str], token: bytes, entries: dict[str, tuple[bytes, int]]
    ) -> asyncio.Future[str]:
        """End our part in the marks: store these entries where nobody interfered, else delete.

        The answer is "", or why Redis has not confirmed it. What is said again later is a delete.

        Redis: one EVALSHA for each.
        """
        invalidations: list[Invalidation] = []
        if entries:
            longest = max(ttl for _, ttl in entries.values())
            self._versions.keep(longest).add_done_callback(consumed)
        for name in names:
            entry, ttl = entries.get(name, (b"", 0))
            first = First(_LEAVE, (token, entry, ttl), self._left if entry else None)
            invalidations.append(Invalidation(DELETE, (name,), first=first))
        return self._client.invalidate(invalidations)

    def _left(self, name: str, stored: int) -> None:
        if not stored:
            self._counters.refused_fills += 1
            self._client.emit(FillRefused(key=name, reason="overlapped"))

    def told_of_leave(self, names: list[str], answer: asyncio.Future[str]) -> None:
        """Count and tell of a leave that Redis has not acknowledged."""
        if self._near is not None:
            self._near.changed([name.encode() for name in names])
        reason = answer.result()
        if reason:
            self._counters.unconfirmed_deletes += len(names)
            self._client.emit(WriteUnconfirmed(keys=tuple(names), reason=reason))
