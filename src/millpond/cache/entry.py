"""`Entry`: a value, and what HTTP needs to know of it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from millpond.core.entry import IS_SOFT, parse

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Entry", "EntrySource", "described", "read_entry", "seconds_left"]

T = TypeVar("T")

EntrySource: TypeAlias = Literal["redis", "loader"]
"""Where an entry's value came from."""


class Entry(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A value with its age and its future, as `get_entry` found it.

    For HTTP: `Age` is `int(entry.age)`, and `Cache-Control: max-age` counts from the value's
    origin, so it is `int(entry.age + entry.fresh_for)`; without an `Age` header it is
    `int(entry.fresh_for)`.

    Attributes:
        value: The value.
        age: Seconds since it was stored, by the clocks of the process that stored it and of this
            one, which may differ; never negative.
        ttl: Seconds until Redis forgets it, which is past `fresh_for` where the cache keeps stale
            values; infinite if somebody has made it stay (`PERSIST`); 0
            if it was not stored, so that nobody downstream should keep it either.
        fresh_for: Seconds until it is stale; as `ttl` where the cache serves nothing stale.
        stale: Whether it is past that already, or a tag of it was expired.
        source: `"redis"`, or `"loader"`: this very call has loaded it.
    """

    value: T
    age: float
    ttl: float
    fresh_for: float
    stale: bool
    source: EntrySource


def read_entry(value: T, raw: bytes, pttl: int, *, stale: bool = False) -> Entry[T]:
    """Describe a value that was found.

    Args:
        value: Decoded.
        raw: The bytes under its key, of which the header is read.
        pttl: What `PTTL` said right after.
        stale: Whether it is, whatever its header says: a tag of it was expired.
    """
    header: Any = parse(raw)
    age = max(0.0, time.time() - header.created_ms / 1000)
    ttl = seconds_left(pttl)
    soft = header.flags & IS_SOFT != 0
    fresh_for = min(ttl, max(0.0, header.soft_ms / 1000 - age)) if soft else ttl
    stale = stale or (soft and header.soft_ms / 1000 <= age)
    fresh_for = 0.0 if stale else fresh_for
    return Entry(value=value, age=age, ttl=ttl, fresh_for=fresh_for, stale=stale, source="redis")


def described(value: T, entry: Entry[T] | None, *, loaded: bool, stale: bool = False) -> Entry[T]:
    """Describe a value that was loaded, or waited for.

    Args:
        value: What the call is to return.
        entry: What is stored now; None: nothing.
        loaded: Whether this very call has loaded it.
        stale: Whether it was served because it could not be loaded.
    """
    source: EntrySource = "loader" if loaded and not stale else "redis"
    if entry is not None and (stale or not entry.stale):
        return replace(entry, source=source)
    # It was not stored; or what is there was made stale during the load, and is the older one.
    return Entry(value=value, age=0.0, ttl=0.0, fresh_for=0.0, stale=stale, source=source)


def seconds_left(pttl: int) -> float:
    """Say in seconds what `PTTL` said of a key that is there: infinite if it stays."""
    return math.inf if pttl == -1 else max(0, pttl) / 1000
