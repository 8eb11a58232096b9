"""One timer of the loop for many who are due in the order in which they came.

Nearly every lease is released long before its first renewal. To set and cancel a timer of the loop
for each costs many times what an entry in a dict does.

Each is called in the context of whoever added it, as by a timer of its own: what is told of one
request's lock is not told among the variables of another's.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["SharedTimer", "Waker"]


class Waker(Protocol):
    """Whoever wants to be called when something is due."""

    def tick(self) -> None:
        """Do what is due."""
        ...


class SharedTimer:
    """Calls `tick` of each who was added and not removed, when it is due.

    Attributes:
        loop: On which it rings.
    """

    __slots__ = ("_due", "_last", "_ringing", "_timer", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with nobody."""
        self.loop = loop
        # Ordered: a plain dict finds its first entry by passing all that were removed before it.
        self._due: OrderedDict[Waker, tuple[float, Context]] = OrderedDict()
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._ringing = False

    def add(self, who: Waker, when: float) -> bool:
        """Call once at `when`, by the monotonic clock, unless it is removed before.

        Returns:
            False: somebody who came before is due later, so this one needs a timer of its own.
        """
        if when < self._last:
            return False
        self._last = when
        self._due[who] = when, copy_context()
        if self._timer is None and not self._ringing:
            self._set(when)
        return True

    def remove(self, who: Waker) -> None:
        """Do not call, if it has not been called yet."""
        # The timer stays, if this was the last: mostly another comes before it would ring.
        self._due.pop(who, None)

    def _ring(self) -> None:
        self._timer = None
        self._ringing = True
        try:
            while self._due:
                who, (when, context) = next(iter(self._due.items()))
                if when > time.monotonic():
                    return
                del self._due[who]
                context.run(who.tick)
        finally:  # whatever became of one of them, the others are called
            self._ringing = False
            if self._due:
                self._set(next(iter(self._due.values()))[0])

    def _set(self, when: float) -> None:
        pause = max(0.0, when - time.monotonic())
        self._timer = self.loop.call_later(pause, self._ring, context=Context())
