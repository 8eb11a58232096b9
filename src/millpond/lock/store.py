"""What the locks of one `Locks` share: the way to Redis, this process's lines, the counters."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from millpond.core.eviction import Examination
from millpond.core.lease import give_back
from millpond.core.shared_timer import SharedTimer
from millpond.events import ReleaseUnconfirmed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from millpond.core.client import Client
    from millpond.lock.kinds import Kind
    from millpond.lock.line import Line
    from millpond.lock.ticket import Ticket

__all__ = ["LockStatistics", "LockStore"]

# By client and length, not one for each `Locks`: a timer outlives the last lease for a while, and
# some programs make a `Locks` for every request.
_TIMERS: WeakKeyDictionary[Client, dict[int, SharedTimer]] = WeakKeyDictionary()
_GHOST = 600.0  # seconds for which a place in a fair line that may still be ours is given back
_FIX = (
    "set maxmemory-policy noeviction on the server that keeps locks, or use a server of their own"
)


# What tells this process from the one that it was forked from: to ask for its number is a system
# call, for every lock that is taken.
_NOWHERE = object()
_process = [object()]
if sys.platform != "win32":
    os.register_at_fork(after_in_child=lambda: _process.__setitem__(0, object()))


class LockStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a `Locks` of this process has done; counts since it was made."""

    acquired: int  # locks taken
    passed: int  # of these, handed over inside this process in one step
    waits: int  # acquisitions that found the lock taken and waited
    timeouts: int  # LockTimeout raised
    lost: int  # locks that ended while they were held
    held: int  # locks held now
    waiting: int  # tasks of this process that wait now, or are about to acquire


class LockStore:
    """The shared part."""

    __slots__ = (
        "_contender",
        "_made_in",
        "_ms",
        "_timer",
        "acquired",
        "client",
        "examination",
        "held",
        "lines",
        "lost",
        "owners",
        "passed",
        "timeouts",
        "waiting",
        "waits",
        "wanted",
    )

    def __init__(self, clients: Sequence[Client], ms: int) -> None:
        """Begin with no lines.

        Args:
            clients: The first one's hooks are told of everything.
            ms: The usual lease.
        """
        self.client = clients[0]
        self._ms = ms
        self._timer: SharedTimer | None = None
        self.examination = Examination(clients, _FIX)
        self.lines: dict[str, Line] = {}
        self.owners: set[tuple[str, asyncio.Task[Any] | None]] = set()
        self._contender, self._made_in = "", _NOWHERE
        self.acquired = self.passed = self.waits = self.timeouts = self.lost = 0
        self.held = self.waiting = 0
        # Places that were left just now while others waited there, and until when that matters: by
        # the clock, for a timer of a loop that ends before it would never tell.
        self.wanted: dict[str, float] = {}

    @property
    def contender(self) -> str:
        """The name under which this process waits in Redis; made when it first has to.

        A fork has one of its own: under one name, whoever has the lock would take back the marks
        of the others, who would wait unheard of.
        """
        if self._made_in is not _process[0]:
            self._contender, self._made_in = os.urandom(8).hex(), _process[0]
        return self._contender

    def timer(self, loop: asyncio.AbstractEventLoop, ms: int) -> SharedTimer | None:
        """Find what rings for the leases of the usual length; None for others."""
        if ms != self._ms:
            return None
        if self._timer is None or self._timer.loop is not loop:
            timers = _TIMERS.setdefault(self.client, {})
            if ms not in timers or timers[ms].loop is not loop:
                timers[ms] = SharedTimer(loop)
            self._timer = timers[ms]
        return self._timer

    def unconfirmed(self, kind: Kind, ticket: Ticket, error: BaseException | None) -> None:
        """Give a token back until Redis confirms it, and tell why."""
        self.client.emit(ReleaseUnconfirmed(key=kind.key, reason=str(error)))
        again = partial(kind.release, ticket.token, "")
        give_back(again, _GHOST if kind.queues else ticket.ms / 1000)

    def statistics(self) -> LockStatistics:
        """Take a snapshot of the counters."""
        return LockStatistics(
            acquired=self.acquired,
            passed=self.passed,
            waits=self.waits,
            timeouts=self.timeouts,
            lost=self.lost,
            held=self.held,
            waiting=self.waiting,
        )
