"""`refresh`: a load that takes the place of a value instead of serving it.

What must stay true, beside what holds for every flight (`flight.py`): *the value that a caller of
`refresh` is given was loaded after the call began*, in any process. So a reload joins nothing that
was there before it:

- A flight of this process that was in the table when the call began may have read its row already.
  The call waits for its end and begins anew. Of many calls that wait, one begins and the others,
  who came before it, join.
- A lease of another process is waited for, and what it leaves is not taken but claimed. So is its
  claim of a value in place.

It claims by the generation that it saw, so it never replaces what it has not seen: a delete, a
write mark or another load in between is met by the next claim.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from millpond.cache.decision import ABSENT, Found, Verdict
from millpond.cache.flight import Flight
from millpond.cache.landing import Landed
from millpond.cache.waiting import seen_waiting, would_deadlock
from millpond.core.futures import consumed
from millpond.errors import LoadDeadlock

if TYPE_CHECKING:
    from millpond.cache.loaded import Loader
    from millpond.cache.store import Store

__all__ = ["Reload", "reload"]

T = TypeVar("T")


class Reload(Flight[T], Generic[T]):
    """A flight that loads whatever it finds."""

    __slots__ = ()

    def _is_loading(self, verdict: Verdict) -> bool:
        """Tell whether somebody else's load is to be waited for: a refresh as well."""
        return verdict.left > 0 or super()._is_loading(verdict)

    def _take(self, verdict: Verdict) -> Verdict | None:
        """Land with nothing that was read: values and errors are there to be replaced."""
        if verdict.found is Found.VALUE or verdict.found is Found.ERROR:
            return verdict
        return super()._take(verdict)


async def reload(
    store: Store[T],
    name: str,
    loader: Loader[T],
    ttl: int | None,
    tags: tuple[str, ...] = (),
) -> Landed[T]:
    """Load one key and store it over what is there; shared by calls that came before it began.

    Args:
        store: What the flights of one cache share.
        name: The Redis key.
        loader: Asked for the value, once.
        ttl: Milliseconds that the value may live; None: as the cache has it.
        tags: What it is to be deleted by.

    Raises:
        LoadDeadlock: It would wait for the load that it is called in.
        Exception: As a flight's callers are given.
    """
    flights = store.flights
    too_early = flights.get(name)
    while True:
        flight = flights.get(name)
        if flight is None or not flight.lives:
            flight = Reload(store, name, loader, ttl=ttl, verdict=ABSENT, tags=tags)
            landing = flight.begin("refresh")
        elif would_deadlock(flight):
            raise LoadDeadlock(name)
        elif flight is too_early or not isinstance(flight, Reload):
            await seen_waiting(flight, _over(flight))
            continue
        else:
            landing = flight.join()
        landed = await seen_waiting(flight, landing)
        if isinstance(landed, Landed):
            return landed


async def _over(flight: Flight[T]) -> None:
    """Wait for the end of a flight, whatever it brings."""
    landing = flight.join()
    landing.add_done_callback(consumed)
    await asyncio.wait((landing,))
