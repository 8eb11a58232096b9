"""What may be done with a value that carries its own soft expiry: pure, its clock and dice given.

A cache with `stale_while_revalidate`, `stale_if_error` or `early_refresh` keeps values past their
TTL, and says in each when it becomes stale (`soft`) and until when somebody counts on refreshing it
(`refresh`). In the course of time a value is

    fresh, perhaps due early (XFetch) | stale, and served while one caller's refresh runs
    | overdue: loaded as if it were not there, and served only if that fails | spent: not there

and the two windows both begin at the soft expiry: a value is spent when it is past either.

Which of the fleet refreshes is decided by the claim, not here. A reader who sees that somebody has
claimed the value, or that a load of it has failed a moment ago, does not even try.

Optimal Probabilistic Cache Stampede Prevention (Vattani, Chierichetti, Lowenstein, 2015) is where
the early refresh comes from: a value that took long to load is refreshed earlier.
"""

from __future__ import annotations

import math
import random
import time
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NEVER", "Soft", "Staleness", "Standing", "standing"]

NEVER = 40.0
"""Load times before the end at which nobody refreshes yet: none draws a number of exp(-40)."""


class Soft(NamedTuple):
    """What a value says of itself; milliseconds."""

    created: int  # since the epoch
    load: float
    soft: int  # after created
    refresh: int  # after created; 0: nobody has claimed it, 1: a claim that keeps nobody out
    failed: bool  # instead of being claimed, it waits until then for the next try


class Standing(Enum):
    """What to do with a value."""

    FRESH = "fresh"  # serve it
    EARLY = "early"  # serve it and refresh it: it is about to become stale
    STALE = "stale"  # serve it and refresh it
    KEPT = "kept"  # stale: serve it; somebody refreshes it, or has tried a moment ago
    OVERDUE = "overdue"  # load, and serve it should that fail
    SPENT = "spent"  # load


class Staleness(NamedTuple):
    """A cache's choices; milliseconds.

    Attributes:
        while_revalidate: How long it is served while it is refreshed.
        if_error: How long it is served if it cannot be loaded.
        retry: How long nobody tries again after a load that failed.
        early: XFetch's beta; 0: no early refresh.
    """

    while_revalidate: int = 0
    if_error: int = 0
    retry: int = 0
    early: float = 0.0

    @property
    def kept(self) -> int:
        """How long values are kept past their soft expiry."""
        return max(self.while_revalidate, self.if_error)

    @property
    def wanted(self) -> bool:
        """Whether values of the cache carry a soft expiry at all."""
        return self != Staleness(retry=self.retry)


def standing(
    staleness: Staleness,
    value: Soft,
    now: float | None = None,
    *,
    ahead: float = 0.0,
    expired: bool = False,
    draw: Callable[[], float] = random.random,
) -> tuple[Standing, float]:
    """Judge a value.

    Args:
        staleness: The reader's choices.
        value: What the value says of itself.
        now: Milliseconds since the epoch; None: by this process's clock.
        ahead: Milliseconds by which that clock is known to be ahead of the server's, by which
            claims are made.
        expired: Whether it has been made stale before its time.
        draw: Gives a random number, at least 0 and less than 1.

    Returns:
        What to do with it; and how many milliseconds somebody's claim of it still counts, 0 if
        nobody's does.
    """
    age = (time.time() * 1000 if now is None else now) - value.created
    left = value.refresh - (age - ahead) if value.refresh > 1 else 0.0
    claimed = 0.0 if value.failed or left <= 0 else left
    past = max(age - value.soft, 0.0) if expired else age - value.soft
    if past < 0:
        reach = value.load * staleness.early
        if -past < reach * NEVER and left <= 0 and -reach * math.log(1.0 - draw()) >= -past:
            return Standing.EARLY, claimed
        return Standing.FRESH, claimed
    if past < staleness.while_revalidate:
        return (Standing.KEPT if left > 0 else Standing.STALE), claimed
    if past < staleness.if_error:
        return (Standing.KEPT if value.failed and left > 0 else Standing.OVERDUE), claimed
    return Standing.SPENT, claimed
