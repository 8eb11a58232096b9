"""One cache's entries in Redis: the commands of the protocol, and what they are told.

Every command here touches one key, so every script runs on a Cluster as it stands.
"""

from __future__ import annotations

import random
import struct
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from millpond.cache.batches import gathered
from millpond.cache.decision import Found, Seen, Verdict, barred, judge, revoked, stands
from millpond.cache.keeping import Lease
from millpond.cache.missing import MISSING
from millpond.cache.near import Near
from millpond.cache.policy import CachePolicy, zero_or_seconds
from millpond.cache.staleness import NEVER, Staleness, standing
from millpond.cache.statistics import Counters
from millpond.cache.versions import Versions
from millpond.core.compression import Compression
from millpond.core.durations import milliseconds, seconds
from millpond.core.entry import (
    SOFT_SIZE,
    Unreadable,
    hit_prefix,
    new_generation,
    pack_lease,
    pack_mark,
    pack_value,
)
from millpond.core.journal import First, Invalidation
from millpond.core.scripts import Script
from millpond.errors import BackendError, ClosedError, ConfigError, ReplyError
from millpond.events import (
    DeleteUnconfirmed,
    EntryUnreadable,
    FillRefused,
    MarkRemoved,
    WriteUnconfirmed,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Sequence

    from millpond.cache.flight import Flight, Landed
    from millpond.cache.missing import Missing
    from millpond.cache.versions import Capture, Captured
    from millpond.core.client import Client
    from millpond.core.codec import Codec

    Looked = dict[str, asyncio.Future[Any]]

__all__ = ["Store", "cannot_write"]

T = TypeVar("T")

_CLAIM = Script.load("millpond.cache", "claim", after=("writers", "soft"))
_FILL = Script.load("millpond.cache", "fill", after=("soft",))
_RELEASE = Script.load("millpond.cache", "release", after=("soft",))
_DEFER = Script.load("millpond.cache", "defer", after=("soft",))
_EXPIRE = Script.load("millpond.cache", "delete", after=("writers", "soft", "expire"))
_DELETE = Script.load("millpond.cache", "delete", after=("writers",))
_STORE = Script.load("millpond.cache", "store", after=("writers",))
_MARK = Script.load("millpond.cache", "mark", after=("writers",))
_LEAVE = Script.load("millpond.cache", "leave", after=("writers",))
_TOUCH = Script.load("millpond.cache", "touch", after=("soft",))

_WITHOUT_MEMORY = 2  # what the delete script says
_IN_PLACE = 2  # what the claim script says
_OURS = Verdict(Found.OURS)
_LONGEST_SOFT = 2**32  # milliseconds: what the header has room for
_DEFAULT_RETRY = 1000  # milliseconds
_AGES = struct.Struct(">HIeI")  # created (high, low), load, soft
_AGES_AT = 25
# The server is there and refuses to write: the same to a reader as if it were gone.
_CANNOT_WRITE = frozenset(("OOM", "MISCONF", "BUSY", "NOREPLICAS"))


def cannot_write(error: BackendError) -> bool:
    """Tell whether Redis is out of reach, full, or otherwise unable to store anything."""
    return not isinstance(error, ReplyError) or error.code in _CANNOT_WRITE


class Store(Generic[T]):
    """What all flights of one cache share."""

    def __init__(
        self,
        client: Client,
        codec: Codec,
        head: str,
        *,
        ttl: int,
        version: int,
        policy: CachePolicy,
        tag_names: Callable[[Collection[Any]], tuple[str, ...]] = tuple,
    ) -> None:
        """Convert the policy's durations, once.

        Args:
            client: The way to Redis.
            codec: Of the cache's type.
            head: What all keys of the namespace begin with.
            ttl: Milliseconds.
            version: Of the cache's entries.
            policy: Already checked in itself.
            tag_names: Checks and names tags.

        Raises:
            ConfigError: The jitter is not below the TTL.
        """
        self.client = client
        self.version = version
        self.fingerprint = codec.fingerprint
        self.codec = codec
        self.tag_names = tag_names
        self.flights: dict[str, Flight[T]] = {}
        self.counters = Counters()
        self.raises_when_unconfirmed = policy.on_unconfirmed == "raise"
        self.raises_when_unavailable = policy.on_unavailable == "raise"
        self.load_timeout = seconds(policy.load_timeout, "load_timeout")
        self.wait_timeout = seconds(policy.wait_timeout, "wait_timeout")
        self.error_ttl = _milliseconds_or_zero(policy.error_ttl, "error_ttl")
        self._lease_ms = milliseconds(policy.lease_ttl, "lease_ttl")
        self.write_ms = milliseconds(policy.write_timeout, "write_timeout")
        self._compression = Compression(policy.compress_over)
        self._jitter = _milliseconds_or_zero(policy.jitter, "jitter")
        retry = policy.stale_retry
        self.staleness = Staleness(
            while_revalidate=_milliseconds_or_zero(
                policy.stale_while_revalidate, "stale_while_revalidate"
            ),
            if_error=_milliseconds_or_zero(policy.stale_if_error, "stale_if_error"),
            retry=_DEFAULT_RETRY if retry is None else milliseconds(retry, "stale_retry"),
            early=policy.early_refresh or 0.0,
        )
        patience = policy.stale_after
        self.stale_after = None if patience is None else seconds(patience, "stale_after")
        self._soft = self.staleness.wanted
        self._kept = self.staleness.kept
        self._reach = self.staleness.early * NEVER
        self._ahead = 0.0  # milliseconds by which our clock is ahead of the server's
        self._ttl = self.checked(ttl)
        none_ttl = policy.none_ttl
        self._none_ttl = (
            None if none_ttl is None else self.checked(milliseconds(none_ttl, "none_ttl"))
        )
        self.versions = Versions(
            client,
            codec,
            head,
            ttl=self._ttl + self._kept,
            clear_on_restart=policy.restart == "clear",
        )
        near = policy.near
        self.near: Near[T] | None = (
            None if near is None else Near(client, codec, self.versions, near, self.fresh_for)
        )

    def checked(self, ttl: int) -> int:
        """Refuse a TTL (milliseconds) that the jitter would use up.

        Raises:
            ConfigError: Naming both.
        """
        if ttl <= self._jitter:
            raise ConfigError(
                f"jitter={self._jitter / 1000:g} s is not below the TTL of {ttl / 1000:g} s: "
                "entries would live for no time; lower CachePolicy(jitter=...)"
            )
        if self._soft and ttl + self._kept >= _LONGEST_SOFT:
            raise ConfigError(
                f"a TTL of {ttl / 1000:g} s and then {self._kept / 1000:g} s of staleness are more "
                "than 49 days, the longest that a value with both can live; lower one"
            )
        return ttl

    def lifetime(self, payload: bytes | None, ttl: int | None) -> int:
        """Choose an entry's time to live in milliseconds: the call's, the policy's, the cache's."""
        if ttl is None and payload is None:
            ttl = self._none_ttl
        if ttl is None:
            ttl = self._ttl
        if self._jitter:
            ttl -= random.randint(0, self._jitter)  # noqa: S311
        return max(1, ttl)

    def entry(
        self,
        generation: bytes,
        payload: bytes | None,
        ttl: int | None,
        captured: Captured,
        took: float = 0.0,
    ) -> tuple[bytes, int]:
        """Make an entry's bytes and its time to live, under the versions of before the load."""
        lifetime = self.lifetime(payload, ttl)
        kept, flags = self._compression.pack(payload)
        raw = pack_value(
            generation,
            self.version,
            self.fingerprint,
            kept,
            created_ms=time.time_ns() // 1_000_000,
            era=captured.era,
            flags=flags,
            load_ms=took * 1000,
            soft_ms=lifetime if self._soft else None,
            tags=captured.tags,
        )
        return raw, lifetime + self._kept

    def encode(self, value: T) -> bytes | None:
        """Encode a value; None needs no bytes.

        Raises:
            CodecError: It cannot be encoded as the cache's type.
        """
        return None if value is None else self.codec.encode(value)

    def unload(self, key: str, landed: Landed[T]) -> T | Missing:
        """Take a caller's own copy from what a flight brought; `MISSING`: it cannot be read."""
        if landed.has_value:
            return landed.value
        if landed.payload is None:
            return cast("T", None)
        try:
            return self.codec.decode(landed.payload)
        except Unreadable as problem:
            self.unreadable(key, problem.reason)
            return MISSING

    def fresh(self, raw: bytes) -> bytes | None:
        """Return the payload of a value that may be served stale one day, and needs nothing now.

        What `judge` would say of most of them, in a fraction of the time: every hit of such a cache
        asks.
        """
        if not raw.startswith(self.versions.soft_hit) or len(raw) < SOFT_SIZE:
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
            raw, version=self.version, fingerprint=self.fingerprint, era=self.versions.era
        )
        if verdict.soft is not None:
            verdict = stands(verdict, *standing(self.staleness, verdict.soft, ahead=self._ahead))
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
        worth = await self.versions.compare(verdict.tags, looked)
        if worth.dead or (worth.stale and verdict.soft is None):
            return revoked(verdict)
        if worth.stale and verdict.soft is not None:
            return stands(
                verdict,
                *standing(self.staleness, verdict.soft, ahead=self._ahead, expired=True),
            )
        return verdict

    def unreadable(self, key: str, reason: str) -> None:
        """Count and tell of an entry that is none."""
        self.counters.unreadable += 1
        self.client.emit(EntryUnreadable(key=key, reason=reason))

    def without_lease(self, key: str, error: ReplyError) -> str:
        """Name the reason for loading without a lease after an error reply.

        Raises:
            ReplyError: The same, where loading on would hide a mistake, such as a missing
                permission, or is not wanted: `on_unavailable="raise"`.
        """
        if error.code == "WRONGTYPE":
            self.unreadable(key, "not a string: another program's key, which is left alone")
            return "foreign type"
        if cannot_write(error) and not self.raises_when_unavailable:
            return f"unavailable: {error.code}"
        raise error

    def barred(self, key: str, error: BackendError) -> Verdict:
        """Say why a key could not be read, if it may be loaded all the same.

        Raises:
            BackendError: The same, where it may not.
        """
        if isinstance(error, ReplyError):
            return barred(self.without_lease(key, error))
        if self.raises_when_unavailable:
            raise error
        return barred("unavailable")

    def _changed(self, key: str) -> Callable[[Any], None] | None:
        """Return what has the near cache forget a key as soon as Redis has changed it."""
        near = self.near
        return None if near is None else lambda _: near.drop((key,))

    # -- the protocol's commands ------------------------------------------------------------

    async def claim(self, key: str, generation: bytes, seen: Seen) -> Verdict | None:
        """Put our lease where nothing is, or what was seen dead; None: done.

        Returns:
            None; or what is there instead, its tags not compared yet; or a verdict of `Found.OURS`,
            where the value that was seen has been claimed in place.

        Redis: one EVALSHA.
        """
        self.versions.ask()
        lease = pack_lease(generation, self.version, self.fingerprint)
        reply = await self.client.run(
            _CLAIM, keys=[key], args=[lease, self._lease_ms, *seen.args()]
        )
        if reply[0]:
            return _OURS if reply[0] == _IN_PLACE else None
        verdict = self.judge(key, reply[1])
        if len(reply) > 3 and verdict.soft is not None and not verdict.left:
            # By our clock that claim is over, and by the server's it is not: ours is ahead, and we
            # would ask again and again.
            soft = verdict.soft
            left = soft.refresh - (time.time() * 1000 - soft.created)
            self._ahead = max(self._ahead, reply[3] - left)
            verdict = self.judge(key, reply[1])
        return verdict

    def capture(self, tags: Sequence[str], ttl: int | None) -> Capture:
        """Begin to read the versions that a load is about to begin under."""
        return self.versions.capture(tags, (ttl or self._ttl) + self._kept)

    async def learn(
        self, captured: Captured, tags: Sequence[str], ttl: int | None
    ) -> Captured | None:
        """Capture tags that only the loader knew; None: tags were invalidated since it began.

        Raises:
            BackendError: Redis is out of reach.
        """
        return await self.versions.learn(captured, tags, (ttl or self._ttl) + self._kept)

    def confirm(self, captured: Captured, ttl: int) -> asyncio.Future[bool]:
        """Read them again; whether none has changed. It never fails."""
        return self.versions.confirm(captured, ttl)

    async def fill(self, key: str, generation: bytes, entry: bytes, ttl: int) -> bool:
        """Replace our lease, or the value that we claimed in place, by an entry, if still there.

        Redis: one EVALSHA.
        """
        args = (generation, entry, ttl)
        return bool(await self.client.run(_FILL, keys=[key], args=args, tell=self._changed(key)))

    async def defer(self, key: str, generation: bytes) -> bool:
        """Leave the value that we claimed in place, since its load has failed, if still there.

        Redis: one EVALSHA.
        """
        args = [generation, self.staleness.retry]
        return bool(await self.client.run(_DEFER, keys=[key], args=args))

    async def put(
        self, values: list[tuple[str, bytes | None]], ttl: int | None, tags: Sequence[str]
    ) -> bool:
        """Put values over whatever is there; whether all were: a write mark is left, for one.

        Raises:
            BackendError: Redis is out of reach, or refuses; some may be stored.

        Redis: one EVALSHA for each, and for the namespace and each tag one more.
        """
        longest = (ttl or self._ttl) + self._kept
        captured = None if tags else self.versions.now()
        while True:
            if captured is None:
                captured = await self.versions.current(tags, longest)
            # What is known may be old. Then it is stored again: nobody reads the first.
            unchanged = self.versions.confirm(captured, longest)
            stored = await self._put(values, ttl, captured)
            if await unchanged or captured.era == self.versions.era:
                return all(stored)
            captured = None

    async def _put(
        self, values: list[tuple[str, bytes | None]], ttl: int | None, captured: Captured
    ) -> list[bool]:
        asked: list[asyncio.Future[int]] = []
        for key, payload in values:
            entry, lifetime = self.entry(new_generation(), payload, ttl, captured)
            tell = self._changed(key)
            asked.append(self.client.run(_STORE, keys=[key], args=[entry, lifetime], tell=tell))
        return [bool(stored) for stored in await gathered(asked)]

    def delete(self, names: list[str]) -> asyncio.Future[str]:
        """Remove what is under these keys; the answer is "", or why Redis has not confirmed it.

        Redis: one EVALSHA for each.
        """
        first = First(_DELETE, (), self._deleted)
        return self.client.invalidate([Invalidation(_DELETE, (name,), (), first) for name in names])

    def expire(self, names: list[str]) -> asyncio.Future[str]:
        """Make what is under these keys stale, where stale values are kept; as `delete` otherwise.

        Redis: one EVALSHA for each.
        """
        if not self._kept:
            return self.delete(names)
        first = First(_EXPIRE, (new_generation,), self._deleted)
        return self.client.invalidate(
            [Invalidation(_EXPIRE, (name,), first.args, first) for name in names]
        )

    def change(self, invalidations: list[Invalidation]) -> asyncio.Future[str]:
        """Change versions; the answer is "", or why Redis has not confirmed it.

        Redis: one EVALSHA for each.
        """
        return self.client.invalidate(invalidations)

    def _deleted(self, name: str, reply: int) -> None:
        if reply == _WITHOUT_MEMORY:
            self.client.emit(MarkRemoved(key=name))

    def told_of_delete(self, names: list[str], answer: asyncio.Future[str]) -> None:
        """Count and tell of a delete that Redis has not acknowledged."""
        if self.near is not None:
            self.near.changed([name.encode() for name in names])
        reason = answer.result()
        if reason:
            self.counters.unconfirmed_deletes += len(names)
            self.client.emit(DeleteUnconfirmed(keys=tuple(names), reason=reason))

    def mark(self, key: str, token: bytes, *, renewal: bool) -> asyncio.Future[int]:
        """Put a write mark, or prolong our part in it.

        Redis: one EVALSHA.
        """
        head = pack_mark(token, self.version, self.fingerprint)
        args = (head, token, self.write_ms, "1" if renewal else "")
        return self.client.run(_MARK, keys=[key], args=args, tell=self._changed(key))

    def unmark(self, key: str, token: bytes) -> None:
        """Take back a mark under which nothing was written, without waiting."""
        try:
            future = self.client.run(_LEAVE, keys=[key], args=[token, b"", 0])
        except (ClosedError, ConfigError):
            return
        future.add_done_callback(_consumed)

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
            self.versions.keep(longest).add_done_callback(_consumed)
        for name in names:
            entry, ttl = entries.get(name, (b"", 0))
            first = First(_LEAVE, (token, entry, ttl), self._left if entry else None)
            invalidations.append(Invalidation(_DELETE, (name,), first=first))
        return self.client.invalidate(invalidations)

    def _left(self, name: str, stored: int) -> None:
        if not stored:
            self.counters.refused_fills += 1
            self.client.emit(FillRefused(key=name, reason="overlapped"))

    def told_of_leave(self, names: list[str], answer: asyncio.Future[str]) -> None:
        """Count and tell of a leave that Redis has not acknowledged."""
        if self.near is not None:
            self.near.changed([name.encode() for name in names])
        reason = answer.result()
        if reason:
            self.counters.unconfirmed_deletes += len(names)
            self.client.emit(WriteUnconfirmed(keys=tuple(names), reason=reason))

    def touch(self, key: str, era: bytes, ttl: int) -> asyncio.Future[int]:
        """Give a value another time to live; 0: there is none.

        Redis: one EVALSHA.
        """
        kind = hit_prefix(self.version, self.fingerprint, era)[5:]
        return self.client.run(_TOUCH, keys=[key], args=[kind, ttl + self._kept, ttl])

    def release(self, key: str, generation: bytes) -> None:
        """Give up our lease, without waiting; a lost command costs the lease's time."""
        # By its source: it is rarely run, mostly when closing, and then nobody is left to send the
        # source after a NOSCRIPT.
        try:
            future = self.client.call("EVAL", _RELEASE.source, 1, key, generation)
        except (ClosedError, ConfigError):
            return
        future.add_done_callback(_consumed)

    def keep(self, key: str, generation: bytes) -> Lease:
        """Renew our lease until it is stopped, or its load has had all its time."""
        return Lease(self.client, key, generation, self._lease_ms, self.load_timeout)


def _consumed(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def _milliseconds_or_zero(value: Any, name: str) -> int:
    checked = zero_or_seconds(value, name)
    return milliseconds(checked, name) if checked else 0
