"""Reads that are no plain hit: what bytes under a key are worth, and values with their ages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from millpond.cache.decision import Found, Verdict, dead
from millpond.cache.entry import described, read_entry
from millpond.cache.joining import join_or_begin
from millpond.cache.landing import Landed
from millpond.cache.missing import MISSING, Missing
from millpond.cache.stale import begin_refresh
from millpond.errors import BackendError

if TYPE_CHECKING:
    from millpond.cache.entry import Entry
    from millpond.cache.loaded import Loaded, Loader, NotModified, Revalidate
    from millpond.cache.store import Store
    from millpond.cache.verdicts import Looked

__all__ = ["Observed", "entry_at", "found_at", "read_or_load_entry", "taken"]

T = TypeVar("T")


async def taken(
    store: Store[T], name: str, raw: bytes | None, looked: Looked | None = None
) -> tuple[T | Missing, Verdict]:
    """Say what bytes under a key are, the long way, and take the value out of them.

    Args:
        store: Of the cache.
        name: The Redis key.
        raw: What GET returned.
        looked: The versions of tags that were asked for beside it.

    Redis: one GET for each tag that was not asked for.
    """
    verdict = store.verdicts.judge(name, raw)
    if verdict.tags:
        try:
            verdict = await store.verdicts.settled(verdict, looked)
        except BackendError as error:
            return MISSING, store.verdicts.barred(name, error)
    if verdict.found is not Found.VALUE:
        return MISSING, verdict
    value = store.unload(name, Landed(verdict.payload))
    return value, dead(raw or b"", "") if value is MISSING else verdict


async def found_at(
    store: Store[T], name: str, tags: tuple[str, ...] = ()
) -> tuple[T | Missing, Verdict, bytes, int]:
    """Read a value, what it is worth, the bytes it was in, and its milliseconds.

    Redis: GET and PTTL, in one batch, with a GET for the namespace's version and each tag.
    """
    store.versions.ask()
    looked = store.versions.look(tags) if tags else None
    try:
        raw, pttl = await store.client.pipeline([("GET", name), ("PTTL", name)])
    except BackendError as error:
        return MISSING, store.verdicts.barred(name, error), b"", 0
    return (*await taken(store, name, raw, looked), raw or b"", pttl)


async def entry_at(store: Store[T], name: str) -> Entry[T] | None:
    """Read a value with its age and its time to live.

    Redis: as `found_at`.
    """
    value, found, raw, pttl = await found_at(store, name)
    return None if value is MISSING else read_entry(value, raw, pttl, stale=found.stale)


class Observed(Generic[T]):
    """A loader of which is known whether it has loaded.

    Attributes:
        loaded: Whether it has.
        instead: What is asked where there is a value to be refreshed; None: the loader.
    """

    __slots__ = ("_loader", "_revalidate", "instead", "loaded")

    def __init__(self, loader: Loader[T], revalidate: Revalidate[T] | None) -> None:
        """Watch these."""
        self._loader = loader
        self._revalidate = revalidate
        self.instead: Revalidate[T] | None = self._ask if revalidate else None
        self.loaded = False

    async def load(self) -> T | Loaded[T]:
        """Load."""
        value = await self._loader()
        self.loaded = True
        return value

    async def _ask(self, old: T) -> T | Loaded[T] | NotModified:
        value = await cast("Revalidate[T]", self._revalidate)(old)
        self.loaded = True
        return value


async def read_or_load_entry(
    store: Store[T], name: str, loader: Observed[T], *, ttl: int | None, tags: tuple[str, ...]
) -> Entry[T]:
    """Read a value, or load and store it, with its age and its time to live.

    Args:
        store: Of the cache.
        name: The Redis key.
        loader: Asked for the value.
        ttl: Milliseconds that the value may live; None: as the cache has it.
        tags: What it is to be deleted by.

    Raises:
        Exception: As `Cache.get_or_set`.

    Redis: as `found_at`, before the load and after it.
    """
    missed = False
    while True:
        value, found, raw, pttl = await found_at(store, name, tags)
        if value is not MISSING:
            store.counters.hits += 1
            store.counters.stale += found.stale
            if found.soft is not None:
                begin_refresh(
                    store,
                    name,
                    loader.load,
                    ttl=ttl,
                    tags=tags,
                    verdict=found,
                    revalidate=loader.instead,
                )
            return read_entry(value, raw, pttl, stale=found.stale)
        store.counters.misses += not missed
        missed, came = True, time.monotonic()
        landed = await join_or_begin(
            store,
            name,
            loader.load,
            ttl=ttl,
            tags=tags,
            verdict=found,
            revalidate=loader.instead,
        )
        value = MISSING if landed is None else store.unload(name, landed)
        if landed is None or value is MISSING:
            continue
        entry = await entry_at(store, name)
        if entry is None and landed.stale and found.fallback:
            # What this call itself has found, and a load elsewhere may be replacing by now.
            left = pttl if pttl < 0 else pttl - round((time.monotonic() - came) * 1000)
            return read_entry(value, raw, left, stale=True)
        return described(value, entry, loaded=loader.loaded, stale=landed.stale)
