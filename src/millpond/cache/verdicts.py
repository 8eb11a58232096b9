"""What is under a key, to the readers of one cache: its own clock, its versions, what it may hide.

`decision.py` judges bytes, pure; here is what that needs of the cache, and who is told of it.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from millpond.cache.decision import Found, Verdict, barred, judge, revoked, stands
from millpond.cache.staleness import NEVER, standing
from millpond.core.entry import SOFT_SIZE
from millpond.errors import BackendError, ReplyError
from millpond.events import EntryUnreadable

if TYPE_CHECKING:
    import asyncio

    from millpond.cache.staleness import Staleness
    from millpond.cache.statistics import Counters
    from millpond.cache.versions import Versions
    from millpond.core.client import Client
    from millpond.core.codec import Codec

    Looked: TypeAlias = dict[str, asyncio.Future[Any]]

__all__ = ["Verdicts", "cannot_write"]

_AGES = struct.Struct(">HIeI")  # created (high, low), load, soft
_AGES_AT = 25
# The server is there and refuses to write: the same to a reader as if it were gone.
_CANNOT_WRITE = frozenset(("OOM", "MISCONF", "BUSY", "NOREPLICAS"))


def cannot_write(error: BackendError) -> bool:
    """Tell whether Redis is out of reach, full, or otherwise unable to store anything."""
    return not isinstance(error, ReplyError) or error.code in _CANNOT_WRITE


class Verdicts:
    """The judgements of one cache."""

    __slots__ = (
        "_ahead",
        "_client",
        "_codec",
        "_counters",
        "_raises",
        "_reach",
        "_staleness",
        "_versions",
    )

    def __init__(
        self,
        client: Client,
        codec: Codec,
        versions: Versions,
        staleness: Staleness,
        counters: Counters,
        *,
        raises: bool,
    ) -> None:
        """Judge by these.

        Args:
            client: Told of what should not be there.
            codec: Of the cache's type and version.
            versions: Of its namespace.
            staleness: What is done with values past their time.
            counters: Of the cache.
            raises: Whether Redis being out of reach is an error to readers.
        """
        self._client = client
        self._codec = codec
        self._versions = versions
        self._staleness = staleness
        self._counters = counters
        self._raises = raises
        self._reach = staleness.early * NEVER
        self._ahead = 0.0  # milliseconds by which our clock is ahead of the server's

    def fresh(self, raw: bytes) -> bytes | None:
        """Return the payload of a value that may be served stale one day, and needs nothing now.

        What `judge` would say of most of them, in a fraction of the time: every hit of such a cache
        asks.
        """
        if not raw.startswith(self._versions.soft_hit) or len(raw) < SOFT_SIZE:
            return None
        high, low, load, soft = _AGES.unpack_from(raw, _AGES_AT)
        left = (high << 32) + low + soft - time.time() * 1000
        return raw[SOFT_SIZE:] if left > load * self._reach and left > 0 else None

    def fresh_for(self, raw: bytes) -> tuple[bytes, float] | None:
        """Return such a payload, and for how many seconds it is not stale."""
        payload = self.fresh(raw)
        if payload is None:
            return None
        high, low, _, soft = _AGES.unpack_from(raw, _AGES_AT)
        return payload, ((high << 32) + low + soft) / 1000 - time.time()

    def judge(self, key: str, raw: bytes | None) -> Verdict:
        """Judge what is under a key, and tell of what should not be there.

        The namespace's version must have been asked for ahead of the read, or with it; the tags of
        the verdict, if it has any, are yet to be compared (`settled`).
        """
        verdict = judge(
            raw,
            version=self._codec.version,
            fingerprint=self._codec.fingerprint,
            era=self._versions.era,
        )
        if verdict.soft is not None:
            verdict = stands(verdict, *standing(self._staleness, verdict.soft, ahead=self._ahead))
        if verdict.found is Found.DEAD:
            self.unreadable(key, verdict.reason)
        return verdict

    async def settled(self, verdict: Verdict, looked: Looked | None = None) -> Verdict:
        """Compare the tags of what was found, if it has any.

        Args:
            verdict: Of `judge`.
            looked: What `versions.look` has asked for.

        Raises:
            BackendError: Redis is out of reach.

        Redis: one GET for each tag that was not asked for.
        """
        if not verdict.tags:
            return verdict
        worth = await self._versions.compare(verdict.tags, looked)
        if worth.dead or (worth.stale and verdict.soft is None):
            return revoked(verdict)
        if worth.stale and verdict.soft is not None:
            return stands(
                verdict,
                *standing(self._staleness, verdict.soft, ahead=self._ahead, expired=True),
            )
        return verdict

    def by_their_clock(self, key: str, raw: bytes, verdict: Verdict, left: float) -> Verdict:
        """Judge again what the server says is claimed for so many milliseconds.

        By our clock that claim is over: ours is ahead, and we would ask again and again.
        """
        soft = verdict.soft
        if soft is None or verdict.left:
            return verdict
        ours = soft.refresh - (time.time() * 1000 - soft.created)
        self._ahead = max(self._ahead, left - ours)
        return self.judge(key, raw)

    def unreadable(self, key: str, reason: str) -> None:
        """Count and tell of an entry that is none."""
        self._counters.unreadable += 1
        self._client.emit(EntryUnreadable(key=key, reason=reason))

    def without_lease(self, key: str, error: ReplyError) -> str:
        """Name the reason for loading without a lease after an error reply.

        Raises:
            ReplyError: The same, where loading on would hide a mistake, such as a missing
                permission, or is not wanted: `on_unavailable="raise"`.
        """
        if error.code == "WRONGTYPE":
            self.unreadable(key, "not a string: another program's key, which is left alone")
            return "foreign type"
        if cannot_write(error) and not self._raises:
            return f"unavailable: {error.code}"
        raise error

    def barred(self, key: str, error: BackendError) -> Verdict:
        """Say why a key could not be read, if it may be loaded all the same.

        Raises:
            BackendError: The same, where it may not.
        """
        if isinstance(error, ReplyError):
            return barred(self.without_lease(key, error))
        if self._raises:
            raise error
        return barred("unavailable")
