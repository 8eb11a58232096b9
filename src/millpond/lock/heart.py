"""Keeping the places of a process in a fair line while it has nobody there who asks.

A process that says nothing for some seconds is taken for dead, and loses its places. Whoever
contends asks every second. While a task of this very process has the lock, nobody does:
    P1 has the lock, P2 stands behind it, then Q comes; P1 takes its time; Q is told that P is dead,
    and P2's place goes; P1 leaves, and Q is served before P2.
So the first who stands in line asks for its place again: it keeps the one that it has.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from millpond.core.futures import consumed
from millpond.errors import BackendError, ClosedError, ConfigError

if TYPE_CHECKING:
    import asyncio
    from collections import deque

    from millpond.lock.kinds import Kind
    from millpond.lock.ticket import Ticket

__all__ = ["Heart"]

# Seconds; longer than a contender's own pauses, and well below what a dead one is given.
_BEAT = 1.2


class Heart:
    """Beats while a line has places in Redis, from a timer, until it is stopped."""

    __slots__ = ("_contender", "_heard", "_kind", "_loop", "_queue", "_timer")

    def __init__(
        self, kind: Kind, queue: deque[Ticket], contender: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Begin, for whoever stands in `queue`."""
        self._kind = kind
        self._queue = queue
        self._contender = contender
        self._loop = loop
        self._heard = time.monotonic()
        self._timer = loop.call_later(_BEAT, self._beat)

    def heard(self) -> None:
        """Take note that Redis is just being told of this process."""
        self._heard = time.monotonic()

    def stop(self) -> None:
        """Beat no more."""
        self._timer.cancel()

    def take(self, ticket: Ticket) -> None:
        """Take a place for somebody, or keep it.

        Raises:
            ClosedError: The client is not open.
            ConfigError: Another event loop, or another process.
        """
        place = self._kind.enqueue(ticket.token, self._contender)
        if place is not None:
            place.add_done_callback(consumed)
            ticket.place = place
        self.heard()

    def _beat(self) -> None:
        pause = self._heard + _BEAT - time.monotonic()
        if pause <= 0:
            pause = _BEAT
            first = next((ticket for ticket in self._queue if not ticket.gone), None)
            # One whose asking is on its way yet must be able to take it back, should it leave.
            if first is not None and (first.place is None or first.place.done()):
                try:
                    self.take(first)
                except (BackendError, ClosedError, ConfigError):
                    return  # closed: there is nobody to be told
        self._timer = self._loop.call_later(pause, self._beat)
