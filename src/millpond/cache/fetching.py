"""Many values, loaded where there is none: read all, fly for those that miss, read again for those
that must start over, until every key has a value, a reason, or the loader's word that it has none.
What is served and due is refreshed meanwhile, and waited for by nobody.

The keys of a round are waited for together. A key that must start over does so when the round has
landed: it waits for its fellows, never for anybody's permission, so there is no circle in it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from millpond.cache.bulk import (
    NOTHING,
    BulkFlight,
    BulkRefresh,
    BulkReload,
    Loads,
    called,
    dealt,
)
from millpond.cache.decision import ABSENT, Found, Verdict
from millpond.cache.landing import Landed, StartOver
from millpond.cache.loaded import Loaded
from millpond.cache.many import read_many
from millpond.cache.missing import MISSING
from millpond.cache.reload import Reload
from millpond.cache.stale import failed_to_load, kept
from millpond.cache.waiting import current, would_deadlock
from millpond.core.keys import Key
from millpond.errors import (
    BackendError,
    ClosedError,
    ConfigError,
    LoadDeadlock,
    LoadManyFailed,
    LoadTimeout,
    RemoteLoadError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millpond.cache.bulk import LoadMany
    from millpond.cache.flight import Flight
    from millpond.cache.store import Store

__all__ = ["Fetch", "Warmed", "load_past"]

T = TypeVar("T")
K = TypeVar("K", bound=Key)

_SHOWN = 3  # keys named in a message
_KEPT = 100  # errors


class Warmed(msgspec.Struct, frozen=True, kw_only=True):
    """What `warm` has done.

    Attributes:
        present: Values that were there already, or that others loaded meanwhile.
        loaded: Values that the loader brought.
        stored: Of these, how many Redis has now: the others were deleted or written meanwhile, or
            Redis is out of reach.
        absent: Keys of which the loader said nothing.
        failed: Keys whose load failed.
        errors: Why, by key; of the first hundred.
    """

    present: int = 0
    loaded: int = 0
    stored: int = 0
    absent: int = 0
    failed: int = 0
    errors: dict[Any, Exception] = {}

    def and_then(self, more: Warmed) -> Warmed:
        """Add up."""
        counts = {
            name: getattr(self, name) + getattr(more, name)
            for name in ("present", "loaded", "stored", "absent", "failed")
        }
        errors = islice((self.errors | more.errors).items(), _KEPT)
        return Warmed(**counts, errors=dict(errors))


class Fetch(Generic[K, T]):
    """One call for many keys.

    Attributes:
        values: What there is, by Redis key.
        errors: Why there is no more, by Redis key.
        own: The flights that this call began.
    """

    def __init__(
        self,
        store: Store[T],
        names: Mapping[K, str],
        name: Callable[[Any], str],
        load_many: LoadMany[K, T],
        *,
        ttl: int | None,
        tags: tuple[str, ...] = (),
    ) -> None:
        """Prepare.

        Args:
            store: What the flights of the cache share.
            names: The Redis key of each key.
            name: Makes a Redis key of one.
            load_many: The loader.
            ttl: Milliseconds that values may live; None: as the cache has it.
            tags: What those that are loaded are to be deleted by.
        """
        self.values: dict[str, T] = {}
        self.errors: dict[str, Exception] = {}
        self.own: dict[str, BulkFlight[T]] = {}
        self._found: dict[K, T] = {}
        self._store = store
        self._names = names
        self._keys = _first_spellings(names)
        self._new_loads = partial(Loads[K, T], store, self._keys, name, load_many)
        self._loads = self._new_loads()
        self._ttl = ttl
        self._tags = tags

    async def read_or_load(self, *, due: bool = True) -> None:
        """Read what there is, and load the rest.

        Args:
            due: Whether values that are due are refreshed.

        Raises:
            LoadDeadlock: A key can only come from the load that asks.
            BackendError: Redis is out of reach, and that is not to be hidden.
        """
        counters = self._store.counters
        missing: Mapping[K, str] = self._names
        counters.misses += len(missing)
        while missing:
            found, missed, served = await read_many(self._store, missing)
            if due and served:
                self._refresh(served)
            counters.hits += len(found)
            if missing is self._names:
                counters.misses -= len(found)
            self._found.update(found)
            for name, verdict in list(missed.items()):
                if verdict.found is Found.ERROR and verdict.visible:
                    self.errors[name] = RemoteLoadError(name, verdict.type_name)
                    del missed[name]
            over = await self._fly(missed)
            missing = dict[K, str]([(k, name) for k, name in missing.items() if name in over])

    async def reload(self) -> None:
        """Load all, whatever there is; give nothing that was loaded before this call.

        Raises:
            LoadDeadlock: A key can only come from the load that asks.
        """
        flights = self._store.flights
        too_early = {name: flights.get(name) for name in self._keys}
        missing = list(self._keys)
        while missing:
            over = await self._fly(dict.fromkeys(missing, ABSENT), too_early)
            missing = list[str](filter(over.__contains__, missing))

    def _refresh(self, served: Mapping[str, Verdict]) -> None:
        """Refresh these in the background, those that this process does not load already."""
        flights, loads = self._store.flights, self._new_loads()
        # All are there before the first departs, as in `_fly`.
        begun = [
            BulkRefresh[T](loads, name, ttl=self._ttl, verdict=verdict, tags=self._tags)
            for name, verdict in served.items()
            if (flight := flights.get(name)) is None or not flight.lives
        ]
        for flight in begun:
            flight.depart()

    async def _fly(
        self,
        verdicts: Mapping[str, Verdict],
        too_early: Mapping[str, Flight[T] | None] | None = None,
    ) -> set[str]:
        """Join the flight of each key, or begin one; return the keys that are to start over."""
        flights = self._store.flights
        joined: dict[str, Flight[T]] = {}
        begun: dict[str, BulkFlight[T]] = {}
        passing: set[str] = set()
        for name in verdicts:
            flight = flights.get(name)
            if flight is None or not flight.lives:
                continue
            if would_deadlock(flight):
                raise LoadDeadlock(name)
            joined[name] = flight
            if too_early is not None and (
                flight is too_early[name] or not isinstance(flight, Reload)
            ):
                passing.add(name)
        # All are there before the first begins: with eager tasks it would make a call for itself.
        kind = BulkFlight[T] if too_early is None else BulkReload[T]
        for name, verdict in verdicts.items():
            if name not in joined:
                begun[name] = kind(
                    self._loads, name, ttl=self._ttl, verdict=verdict, tags=self._tags
                )
        self.own.update(begun)
        # Nothing is joined yet, should the client be closed and the first not begin.
        landings = [self._landing(flight, flight.begin()) for flight in begun.values()]
        landings += [self._landing(flight, flight.join()) for flight in joined.values()]
        flown: dict[str, Flight[T]] = {**begun, **joined}
        patience = self._patience(dict(zip(flown, landings, strict=True)), verdicts)
        try:
            answers = await asyncio.gather(*landings, return_exceptions=True)
        finally:
            if patience is not None:
                patience.cancel()
        over: set[str] = set()
        for (name, flight), answer in zip(flown.items(), answers, strict=True):
            stale: Landed[T] | None = None
            if isinstance(answer, Exception) and verdicts[name].fallback:
                stale = kept(verdicts[name]) if failed_to_load(flight, answer) else None
            if name in passing or not self._take(name, stale or answer):
                over.add(name)
        return over

    def _patience(
        self,
        landings: Mapping[str, asyncio.Future[Landed[T] | StartOver]],
        verdicts: Mapping[str, Verdict],
    ) -> asyncio.TimerHandle | None:
        """Have stale values be the answer for which nothing better has come by `stale_after`."""
        seconds = self._store.stale_after
        if seconds is None or not any(verdicts[name].fallback for name in landings):
            return None

        def give_up() -> None:
            for name, landing in landings.items():
                if verdicts[name].fallback and not landing.done():
                    landing.set_result(kept(verdicts[name]))  # it concerns nobody else

        return asyncio.get_running_loop().call_later(seconds, give_up)

    def _landing(
        self, flight: Flight[T], landing: asyncio.Future[Landed[T] | StartOver]
    ) -> asyncio.Future[Landed[T] | StartOver]:
        """Be seen to wait by whoever looks for circles, until the flight has landed."""
        here = current.get()
        if here is not None:
            here.wait_for(flight)
            landing.add_done_callback(lambda _: here.waited_for(flight))
        return landing

    def _take(self, name: str, answer: Landed[T] | StartOver | BaseException) -> bool:
        """Take what a flight brought; whether there is nothing left to do for the key."""
        if isinstance(answer, Landed):
            value = self._store.unload(name, answer)
            if value is MISSING:
                return False
            self.values[name] = value
            self._store.counters.stale += answer.stale
        elif isinstance(answer, Exception):
            self.errors[name] = answer
        elif isinstance(answer, BaseException):
            raise answer
        return answer is NOTHING or not isinstance(answer, StartOver)

    # -- what came of it --------------------------------------------------------------------

    def result(self) -> dict[K, T]:
        """Return the values, by the caller's keys, in their order.

        Raises:
            LoadManyFailed: Some keys failed, or the loader gave keys that nobody asked for.
            Exception: What the loader raised as a whole, and what concerns no single key: Redis is
                out of reach, the client was closed, a deadlock.
        """
        self.check()
        values: dict[K, T] = {}
        for key, name in self._names.items():
            if key in self._found:
                values[key] = self._found[key]
            elif name in self.values:
                values[key] = self.values[name]
        errors = self.reasons()
        if errors:
            raise LoadManyFailed(values, errors) from next(iter(errors.values()))
        return values

    def check(self) -> None:
        """Raise what concerns the call and no single key.

        Raises:
            Exception: As `result`, but for `LoadManyFailed`.
        """
        loads = self._loads
        for error in self.errors.values():
            if (
                error is loads.raised
                or isinstance(error, BackendError | ClosedError | LoadDeadlock)
                or (isinstance(error, LoadTimeout) and error.key in loads.asked)
            ):
                raise error

    def reasons(self) -> dict[Any, Exception]:
        """Return why there are no values, by the caller's keys."""
        errors: dict[Any, Exception] = {self._keys[name]: e for name, e in self.errors.items()}
        return errors | _strangers(self._loads.strange)

    def warmed(self) -> Warmed:
        """Say what was done.

        Raises:
            Exception: As `check`.
        """
        self.check()
        errors = self.reasons()
        loaded = sum(flight.loaded for flight in self.own.values())
        there = len(set(map(self._names.__getitem__, self._found)) | self.values.keys())
        return Warmed(
            present=there - sum(self.own[n].loaded for n in self.values if n in self.own),
            loaded=loaded,
            stored=sum(flight.stored for flight in self.own.values()),
            absent=len(self._keys) - there - len(self.errors),
            failed=len(errors),
            errors=errors,
        )


async def load_past(
    names: Mapping[K, str], name: Callable[[Any], str], load_many: LoadMany[K, T]
) -> dict[K, T]:
    """Call a loader of many with every key, past any cache.

    Raises:
        LoadManyFailed: As with the cache.
        Exception: What the loader raises.
    """
    keys = _first_spellings(names)
    given, strange = dealt(await called(load_many, list(keys.values())) if keys else {}, name, keys)
    values: dict[K, T] = {}
    errors: dict[Any, Exception] = {}
    for key, known in names.items():
        if known not in given:
            continue
        if isinstance(given[known], Exception):
            errors[key] = given[known]
        else:
            value = given[known]
            values[key] = cast("Loaded[T]", value).value if isinstance(value, Loaded) else value
    errors |= _strangers(strange)
    if errors:
        raise LoadManyFailed(values, errors) from next(iter(errors.values()))
    return values


def _first_spellings(names: Mapping[K, str]) -> dict[str, K]:
    keys: dict[str, K] = {}
    for key, name in names.items():
        keys.setdefault(name, key)
    return keys


def _strangers(keys: list[Any]) -> dict[Any, Exception]:
    """Say of keys that nobody asked for that they are a mistake."""
    if not keys:
        return {}
    shown = ", ".join(map(repr, keys[:_SHOWN])) + (", ..." if len(keys) > _SHOWN else "")
    error = ConfigError(
        f"the loader of many gave {len(keys)} keys that it was not asked for ({shown}); give each "
        "value under its key from the list, and leave others out"
    )
    return dict.fromkeys(keys, error)
