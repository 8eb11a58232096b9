"""Versions of a namespace and of tags: what a stored entry is no longer worth once they changed.

An entry holds the versions that it was loaded under, and is worth nothing unless they are still
those in Redis. So `clear()` and `delete_tags()` touch none of the entries: they change a version.
What must stay true:

1. A reader compares with versions that were read *after its call began*, and no later than it looks
   at the entry. The namespace's are asked for ahead of the entry's own GET, in the same batch, once
   for all callers of a batch; `turn` is the batch that they were asked in. In a later batch they
   are asked again:
       A asks; the batch leaves; B clears, is answered; C reads and must not compare with what A
       was told.
   A tag's is shared in the same way, by all who ask for it in one batch, whatever else is in it:
   nothing there has been acknowledged to anybody yet. Whoever is cancelled meanwhile must not take
   it from the others.
   The answer is taken in the connection's callback, ahead of the reply to the entry's GET, and
   changes what a hit begins with (`hit`), so that a hit costs no comparison more than before.
2. An entry is stored with the versions from *before its load*. Captured after it they would be
   those of an invalidation that the load did not see:
       A loads v1; B commits v2, deletes the tag; A reads the tag's version, stores v1 under it.
   Tags that only the loader knows are captured after the load, and count only if the namespace's
   *tag epoch*, read after them, is what it was before; `delete_tags` changes the epoch first, and
   the tags when that is acknowledged. So who has read a tag's new version reads the new epoch. The
   other way round:
       A loads v1, reads the epoch; B commits v2, changes epoch and tag; A reads the tag's new
       version, and stores v1 under it.
   Where the epoch was refused, and the tags were not, that is what A may have done. So the tags are
   owed with the epoch, and changed once more when it was (`core/journal.py`).
   The epoch is asked for when the tags are answered, not in the same batch: commands of a batch
   change places where the server does not know the script and it is sent again.
3. Who joined a load before its fill was sent may have seen an invalidation during the load. So the
   versions are read again beside the fill, and if they have changed, the value goes only to those
   who came before the loader was called.
4. A version that is gone (evicted, expired, lost in a restart) is never taken for an old one:
   absent is no version, and who makes it anew draws it at random. It costs loads and brings nothing
   back. What changes a version never sends the same bytes twice, for a late replay of an older
   change would put back a version under which something is stored.
5. With `restart="clear"` the namespace's version holds the server's run id, too. Under another run
   id it is no version: whoever meets it draws a new one, once for all, by compare-and-set.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import msgspec

from millpond.cache.batches import gathered, when_all
from millpond.cache.captured import Capture, Captured
from millpond.core.entry import ERA_SIZE, IS_SOFT, hit_prefix
from millpond.core.futures import consumed, own
from millpond.core.journal import Invalidation
from millpond.core.scripts import Script
from millpond.core.slots import Collector
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.core.client import Client
    from millpond.core.codec import Codec
    from millpond.core.entry import TagVersion

__all__ = ["Versions", "Worth"]

_VERSION = Script.load("millpond.cache", "version")
_REVOKE = Script.load("millpond.cache", "revoke")

_SIZE = 12
_SHORTEST = 3_600_000  # milliseconds: a namespace that is rarely filled is not forgotten every time
_NEVER = b"\0never"  # what no entry begins with


class Worth(msgspec.Struct, frozen=True):
    """What is left of an entry after its tags were compared."""

    dead: bool = False
    stale: bool = False  # somebody has called `expire_tags`


class Versions:
    """The versions of one cache's namespace, as they were last read, and the way to its tags'.

    Attributes:
        hit: What every plain value of this cache and era begins with.
        soft_hit: The same of those that may be served stale.
        era: The namespace's; None: unknown, or there is none.
        key: The Redis key of the namespace's.
        lane, turn: Where, and in which of its batches, it was last asked for.
    """

    __slots__ = (
        "_client",
        "_codec",
        "_epoch",
        "_head",
        "_looked",
        "_looked_in",
        "_not_one",
        "_run_matters",
        "_ttl",
        "era",
        "hit",
        "key",
        "lane",
        "soft_hit",
        "turn",
    )

    def __init__(
        self, client: Client, codec: Codec, head: str, *, ttl: int, clear_on_restart: bool
    ) -> None:
        """Know nothing yet.

        Args:
            client: The way to Redis.
            codec: Of the cache's type.
            head: What all keys of the namespace begin with.
            ttl: Milliseconds that entries live, mostly.
            clear_on_restart: Whether a version of another run of the server counts.
        """
        self._client = client
        self._codec = codec
        self._head = head
        # With empty braces a Cluster hashes the whole key; no key of an entry has any.
        self.key = f"{head}{{}}era"
        self._ttl = max(2 * ttl, _SHORTEST)
        self._run_matters = clear_on_restart
        self._not_one = b""
        self._epoch = b""
        self.era: bytes | None = None
        self.hit = self.soft_hit = _NEVER
        self.lane: Any = self  # not one that there ever is
        self.turn = 0
        self._looked: dict[str, asyncio.Future[Any]] = {}
        self._looked_in: tuple[object, int] = (self, 0)

    # -- the namespace's ----------------------------------------------------------------------

    def ask(self) -> None:
        """Read the namespace's version in the batch that is being made, if nobody has yet.

        Redis: one GET.
        """
        lane = self._client.lane
        if lane is None or (lane is self.lane and lane.batches == self.turn):
            return
        self.lane, self.turn = lane, lane.batches
        lane.group([("GET", self.key)], (Collector(1, self._answered),))

    def _answered(self, replies: list[Any]) -> None:
        self.take(replies[0])

    def take(self, reply: Any) -> None:
        """Take an answer in its turn: ahead of what was asked behind it, and of any task."""
        if isinstance(reply, bytes) and len(reply) >= _SIZE:
            if not self._run_matters or reply[_SIZE:].decode(errors="replace") == self._run():
                self._begin(reply)
                return
            self._not_one = reply
        self.era, self.hit, self.soft_hit = None, _NEVER, _NEVER

    def _begin(self, raw: bytes) -> None:
        era = raw[:ERA_SIZE]
        self._epoch = raw[ERA_SIZE:_SIZE]
        if era != self.era:
            self.era = era
            version, fingerprint = self._codec.version, self._codec.fingerprint
            self.hit = hit_prefix(version, fingerprint, era)
            self.soft_hit = hit_prefix(version, fingerprint, era, flags=IS_SOFT)

    def _run(self) -> str:
        return self._client.run_id

    def keep(self, ttl: int) -> asyncio.Future[Any]:
        """Read the namespace's version, make it if there is none, and have it live on.

        Args:
            ttl: Milliseconds that something stored under it lives.

        Redis: one EVALSHA.
        """
        run = self._run()
        if self._run_matters and not run:
            raise ConfigError(
                'restart="clear" needs the server\'s run id, which this one does not tell: allow '
                "INFO (+info) in its ACL, use Client.from_url instead of from_redis, or leave "
                'CachePolicy(restart="keep")'
            )
        fresh = fresh_version() + run.encode()
        args = (fresh, max(2 * ttl, self._ttl), self._not_one)
        return self._client.run(_VERSION, keys=[self.key], args=args, tell=self.take)

    # -- capturing ----------------------------------------------------------------------------

    def capture(self, tags: Sequence[str], ttl: int) -> Capture:
        """Begin to read the versions that a load is about to begin under.

        Args:
            tags: Those that the call names.
            ttl: Milliseconds that the entry will live.

        Redis: one GET where the batch has none yet, and one EVALSHA for each tag.
        """
        self.ask()
        return Capture(self, tags, [self._tag(tag, ttl) for tag in tags], ttl)

    async def current(self, tags: Sequence[str], ttl: int) -> Captured:
        """Read the versions now, for who stores without a load.

        Raises:
            BackendError: Redis is out of reach.

        Redis: one EVALSHA for the namespace and for each tag.
        """
        kept = self.keep(ttl)
        capture = self.capture(tags, ttl)
        await kept
        return await capture.done()

    def now(self, tags: tuple[TagVersion, ...] = ()) -> Captured | None:
        """Return the namespace's versions as they were last read, with these of tags."""
        return None if self.era is None else Captured(self.era, self._epoch, tags)

    def confirm(self, captured: Captured, ttl: int) -> asyncio.Future[bool]:
        """Read the same versions again, and have them live on.

        Returns:
            A future, which never fails: whether none has changed. If Redis does not say, they may.

        Redis: one EVALSHA for the namespace and for each tag.
        """
        asked = [self.keep(ttl), *[self._tag(tag, ttl) for tag, _ in captured.tags]]
        expected = [captured.era, *[version for _, version in captured.tags]]

        def same(replies: list[Any]) -> bool:
            return all(
                isinstance(reply, bytes) and reply.startswith(version)
                for reply, version in zip(replies, expected, strict=True)
            )

        return when_all(asked, same)

    async def learn(self, captured: Captured, tags: Sequence[str], ttl: int) -> Captured | None:
        """Capture tags that only the loader knew, after the load.

        Returns:
            None if tags were invalidated since the load began, whichever they were, or Redis does
            not say.

        Raises:
            BackendError: Redis is out of reach.

        Redis: one EVALSHA for each tag, and when they are answered one for the namespace.
        """
        # The epoch is asked for once the tags are told. In front of them, or sent beside them:
        #     A is told the old epoch; B changes epoch and tag, is answered; A is told the new tag.
        replies = await gathered([self._tag(tag, ttl) for tag in tags])
        kept = await self.keep(ttl)
        if not kept.startswith(captured.era + captured.epoch):
            return None
        known = tuple(zip(tags, replies, strict=True))
        return Captured(captured.era, captured.epoch, (*captured.tags, *known))

    def _tag(self, tag: str, ttl: int) -> asyncio.Future[Any]:
        args = (fresh_version(), max(2 * ttl, self._ttl), b"")
        return self._client.run(_VERSION, keys=[self.tag_key(tag)], args=args)

    def tag_key(self, tag: str) -> str:
        """Return the Redis key of a tag's version."""
        return f"{self._head}{{}}tag:{tag}"

    # -- comparing ----------------------------------------------------------------------------

    def look(self, tags: Sequence[str]) -> dict[str, asyncio.Future[Any]]:
        """Ask for the versions of tags that an entry is expected to have.

        Returns:
            Futures that others wait for, too: they are not to be cancelled.

        Redis: one GET for each, in the batch of the entry's own, if nobody has asked in it yet.
        """
        lane = self._client.lane
        batch = (lane, 0 if lane is None else lane.batches)
        if batch != self._looked_in:
            self._looked_in = batch
            self._looked = {}
        looked, asked = self._looked, dict[str, asyncio.Future[Any]]()
        for tag in tags:
            future = looked.get(tag)
            if future is None:
                future = self._client.call("GET", self.tag_key(tag))
                if not future.done():  # it is where all is refused
                    looked[tag] = future
                future.add_done_callback(consumed)
            asked[tag] = future
        return asked

    async def compare(
        self,
        tags: tuple[TagVersion, ...],
        asked: dict[str, asyncio.Future[Any]] | None = None,
    ) -> Worth:
        """Say what an entry with these tags is still worth.

        Args:
            tags: The entry's.
            asked: From `look`, called no earlier than the reader's own call.

        Raises:
            BackendError: Redis is out of reach.

        Redis: one GET for each tag that was not asked for.
        """
        known = asked or {}
        more = self.look([tag for tag, _ in tags if tag not in known])
        dead = stale = False
        for tag, version in tags:
            future = known[tag] if tag in known else more[tag]
            if not future.done():  # mostly it is: it was answered ahead of the entry
                await asyncio.wait((future,))
            error = future.exception()
            if error is not None:  # one of each reader's own, so that no traceback is shared
                raise own(error)
            there = future.result()
            if not isinstance(there, bytes) or there[:ERA_SIZE] != version[:ERA_SIZE]:
                dead = True
            elif there[ERA_SIZE:] != version[ERA_SIZE:]:
                stale = True
        return Worth(dead=dead, stale=stale)

    # -- changing -----------------------------------------------------------------------------

    def new_era(self) -> list[Invalidation]:
        """Return what ends the era: no entry of before is worth anything."""
        return [self._change(self.key, 1, ERA_SIZE)]

    def delete(self, tags: Sequence[str]) -> list[Invalidation]:
        """Return what makes entries with these tags worthless: the epoch first, then the tags."""
        return self._behind_epoch([self._change(self.tag_key(tag), 1, _SIZE) for tag in tags])

    def expire(self, tags: Sequence[str]) -> list[Invalidation]:
        """Return what makes entries with these tags stale."""
        return self._behind_epoch(
            [self._change(self.tag_key(tag), ERA_SIZE + 1, _SIZE) for tag in tags]
        )

    def _behind_epoch(self, changes: list[Invalidation]) -> list[Invalidation]:
        epoch = self._change(self.key, ERA_SIZE + 1, _SIZE)
        return [epoch, *[change._replace(after=epoch) for change in changes]]

    def _change(self, key: str, first: int, last: int) -> Invalidation:
        return Invalidation(_REVOKE, (key,), (fresh_version, self._ttl, first, last))


def fresh_version() -> bytes:
    """Draw 12 random bytes, which no process ever draws again."""
    return os.urandom(_SIZE)
