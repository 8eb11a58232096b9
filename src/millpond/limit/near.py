"""Denials, remembered for a moment, so that a flood of hits on one key does not reach Redis.

A denial stays true until its `retry_after` has passed, unless something makes room before: a
reset, a refund, a raised limit. Those of this process clear what is remembered here; those of
others are not heard of, so nothing is remembered for longer than `near` seconds.

What must stay true: after this process's `reset` or `refund` has returned, no older denial
answers. The denial may still be on its way when the reset is called:

    1. hit leaves  2. reset is called, clears, leaves  3. the hit's denial comes and is remembered
    4. the reset's reply comes

so the limiter clears at 2 and again at 4. No denial answers longer than it is true: its time
counts from before the hit left. And who waits as long as it says is admitted: what it says counts
from when the answer was here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from millpond.limit.decision import Decision

__all__ = ["Denials", "Spot"]

_MOST = 10_000  # denials remembered at once: some megabytes
_MOST_NAMES = 8  # ways to write one key, such as 42 and "42"


class Spot:
    """What is remembered about one key."""

    __slots__ = ("cost", "decision", "names", "since", "until")

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.until = 0.0  # by the monotonic clock
        self.since = 0.0  # when the answer was here
        self.cost = 0
        self.decision: Decision | None = None
        self.names: list[Hashable] = []


class Denials:
    """Denials by key, the user's and Redis'."""

    __slots__ = ("_most", "_spots", "by_name", "near")

    def __init__(self, near: float, most: int = _MOST) -> None:
        """Remember each denial for `near` seconds at most, and so many denials at most."""
        self.near = near
        self.by_name: dict[Hashable, Spot] = {}
        self._spots: dict[str, Spot] = {}
        self._most = most

    def __len__(self) -> int:
        """How many keys are remembered, the outdated included."""
        return len(self._spots)

    def add(self, name: Hashable, decision: Decision, sent: float, got: float) -> None:
        """Remember a denial.

        Args:
            name: The user's key; several may mean one Redis key.
            decision: The denial.
            sent: When the hit left, by the monotonic clock.
            got: When the answer was here.
        """
        wait = decision.retry_after
        lasts = self.near if wait is None else min(self.near, wait)
        if lasts <= 0:
            return
        spot = self._spots.get(decision.key)
        if spot is None:
            if len(self._spots) >= self._most:
                self._forget(next(iter(self._spots)))
            spot = self._spots[decision.key] = Spot()
        elif spot.until > got and spot.cost <= decision.cost:
            return  # what is remembered answers this one, too
        if name not in self.by_name and len(spot.names) < _MOST_NAMES:
            self.by_name[name] = spot
            spot.names.append(name)
        spot.until, spot.since = sent + lasts, got
        spot.cost, spot.decision = decision.cost, decision

    def clear(self, key: str) -> None:
        """Forget the denial of a Redis key."""
        if key in self._spots:
            self._forget(key)

    def _forget(self, key: str) -> None:
        spot = self._spots.pop(key)
        spot.until = 0.0
        for name in spot.names:
            self.by_name.pop(name, None)
