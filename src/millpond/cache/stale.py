"""Stale on purpose: a value that is served while it is refreshed, or because it cannot be.

The rules of `flight.py` and two more. What must stay true:

1. *Nothing is served that was deleted before its reader came.* Every caller serves only what its
   own GET found, which the server read after the caller came. A stale value is never handed from
   one caller to another, nor kept in the process; and since a delete removes it from Redis, nobody
   who comes later finds it.
       C reads stale v1; B commits v2, deletes, is answered; D comes, and joins C's load; the load
       fails. C may serve v1, for it came before the delete; D has nothing to serve, and raises.
2. *One refresh in the fleet.* It is claimed where it is, by a script that compares the generation
   with the one that was seen and puts its own. Of many who saw the same value one gets it; and who
   sees a claim that still counts does not ask. A killed refresher's claim ends at its deadline.
3. *What was overtaken is not stored.* The fill compares that generation: a delete has removed it, a
   write mark or a `set` has replaced it, an `expire` has changed it.
4. *A failure never takes a value's place.* Who has claimed in place and fails notes in the value
   when to try again (`stale_retry`), so that a source that is down is asked once in that time by
   the whole fleet, however many want the value.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millpond.cache.decision import Found
from millpond.cache.flight import Flight
from millpond.cache.landing import Landed
from millpond.core.entry import new_generation
from millpond.errors import BackendError, ClosedError, RemoteLoadError
from millpond.events import RefreshFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.cache.decision import Verdict
    from millpond.cache.landing import StartOver
    from millpond.cache.loaded import Loader, Revalidate
    from millpond.cache.store import Store

__all__ = ["Refresh", "begin_refresh", "failed_to_load", "fallen_back", "kept"]

T = TypeVar("T")


class Refresh(Flight[T], Generic[T]):
    """A flight that nobody waits for, over a value that is being served.

    It waits for nobody either. Callers who have found the key empty meanwhile may join it; where it
    does not load, they start over.
    """

    __slots__ = ()

    async def _fly(self) -> None:
        generation, store = new_generation(), self._store
        capture = self._capture(self._verdict)
        self._callers.mark()
        try:
            found = await store.claim(self._key, generation, self._verdict.seen)
        except BackendError as error:
            self._start_over()  # the value is served as long as it can be
            name = type(error).__qualname__
            store.client.emit(RefreshFailed(key=self._key, type_name=name, retry_after=0.0))
            return
        if found is None or found.found is Found.OURS:
            store.counters.refreshes += 1
            await self._lead(generation, capture, None if found is None else self._verdict)
        else:
            self._start_over()  # somebody else refreshes it, or it is another value by now

    def _start_over(self) -> None:
        self._land(Landed(None), 0)

    def depart(self) -> None:
        """Fly, with nobody on board."""
        store, name = self._store, self._key
        with suppress(ClosedError):  # the client is being closed, and has served its last values
            task = store.client.supervisor.start(self.run(), name=f"millpond refresh {name}")
            task.add_done_callback(self.ended)
            if not task.done():
                store.flights[name] = self


def begin_refresh(
    store: Store[T],
    name: str,
    loader: Loader[T],
    *,
    ttl: int | None,
    tags: Sequence[str],
    verdict: Verdict,
    revalidate: Revalidate[T] | None,
) -> None:
    """Refresh a value in the background, if it is due and this process does not load it already.

    Args:
        store: What the flights of one cache share.
        name: The Redis key.
        loader: Asked for the value, once.
        ttl: Milliseconds that the value may live; None: as the cache has it.
        tags: What it is to be deleted by.
        verdict: What is being served.
        revalidate: Asked instead of the loader.
    """
    flight = store.flights.get(name)
    if not verdict.due or (flight is not None and flight.lives):
        return
    Refresh(
        store, name, loader, ttl=ttl, verdict=verdict, tags=tags, revalidate=revalidate
    ).depart()


async def fallen_back(
    flight: Flight[T],
    landing: asyncio.Future[Landed[T] | StartOver],
    verdict: Verdict,
    patience: float | None,
) -> Landed[T] | StartOver:
    """Wait for a flight, and give the stale value if it fails, or takes too long.

    Args:
        flight: The flight.
        landing: The caller's place in it.
        verdict: What the caller itself has found, which may be served.
        patience: Seconds to wait at most; None: to the end.

    Raises:
        Exception: What ended the flight, if it was not the load that failed.
    """
    try:
        await asyncio.wait((landing,), timeout=patience)
    finally:
        if not landing.done():
            landing.cancel()  # it concerns nobody else
    if landing.cancelled():
        return kept(verdict)
    error = landing.exception()
    if error is None:
        return landing.result()
    if failed_to_load(flight, error):
        return kept(verdict)
    raise error


def kept(verdict: Verdict) -> Landed[T]:
    """Give what the caller itself has found, past its time."""
    return Landed(verdict.payload, stale=True)


def failed_to_load(flight: Flight[Any], error: BaseException) -> bool:
    """Tell whether it was the load that ended a flight, so that a stale value is the answer."""
    return flight.load_failed or isinstance(error, RemoteLoadError)
