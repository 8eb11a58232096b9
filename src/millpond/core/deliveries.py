"""Invalidations on their way: a call's, batch by batch, and all that is owed, on a new connection.

What they are for, and what must stay true, is told in `journal.py`. Everything here runs inside the
connection's read callback, but for the first batch; nobody waits for it, so nobody can cancel it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from millpond.core.slots import settle
from millpond.errors import ClosedError, ReplyError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from millpond.core.commands import Arg
    from millpond.core.journal import First, Invalidation, Journal
    from millpond.core.link import Lane
    from millpond.core.scripts import Script

    Record: TypeAlias = tuple[int, Invalidation]  # how old it is, and what

__all__ = ["Delivery", "Replay", "Shipment"]

_GROUP = 500  # commands queued without a gap


class Shipment:
    """Invalidations on their way, batch by batch.

    Attributes:
        answer: What its caller waits for.
    """

    __slots__ = (
        "_at",
        "_dropped",
        "_going",
        "_journal",
        "_lane",
        "_left",
        "_reason",
        "_rest",
        "answer",
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
        self.answer = answer
        self._at = 0
        self._left = 0
        self._reason = ""
        self._going = False
        self._dropped = journal.dropped
        journal.under_way.add(self)

    def go_on(self) -> None:
        """Send the next batch; where answers come at once, for there is no connection, all."""
        if self._going:
            return
        self._going = True
        while not self._left and self._at < len(self._rest):
            some = self._batch()
            self._at += len(some)
            self._left = len(some)
            self._journal.ship(self._lane, some, self.count)
        self._going = False
        if not self._left:
            self._end()

    def _batch(self) -> Sequence[Invalidation]:
        """Return what goes out together: nothing that must come after something else of it."""
        some = self._rest[self._at : self._at + _GROUP]
        here: set[int] = set()
        for place, one in enumerate(some):
            if id(one.after) in here:
                return some[:place]
            here.add(id(one))
        return some

    def count(self, error: BaseException | None) -> None:
        """Take one answer."""
        self._left -= 1
        if error is not None and not self._reason:
            self._reason = str(error) or type(error).__name__
        if not self._left:
            self.go_on()

    def _end(self) -> None:
        journal, self._rest = self._journal, ()
        journal.under_way.discard(self)
        dropped = journal.dropped - self._dropped
        if dropped and self._reason:
            self._reason += (
                f"; {dropped:,} older ones were given up and will not be sent again, for "
                f"{journal.most:,} are kept"
            )
            if dropped > 1:
                journal.tell_dropped()
        settle(self.answer, self._reason)


class Replay:
    """What is owed, said again; once more where it had to come after something that was, too."""

    __slots__ = ("_done", "_early", "_journal", "_lane", "_left", "_told")

    def __init__(self, journal: Journal, lane: Lane, told: Callable[[int], None]) -> None:
        """Say in the end how many were done, on this lane."""
        self._journal = journal
        self._lane = lane
        self._told = told
        self._left = self._done = 0
        self._early: list[Record] = []

    def send(self, records: Sequence[Record]) -> None:
        """Send everything now."""
        self._left, self._early = len(records), []
        known: set[str] = set()
        for at in range(0, len(records), _GROUP):
            commands: list[tuple[Arg, ...]] = []
            deliveries: list[Delivery] = []
            for record in records[at : at + _GROUP]:
                counts = self._journal.counts(record[1])
                if not counts:
                    self._early.append(record)
                delivery = Delivery(
                    self._journal, record, self._lane, self._count if counts else self._pass
                )
                sha = record[1].script.sha
                commands.append(delivery.by_digest() if sha in known else delivery.by_source())
                known.add(sha)
                deliveries.append(delivery)
            self._lane.group(commands, tuple(deliveries))

    def _count(self, error: BaseException | None) -> None:
        self._done += error is None
        self._pass(error)

    def _pass(self, _: BaseException | None) -> None:
        """Take an answer; at the last say again what may count by now."""
        self._left -= 1
        if self._left:
            return
        again = [record for record in self._early if self._journal.counts(record[1])]
        if again:
            with suppress(ClosedError):  # it stays owed
                self.send(again)
        elif self._done:
            self._told(self._done)


class Delivery:
    """The place of one invalidation in the queue of replies; nobody can cancel it."""

    __slots__ = ("_count", "_counts", "_first", "_invalidation", "_journal", "_lane", "_number")

    def __init__(
        self,
        journal: Journal,
        record: Record,
        lane: Lane,
        count: Callable[[BaseException | None], None],
        first: First | None = None,
    ) -> None:
        """Be sent now; `count` gets the answer."""
        self._first = first
        self._journal = journal
        self._number, self._invalidation = record
        self._counts = journal.counts(record[1])
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
        if self._counts:
            self._journal.acknowledged(self._number, self._invalidation)
        else:
            self._journal.unacknowledged(self._number, self._invalidation)
        self._count(None)

    def set_exception(self, exception: BaseException, /) -> None:
        """Send the source on NOSCRIPT; otherwise it stays owed."""
        if isinstance(exception, ReplyError) and exception.code == "NOSCRIPT":
            self._lane.group([self.by_source()], (self,))
            return
        self._journal.unacknowledged(self._number, self._invalidation)
        self._count(exception)
