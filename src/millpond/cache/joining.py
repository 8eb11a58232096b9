"""A miss: join the load of the key that this process has under way, or begin one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from millpond.cache.decision import Found
from millpond.cache.flight import Flight
from millpond.cache.landing import Landed
from millpond.cache.stale import fallen_back
from millpond.cache.waiting import seen_waiting, would_deadlock
from millpond.errors import LoadDeadlock, RemoteLoadError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from millpond.cache.decision import Verdict
    from millpond.cache.landing import StartOver
    from millpond.cache.loaded import Loader, Revalidate
    from millpond.cache.store import Store

__all__ = ["join_or_begin"]

T = TypeVar("T")


async def join_or_begin(
    store: Store[T],
    name: str,
    loader: Loader[T],
    *,
    ttl: int | None,
    tags: Sequence[str],
    verdict: Verdict,
    revalidate: Revalidate[T] | None,
) -> Landed[T] | None:
    """Wait for what the key's flight brings.

    Args:
        store: What the flights of one cache share.
        name: The Redis key.
        loader: Asked for the value, once, if the flight begins here.
        ttl: Milliseconds that the value may live; None: as the cache has it.
        tags: What it is to be deleted by.
        verdict: What the caller itself has found.
        revalidate: Asked instead of the loader, where there is a value to be refreshed.

    Returns:
        None: start over.

    Raises:
        RemoteLoadError: An error is there that is for everybody.
        LoadDeadlock: It would wait for the load that it is called in.
        Exception: As a flight's callers are given.
    """
    if verdict.found is Found.ERROR and verdict.visible:
        raise RemoteLoadError(name, verdict.type_name)
    flight = store.flights.get(name)
    if flight is None or not flight.lives:
        flight = Flight(
            store, name, loader, ttl=ttl, verdict=verdict, tags=tags, revalidate=revalidate
        )
        landing = flight.begin()
    elif would_deadlock(flight):
        raise LoadDeadlock(name)
    else:
        landing = flight.join()
    answer: Awaitable[Landed[T] | StartOver] = landing
    if verdict.fallback:
        answer = fallen_back(flight, landing, verdict, store.stale_after)
    landed = await seen_waiting(flight, answer)
    if not isinstance(landed, Landed):
        return None
    store.counters.stale += landed.stale
    return landed
