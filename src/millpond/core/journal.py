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
5. It is bounded. When it is full the oldest is given up, and that is told.

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
    """

    script: Script
    keys: tuple[str, ...]
    args: tuple[str | bytes | int | Callable[[], bytes], ...] = ()
    first: First | None = None

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
        tally = _Tally(len(invalidations), answer)
        if not invalidations:
            answer.set_result("")
        for invalidation in invalidations:
            first = invalidation.first
            kept = invalidation._replace(first=None) if first and first.args else invalidation
            delivery = _Delivery(self, (self._issued(kept), kept), lane, tally, first)
            lane.group([delivery.by_digest()], (delivery,))
        return answer

    def _issued(self, invalidation: Invalidation) -> int:
        self._count += 1
        now = time.monotonic()
        latest = self._latest
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
                self._emit(InvalidationsDropped(count=self._dropped))
        self._again_later()

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
        tally = _Tally(len(records), told=self._replayed)
        known: set[str] = set()
        for at in range(0, len(records), _GROUP):
            commands: list[tuple[Arg, ...]] = []
            deliveries: list[_Delivery] = []
            for number, invalidation in records[at : at + _GROUP]:
                delivery = _Delivery(self, (number, invalidation), lane, tally)
                sha = invalidation.script.sha
                commands.append(delivery.by_digest() if sha in known else delivery.by_source())
                known.add(sha)
                deliveries.append(delivery)
            lane.group(commands, tuple(deliveries))

    def _replayed(self, count: int) -> None:
        self._emit(InvalidationsReplayed(count=count))


class _Tally:
    """How many of a number of invalidations are still unanswered."""

    __slots__ = ("_answer", "_done", "_left", "_reason", "_told")

    def __init__(
        self,
        count: int,
        answer: asyncio.Future[str] | None = None,
        told: Callable[[int], None] | None = None,
    ) -> None:
        """Expect so many; tell a future the first reason, or somebody how many were done."""
        self._left = count
        self._done = 0
        self._reason = ""
        self._answer = answer
        self._told = told

    def count(self, error: BaseException | None) -> None:
        """Take one answer."""
        self._left -= 1
        if error is None:
            self._done += 1
        elif not self._reason:
            self._reason = str(error) or type(error).__name__
        if self._left:
            return
        if self._answer is not None:
            settle(self._answer, self._reason)
        if self._told is not None and self._done:
            self._told(self._done)


class _Delivery:
    """The place of one invalidation in the queue of replies; nobody can cancel it."""

    __slots__ = ("_first", "_invalidation", "_journal", "_lane", "_number", "_tally")

    def __init__(
        self,
        journal: Journal,
        record: tuple[int, Invalidation],
        lane: Lane,
        tally: _Tally,
        first: First | None = None,
    ) -> None:
        self._first = first
        self._journal = journal
        self._number, self._invalidation = record
        self._lane = lane
        self._tally = tally

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
        self._tally.count(None)

    def set_exception(self, exception: BaseException, /) -> None:
        """Send the source on NOSCRIPT; otherwise it stays owed."""
        if isinstance(exception, ReplyError) and exception.code == "NOSCRIPT":
            self._lane.group([self.by_source()], (self,))
            return
        self._journal.unacknowledged(self._number, self._invalidation)
        self._tally.count(exception)


def _number(record: tuple[int, Invalidation]) -> int:
    return record[0]
