"""What the locks of one `Locks` share: the way to Redis, this process's lines, the counters."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from millpond.core.eviction import Examination
from millpond.core.lease import give_back
from millpond.events import ReleaseUnconfirmed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from millpond.core.client import Client
    from millpond.lock.kinds import Kind
    from millpond.lock.line import Line

__all__ = ["LockStatistics", "LockStore"]

_GHOST = 600.0  # seconds for which a place in a fair line that may still be ours is given back
_FIX = (
    "set maxmemory-policy noeviction on the server that keeps locks, or use a server of their own"
)


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
    )

    def __init__(self, clients: Sequence[Client]) -> None:
        """Begin with no lines; the first client's hooks are told of everything."""
        self.client = clients[0]
        self.examination = Examination(clients, _FIX)
        self.lines: dict[str, Line] = {}
        self.owners: set[tuple[str, asyncio.Task[Any] | None]] = set()
        self._contender = ""
        self.acquired = self.passed = self.waits = self.timeouts = self.lost = 0
        self.held = self.waiting = 0

    @property
    def contender(self) -> str:
        """The name under which this process waits in Redis; made when it first has to."""
        if not self._contender:
            self._contender = os.urandom(8).hex()
        return self._contender

    def unconfirmed(self, kind: Kind, token: str, ms: int, error: BaseException | None) -> None:
        """Give a token back until Redis confirms it, and tell why."""
        self.client.emit(ReleaseUnconfirmed(key=kind.key, reason=str(error)))
        give_back(partial(kind.release, token, ""), _GHOST if kind.queues else ms / 1000)

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
