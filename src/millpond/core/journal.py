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
6. Where one change must run before another (`Invalidation.after`), the later one is sent once the
   first was acknowledged, and its own acknowledgement counts only then. Of a tag and the epoch
   (`cache/versions.py`), the one refused and the other not:
       A loads v1; B commits v2; B's change of the epoch is refused, that of the tag is done, and
       settled; A is told the new tag and the old epoch, and stores v1; B says the epoch again, is
       answered, and owes nothing; v1 stays.
   Where the first is refused the later one is tried all the same, for it alone helps most readers,
   and both are owed. Said again, all goes out at once (2); what had to come after something that
   was owed, too, goes out once more when that is done: commands may have changed places on the way.
7. Thousands at once do not hold up everybody else's commands: they go out in batches, the next when
   the last has its answers. Nobody needs to wait for that. Whoever asked may be cancelled; a batch
   that finds no connection is kept like any other, down to the last when the client closes.
8. Who closes the client waits for what is on its way, for a second at most:
       B's change of the epoch is sent; B is cancelled, and closes the client; the change of the
       tag, which had to wait, is never sent.

Invalidations are scripts, sent with their source first: a restarted server knows no digests, and a
second round for those would come after this process's reads.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from millpond.core.deliveries import Delivery, Replay, Shipment
from millpond.errors import ClosedError, ConfigError
from millpond.events import InvalidationsDropped, InvalidationsLeft, InvalidationsReplayed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.core.link import Lane
    from millpond.core.scripts import Script
    from millpond.events import Event

__all__ = ["First", "Invalidation", "Journal"]

_MOST = 10_000  # invalidations: some megabytes
_MINUTE = 60.0  # seconds
_LAST_WORDS = 1.0  # seconds that who closes waits
_AGAIN = 1.0  # seconds between tries while Redis is there and refuses


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

    Those of one call are sent in their order, and run in it where the server knows their scripts.
    One that must run `after` another of the same call comes behind it there.
    """

    script: Script
    keys: tuple[str, ...]
    args: tuple[str | bytes | int | Callable[[], bytes], ...] = ()
    first: First | None = None
    after: Invalidation | None = None

    @property
    def subject(self) -> tuple[object, ...]:
        """What a newer one replaces."""
        return (self.script.sha, *self.keys, *[arg for arg in self.args if not callable(arg)])


class Journal:
    """The obligations of one client.

    Attributes:
        under_way: What calls have asked for and was not all answered.
    """

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
        self.under_way: set[Shipment] = set()
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
        Shipment(self, lane, invalidations, answer).go_on()
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
            delivery = Delivery(self, (self._issued(kept), kept), lane, count, first)
            try:
                lane.group([delivery.by_digest()], (delivery,))
            except ClosedError as error:
                delivery.set_exception(error)

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

    def counts(self, invalidation: Invalidation) -> bool:
        """Tell whether an acknowledgement counts if it is sent now, or it would come too early."""
        return invalidation.after is None or invalidation.after.subject not in self._pending

    def acknowledged(self, number: int, invalidation: Invalidation) -> None:
        """Take note that Redis has done it: what was asked before of the same keys is, too."""
        kept = self._pending.get(invalidation.subject)
        if kept is not None and kept[0] <= number:
            del self._pending[invalidation.subject]

    def unacknowledged(self, number: int, invalidation: Invalidation) -> None:
        """Keep what Redis refused, did not answer, or perhaps did too early, until it does it."""
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

    async def last_words(self) -> None:
        """Wait, before the connection is closed, for what is on its way over it."""
        if self._lane is None:
            return
        loop, answers = asyncio.get_running_loop(), [one.answer for one in self.under_way]
        here = [answer for answer in answers if answer.get_loop() is loop]  # others' has ended
        if here:
            await asyncio.wait(here, timeout=_LAST_WORDS)

    def closed(self) -> None:
        """Tell what is still owed when the client closes; it stays owed should it open again."""
        self._lane = None
        self.under_way.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending:
            self._emit(InvalidationsLeft(count=len(self._pending)))

    def stranded(self) -> None:
        """Expect nothing more of an event loop that ended without closing the client."""
        self._lane = None
        self.under_way.clear()
        self._timer = None  # it never fires, and nothing would be tried again while it stood here

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
        Replay(self, lane, self._replayed).send(list(self._pending.values()))

    def _replayed(self, count: int) -> None:
        self._emit(InvalidationsReplayed(count=count))


def _number(record: tuple[int, Invalidation]) -> int:
    return record[0]
