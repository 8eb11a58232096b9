"""One cache's entries in Redis: the commands of the protocol, and what they are told.

Every command here touches one key, so every script runs on a Cluster as it stands. What may be
done with what is found is told by `verdicts.py`, and how long anything lives by `lifetimes.py`;
`deletes.py` and `marks.py` have the commands of writers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from millpond.cache.batches import gathered
from millpond.cache.decision import Found, Verdict, dead
from millpond.cache.deletes import Deletes
from millpond.cache.keeping import Lease
from millpond.cache.lifetimes import Lifetimes
from millpond.cache.marks import Marks
from millpond.cache.missing import MISSING
from millpond.cache.near import Near, forgetting
from millpond.cache.statistics import Counters
from millpond.cache.verdicts import Verdicts
from millpond.cache.versions import Versions
from millpond.core.compression import Compression
from millpond.core.durations import milliseconds, seconds
from millpond.core.entry import Unreadable, hit_prefix, new_generation, pack_lease, pack_value
from millpond.core.futures import consumed
from millpond.core.scripts import Script
from millpond.errors import ClosedError, ConfigError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Sequence

    from millpond.cache.captured import Capture, Captured
    from millpond.cache.decision import Seen
    from millpond.cache.flight import Flight
    from millpond.cache.landing import Landed
    from millpond.cache.missing import Missing
    from millpond.cache.policy import CachePolicy
    from millpond.core.client import Client
    from millpond.core.codec import Codec

__all__ = ["Store"]

T = TypeVar("T")

_CLAIM = Script.load("millpond.cache", "claim", after=("writers", "soft"))
_FILL = Script.load("millpond.cache", "fill", after=("soft",))
_RELEASE = Script.load("millpond.cache", "release", after=("soft",))
_DEFER = Script.load("millpond.cache", "defer", after=("soft",))
_STORE = Script.load("millpond.cache", "store", after=("writers",))
_TOUCH = Script.load("millpond.cache", "touch", after=("soft",))

_IN_PLACE = 2  # what the claim script says
_OURS = Verdict(Found.OURS)


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
        self.raises_when_unavailable = policy.on_unavailable == "raise"
        self.load_timeout = seconds(policy.load_timeout, "load_timeout")
        self.wait_timeout = seconds(policy.wait_timeout, "wait_timeout")
        patience = policy.stale_after
        self.stale_after = None if patience is None else seconds(patience, "stale_after")
        self._lease_ms = milliseconds(policy.lease_ttl, "lease_ttl")
        self._compression = Compression(policy.compress_over)
        self.lifetimes = lifetimes = Lifetimes(ttl, policy)
        self.versions = Versions(
            client,
            codec,
            head,
            ttl=lifetimes.longest(None),
            clear_on_restart=policy.restart == "clear",
        )
        self.verdicts = Verdicts(
            client,
            codec,
            self.versions,
            lifetimes.staleness,
            self.counters,
            raises=self.raises_when_unavailable,
        )
        near = policy.near
        self.near: Near[T] | None = (
            None
            if near is None
            else Near(client, codec, self.versions, near, self.verdicts.fresh_for)
        )
        self.deletes = Deletes(
            client,
            self.near,
            self.counters,
            keeps=lifetimes.kept > 0,
            raises=policy.on_unconfirmed == "raise",
        )
        self.marks = Marks(
            client,
            codec,
            self.versions,
            self.near,
            self.counters,
            milliseconds=milliseconds(policy.write_timeout, "write_timeout"),
        )

    def entry(
        self,
        generation: bytes,
        payload: bytes | None,
        ttl: int | None,
        captured: Captured,
        took: float = 0.0,
    ) -> tuple[bytes, int]:
        """Make an entry's bytes and its time to live, under the versions of before the load."""
        lifetime = self.lifetimes.choose(payload, ttl)
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
            soft_ms=lifetime if self.lifetimes.soft else None,
            tags=captured.tags,
        )
        return raw, lifetime + self.lifetimes.kept

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
            self.verdicts.unreadable(key, problem.reason)
            return MISSING

    def undecodable(self, key: str, raw: bytes, error: Exception) -> Verdict:
        """Say why there is no value in what begins like one."""
        reason = self.codec.unreadable(error).reason
        self.verdicts.unreadable(key, reason)
        return dead(raw, reason)

    # -- loads --------------------------------------------------------------------------------

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
        verdict = self.verdicts.judge(key, reply[1])
        if len(reply) > 3:
            verdict = self.verdicts.by_their_clock(key, reply[1], verdict, reply[3])
        return verdict

    def capture(self, tags: Sequence[str], ttl: int | None) -> Capture:
        """Begin to read the versions that a load is about to begin under."""
        return self.versions.capture(tags, self.lifetimes.longest(ttl))

    async def learn(
        self, captured: Captured, tags: Sequence[str], ttl: int | None
    ) -> Captured | None:
        """Capture tags that only the loader knew; None: tags were invalidated since it began.

        Raises:
            BackendError: Redis is out of reach.
        """
        return await self.versions.learn(captured, tags, self.lifetimes.longest(ttl))

    def confirm(self, captured: Captured, ttl: int) -> asyncio.Future[bool]:
        """Read them again; whether none has changed. It never fails."""
        return self.versions.confirm(captured, ttl)

    async def fill(self, key: str, generation: bytes, entry: bytes, ttl: int) -> bool:
        """Replace our lease, or the value that we claimed in place, by an entry, if still there.

        Redis: one EVALSHA.
        """
        args = (generation, entry, ttl)
        tell = forgetting(self.near, key)
        return bool(await self.client.run(_FILL, keys=[key], args=args, tell=tell))

    async def defer(self, key: str, generation: bytes) -> bool:
        """Leave the value that we claimed in place, since its load has failed, if still there.

        Redis: one EVALSHA.
        """
        args = [generation, self.lifetimes.staleness.retry]
        return bool(await self.client.run(_DEFER, keys=[key], args=args))

    def release(self, key: str, generation: bytes) -> None:
        """Give up our lease, without waiting; a lost command costs the lease's time."""
        # By its source: it is rarely run, mostly when closing, and then nobody is left to send the
        # source after a NOSCRIPT.
        try:
            future = self.client.call("EVAL", _RELEASE.source, 1, key, generation)
        except (ClosedError, ConfigError):
            return
        future.add_done_callback(consumed)

    def keep(self, key: str, generation: bytes) -> Lease:
        """Renew our lease until it is stopped, or its load has had all its time."""
        return Lease(self.client, key, generation, self._lease_ms, self.load_timeout)

    # -- writes -------------------------------------------------------------------------------

    async def put(
        self, values: list[tuple[str, bytes | None]], ttl: int | None, tags: Sequence[str]
    ) -> bool:
        """Put values over whatever is there; whether all were: a write mark is left, for one.

        Raises:
            BackendError: Redis is out of reach, or refuses; some may be stored.

        Redis: one EVALSHA for each, and for the namespace and each tag one more.
        """
        longest = self.lifetimes.longest(ttl)
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
            tell = forgetting(self.near, key)
            asked.append(self.client.run(_STORE, keys=[key], args=[entry, lifetime], tell=tell))
        return [bool(stored) for stored in await gathered(asked)]

    def touch(self, key: str, era: bytes, ttl: int) -> asyncio.Future[int]:
        """Give a value another time to live; 0: there is none.

        Redis: one EVALSHA.
        """
        kind = hit_prefix(self.version, self.fingerprint, era)[5:]
        return self.client.run(_TOUCH, keys=[key], args=[kind, ttl + self.lifetimes.kept, ttl])
