"""What Redis must be told to forget: deletes that it has not acknowledged, and the latest ones.

A delete is an obligation: a process that has committed a write and could not say so to Redis
leaves a stale value for everybody. So it says it again. What must stay true:

1. An invalidation whose acknowledgement did not come (refused, or its outcome unknown) is kept
   until one does, the newest for each of its keys; a later one that was acknowledged ends it.
2. Once a connection is there, they are on it before anything that this process reads: commands
   of one connection run in their order.
       A delete is lost with its connection; the connection comes back; a read of this very process
       that overtook the replay would give the old value after `delete()`.
3. Running one twice, or late, is harmless: it can only cost a load.
4. A server that is not the one that acknowledged (restarted from a snapshot, a replica promoted)
   may not have what it acknowledged. When its run id or its replication id has changed, the
   invalidations of the last minute are said again, acknowledged or not.
5. It is bounded. When it is full the oldest is given up, and that is told: to the hooks, and to
   whoever's invalidations did not find room.
6. Thousands at once do not hold up everybody else's commands: they go out in batches, the next when
   the last has its answers. Nobody needs to wait for that. Whoever asked may be cancelled; a batch
   that finds no connection is kept like any other, down to the last when the client closes.

Invalidations are scripts, sent with their source first: a restarted server knows no digests, and a
second round for those would come after this process's reads.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from millpond.core.slots import settle
from millpond.errors import ClosedError, ConfigError, ReplyError
from millpond.events import InvalidationsDropped, InvalidationsLeft, InvalidationsReplayed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.core.commands import Arg
    from millpond.core.link import Lane
    from millpond.core.scripts import Script
    from millpond.events import Event

__all__ = ["First", "Invalidation", "Journal"]

_MOST = 10_000  # invalidations: some megabytes
_MINUTE = 60.0  # seconds
_AGAIN = 1.0  # seconds between tries while Redis is there and refuses
_GROUP = 500  # commands queued without a gap


class First(NamedTuple):
    """What an invalidation is sent as the first time, where that is another script of its keys.

    It must forget as much. Its reply is told, with the first of the keys; its arguments, which may
    be large, are not kept.
    """

    script: Script
    args: tuple[str | bytes | int | Callable[[], bytes], ...] = ()
    told: Callable[[str, Any], None] | None = None


class Invalidation(NamedTuple):
    """One thing to forget: a script that is harmless when run twice, or late.

    An argument that is a function is called whenever the script is sent, for bytes that must never
    be sent twice: a version put back by a late replay would bring back what was stored under it.

    Those of one call run in their order, except that one of which the server does not know the
    script is sent again, behind the others. One that `leads` is sent with its source, and ahead.
    """

    script: Script
    keys: tuple[str, ...]
    args: tuple[str | bytes | int | Callable[[], bytes], ...] = ()
    first: First | None = None
    leads: bool = False

    @property
    def subject(self) -> tuple[object, ...]:
        """What a newer one replaces."""
        return (self.script.sha, *self.keys, *[arg for arg in self.args if not callable(arg)])


class Journal:
    """The obligations of one client."""

    def __init__(self, emit: Callable[[Event], None], *, most: int = _MOST) -> None:
        """Begin with none.

        Args:
            emit: Takes events.
            most: Invalidations kept at most, of either sort.
        """
        self._emit = emit
        self._most = most
        self._pending: dict[tuple[object, ...], tuple[int, Invalidation]] = {}
        self._latest: deque[tuple[float, int, Invalidation]] = deque(maxlen=most)
        self._count = 0
        self._lane: Lane | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dropped = 0
        self._told = 0  # of these
        self._overrun = 0  # invalidations of the last minute that are not among the latest
        self._overrun_at = 0.0

    def __len__(self) -> int:
        """How many wait for an acknowledgement."""
        return len(self._pending)

    # -- sending ------------------------------------------------------------------------------

    def send(
        self, loop: asyncio.AbstractEventLoop, lane: Lane, invalidations: Sequence[Invalidation]
    ) -> asyncio.Future[str]:
        """Queue invalidations now; whoever waits may be cancelled, they go on.

        Returns:
            A future: `""` when Redis has acknowledged all of them, or else the first reason.
        """
        answer: asyncio.Future[str] = loop.create_future()
        _Shipment(self, lane, invalidations, answer).go_on()
        return answer

    def ship(
        self,
        lane: Lane,
        invalidations: Sequence[Invalidation],
        count: Callable[[BaseException | None], None],
    ) -> None:
        """Queue a batch, on the connection of now; `count` gets each answer."""
        lane = self._lane or lane
        for invalidation in invalidations:
            first = invalidation.first
            kept = invalidation._replace(first=None) if first and first.args else invalidation
            delivery = _Delivery(self, (self._issued(kept), kept), lane, count, first)
            command = delivery.by_source() if kept.leads else delivery.by_digest()
            lane.group([command], (delivery,))

    def _issued(self, invalidation: Invalidation) -> int:
        self._count += 1
        now = time.monotonic()
        latest = self._latest
        if len(latest) == self._most and latest[0][0] >= now - _MINUTE:
            self._overrun = self._overrun + 1 if self._overrun_at >= now - _MINUTE else 1
            self._overrun_at = now
        latest.append((now, self._count, invalidation))
        while latest[0][0] < now - _MINUTE:
            latest.popleft()
        return self._count

    def acknowledged(self, number: int, invalidation: Invalidation) -> None:
        """Take note that Redis has done it: what was asked before of the same keys is, too."""
        kept = self._pending.get(invalidation.subject)
        if kept is not None and kept[0] <= number:
            del self._pending[invalidation.subject]

    def unacknowledged(self, number: int, invalidation: Invalidation) -> None:
        """Keep what Redis refused, or did not answer, until it does."""
        subject = invalidation.subject
        kept = self._pending.pop(subject, None)
        self._pending[subject] = (
            (number, invalidation)
            if kept is None
            else max(kept, (number, invalidation), key=_number)
        )
        if len(self._pending) > self._most:
            del self._pending[next(iter(self._pending))]
            self._dropped += 1
            if self._dropped & (self._dropped - 1) == 0:  # 1, 2, 4, 8, ...: told, not shouted
                self.tell_dropped()
        self._again_later()

    @property
    def dropped(self) -> int:
        """How many were given up, since the client was made."""
        return self._dropped

    @property
    def most(self) -> int:
        """How many are kept."""
        return self._most

    def tell_dropped(self) -> None:
        """Say how many were given up, unless it was said."""
        if self._told != self._dropped:
            self._told = self._dropped
            self._emit(InvalidationsDropped(count=self._dropped))

    # -- connections --------------------------------------------------------------------------

    def connected(self, lane: Lane) -> None:
        """Say everything on a lane that serves, ahead of what others are about to ask of it."""
        self._lane = lane
        if self._pending:
            self._replay(lane)

    def disconnected(self) -> None:
        """Wait for the next lane."""
        self._lane = None

    def rewound(self) -> None:
        """The server may have forgotten what it acknowledged: owe it the last minute again."""
        oldest = time.monotonic() - _MINUTE
        for when, number, invalidation in list(self._latest):
            if when >= oldest:
                self.unacknowledged(number, invalidation)
        if self._overrun and self._overrun_at >= oldest:
            self._dropped += self._overrun
            self._overrun = 0
        self.tell_dropped()

    def closed(self) -> None:
        """Tell what is still owed when the client closes; it stays owed should it open again."""
        self._lane = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending:
            self._emit(InvalidationsLeft(count=len(self._pending)))

    # -- saying it again ----------------------------------------------------------------------

    def _again_later(self) -> None:
        if self._timer is None and self._lane is not None:
            self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._retry)

    def _retry(self) -> None:
        self._timer = None
        if self._lane is None or not self._pending:
            return
        with suppress(ClosedError, ConfigError):  # it is being closed
            self._replay(self._lane)

    def _replay(self, lane: Lane) -> None:
        records = list(self._pending.values())
        count = _Tally(len(records), self._replayed).count
        known: set[str] = set()
        for at in range(0, len(records), _GROUP):
            commands: list[tuple[Arg, ...]] = []
            deliveries: list[_Delivery] = []
            for number, invalidation in records[at : at + _GROUP]:
                delivery = _Delivery(self, (number, invalidation), lane, count)
                sha = invalidation.script.sha
                commands.append(delivery.by_digest() if sha in known else delivery.by_source())
                known.add(sha)
                deliveries.append(delivery)
            lane.group(commands, tuple(deliveries))

    def _replayed(self, count: int) -> None:
        self._emit(InvalidationsReplayed(count=count))


class _Shipment:
    """Invalidations on their way, batch by batch."""

    __slots__ = (
        "_answer",
        "_at",
        "_dropped",
        "_going",
        "_journal",
        "_lane",
        "_left",
        "_reason",
        "_rest",
    )

    def __init__(
        self,
        journal: Journal,
        lane: Lane,
        rest: Sequence[Invalidation],
        answer: asyncio.Future[str],
    ) -> None:
        """Tell `answer` "" or the first reason, once every one is answered."""
        self._journal = journal
        self._lane = lane
        self._rest = rest
        self._answer = answer
        self._at = 0
        self._left = 0
        self._reason = ""
        self._going = False
        self._dropped = journal.dropped

    def go_on(self) -> None:
        """Send the next batch; where answers come at once, for there is no connection, all."""
        if self._going:
            return
        self._going = True
        while not self._left and self._at < len(self._rest):
            some = self._rest[self._at : self._at + _GROUP]
            self._at += len(some)
            self._left = len(some)
            self._journal.ship(self._lane, some, self.count)
        self._going = False
        if not self._left:
            self._end()

    def count(self, error: BaseException | None) -> None:
        """Take one answer."""
        self._left -= 1
        if error is not None and not self._reason:
            self._reason = str(error) or type(error).__name__
        if not self._left:
            self.go_on()

    def _end(self) -> None:
        journal, self._rest = self._journal, ()
        dropped = journal.dropped - self._dropped
        if dropped and self._reason:
            self._reason += (
                f"; {dropped:,} older ones were given up and will not be sent again, for "
                f"{journal.most:,} are kept"
            )
            if dropped > 1:
                journal.tell_dropped()
        settle(self._answer, self._reason)


class _Tally:
    """How many of what is said again are still unanswered."""

    __slots__ = ("_done", "_left", "_told")

    def __init__(self, count: int, told: Callable[[int], None]) -> None:
        """Expect so many; say in the end how many were done."""
        self._left = count
        self._done = 0
        self._told = told

    def count(self, error: BaseException | None) -> None:
        """Take one answer."""
        self._left -= 1
        self._done += error is None
        if not self._left and self._done:
            self._told(self._done)


class _Delivery:
    """The place of one invalidation in the queue of replies; nobody can cancel it."""

    __slots__ = ("_count", "_first", "_invalidation", "_journal", "_lane", "_number")

    def __init__(
        self,
        journal: Journal,
        record: tuple[int, Invalidation],
        lane: Lane,
        count: Callable[[BaseException | None], None],
        first: First | None = None,
    ) -> None:
        self._first = first
        self._journal = journal
        self._number, self._invalidation = record
        self._lane = lane
        self._count = count

    def by_digest(self) -> tuple[Arg, ...]:
        """Return the command, for a server that knows the script."""
        script, keys, args = self._parts()
        return ("EVALSHA", script.sha, len(keys), *keys, *args)

    def by_source(self) -> tuple[Arg, ...]:
        """Return the command, for any server."""
        script, keys, args = self._parts()
        return ("EVAL", script.source, len(keys), *keys, *args)

    def _parts(self) -> tuple[Script, tuple[str, ...], tuple[Arg, ...]]:
        said, keys = self._first or self._invalidation, self._invalidation.keys
        return said.script, keys, tuple([arg() if callable(arg) else arg for arg in said.args])

    def done(self) -> bool:
        """Never: it goes out whoever has lost interest."""
        return False

    def set_result(self, result: Any, /) -> None:
        """Take the acknowledgement."""
        if self._first is not None and self._first.told is not None:
            self._first.told(self._invalidation.keys[0], result)
        self._journal.acknowledged(self._number, self._invalidation)
        self._count(None)

    def set_exception(self, exception: BaseException, /) -> None:
        """Send the source on NOSCRIPT; otherwise it stays owed."""
        if isinstance(exception, ReplyError) and exception.code == "NOSCRIPT":
            self._lane.group([self.by_source()], (self,))
            return
        self._journal.unacknowledged(self._number, self._invalidation)
        self._count(exception)


def _number(record: tuple[int, Invalidation]) -> int:
    return record[0]
