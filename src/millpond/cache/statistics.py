"""A cache's counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from millpond.cache.near import Near

__all__ = ["CacheStatistics", "Counters"]


class CacheStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a cache of this process has done; every field counts since it was made."""

    hits: int  # calls answered by a stored value
    misses: int  # calls of get_or_set and get that found none
    stale: int  # calls answered by a value past its time, on purpose
    refreshes: int  # loads begun while the value that they replace was served
    kept: int  # loads that failed, and left a stale value where it was
    loads: int  # values asked of loaders; a call for many counts one for each key
    load_failures: int  # loaders that raised or ran too long
    waits: int  # loads of other processes that were waited for
    bypassed: int  # calls that a mode led past the cache
    unleased_loads: int  # loaders called without the fleet's lease
    refused_fills: int  # values not stored: deleted, replaced or expired meanwhile
    unreadable: int  # entries that were no entry of this cache
    unconfirmed_deletes: int  # deletes that Redis did not acknowledge
    flights: int  # loads and waits going on now
    near_hits: int  # those of the hits that were answered by this process's own memory
    near_entries: int  # copies there now
    near_bytes: int  # and their size, as `NearCache.max_bytes` counts it

    @property
    def hit_ratio(self) -> float:
        """Hits among all reads, 0 to 1; 0 before the first read."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0


class Counters:
    """The same, while counting."""

    __slots__ = (
        "bypassed",
        "hits",
        "kept",
        "load_failures",
        "loads",
        "misses",
        "refreshes",
        "refused_fills",
        "stale",
        "unconfirmed_deletes",
        "unleased_loads",
        "unreadable",
        "waits",
    )

    def __init__(self) -> None:
        """Start at nothing."""
        self.hits = 0
        self.misses = 0
        self.stale = 0
        self.refreshes = 0
        self.kept = 0
        self.loads = 0
        self.load_failures = 0
        self.waits = 0
        self.bypassed = 0
        self.unleased_loads = 0
        self.refused_fills = 0
        self.unreadable = 0
        self.unconfirmed_deletes = 0

    def frozen(self, flights: int, near: Near[Any] | None) -> CacheStatistics:
        """Take a snapshot."""
        entries, size = (0, 0) if near is None else near.size
        return CacheStatistics(
            flights=flights,
            near_hits=0 if near is None else near.hits,
            near_entries=entries,
            near_bytes=size,
            **{name: getattr(self, name) for name in self.__slots__},
        )
