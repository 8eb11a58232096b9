"""Who waits for whom among the loads of this process, so that a circle is an error.

A loader may ask caches for other values. Should one of them wait, through however many loads,
for the load that asks, nobody would ever answer. The wait is refused with `LoadDeadlock`
instead. Circles that go through other processes are not seen here; `wait_timeout` ends those.
"""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["Waiter", "current", "seen_waiting", "would_deadlock"]

A = TypeVar("A")


class Waiter:
    """Something that is being loaded and may wait for others."""

    __slots__ = ("_waits_for",)

    def __init__(self) -> None:
        """Wait for nobody."""
        self._waits_for: Counter[Waiter] = Counter()

    def wait_for(self, other: Waiter) -> None:
        """Note that this load waits; several of its tasks may wait for one other."""
        self._waits_for[other] += 1

    def waited_for(self, other: Waiter) -> None:
        """Note that one wait is over."""
        self._waits_for[other] -= 1
        if not self._waits_for[other]:
            del self._waits_for[other]

    def reaches(self, goal: Waiter) -> bool:
        """Tell whether this load waits for `goal`, directly or through others."""
        open_ends: list[Waiter] = [self]
        met: set[Waiter] = {self}
        while open_ends:
            here = open_ends.pop()
            if here is goal:
                return True
            for following in here._waits_for:
                if following not in met:
                    met.add(following)
                    open_ends.append(following)
        return False


current: ContextVar[Waiter | None] = ContextVar("millpond_load", default=None)
"""The load whose loader is running in this context."""


def would_deadlock(other: Waiter) -> bool:
    """Tell whether waiting for `other` here would close a circle."""
    here = current.get()
    return here is not None and other.reaches(here)


async def seen_waiting(other: Waiter, answer: Awaitable[A]) -> A:
    """Wait for what `other` brings, and be seen to wait by whoever looks for circles."""
    here = current.get()
    if here is None:
        return await answer
    here.wait_for(other)
    try:
        return await answer
    finally:
        here.waited_for(other)
