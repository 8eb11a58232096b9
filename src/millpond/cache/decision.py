"""What bytes under a cache key mean to a reader: pure, total, without a clock or a socket."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from millpond.cache.staleness import Soft, Standing
from millpond.core.compression import decompress
from millpond.core.entry import (
    HAS_FAILED,
    IS_SOFT,
    IS_ZSTD,
    NO_ERA,
    Kind,
    Unreadable,
    error_name,
    generation_of,
    parse,
)

if TYPE_CHECKING:
    from millpond.core.commands import Arg
    from millpond.core.entry import Header, TagVersion

__all__ = ["ABSENT", "Found", "Seen", "Verdict", "barred", "dead", "judge", "revoked", "stands"]


class Found(Enum):
    """What a reader has before it."""

    ABSENT = "absent"
    VALUE = "value"
    LEASE = "lease"  # somebody loads
    ERROR = "error"  # a load failed
    WRITE = "write"  # somebody writes: load past the cache, store nothing
    REVOKED = "revoked"  # its namespace was cleared, or a tag of it deleted: may be replaced
    DEAD = "dead"  # unreadable, or of another type or an older version: may be replaced
    BARRED = "barred"  # could not be read, or must not be claimed: load without a lease
    NEWER = "newer"  # of a newer version of this cache: must not be replaced
    OVERDUE = "overdue"  # a value past its time: load, and perhaps serve it should that fail
    OURS = "ours"  # a value that a claim has just made ours to refresh


class Seen(msgspec.Struct, frozen=True):
    """What a claim may replace: exactly what its reader saw, or nothing at all."""

    # "": the key was absent; "g": an entry, by generation; "b": foreign bytes; "s": a value by its
    # generation, which is claimed in place and stays readable
    how: str = ""
    what: bytes = b""

    def args(self) -> tuple[Arg, Arg]:
        """The claim script's last two arguments."""
        return self.how, self.what


NOTHING: Final = Seen()


class Verdict(msgspec.Struct, frozen=True):
    """A judgement on bytes; the fields that its kind does not need are empty."""

    found: Found
    generation: bytes = b""
    payload: bytes | None = None  # of a value; None is the value None
    type_name: str = ""  # of an error
    visible: bool = False  # whether an error is for everybody, not only for waiters
    reason: str = ""  # why it is dead
    seen: Seen = NOTHING  # what a claim may replace
    tags: tuple[TagVersion, ...] = ()  # worth nothing if one of these has changed
    soft: Soft | None = None  # of a value that may be served stale
    stale: bool = False  # it is, and may be served
    due: bool = False  # it may be served, and somebody should refresh it
    fallback: bool = False  # it may be served if the load fails
    left: float = 0.0  # seconds that somebody's claim of a value counts; 0: nobody's does


ABSENT: Final = Verdict(Found.ABSENT)


def judge(
    raw: bytes | None, *, version: int, fingerprint: int, era: bytes | None = NO_ERA
) -> Verdict:
    """Judge the bytes under a key for a reader of this version and type.

    Args:
        raw: What GET returned.
        version: The reader's version.
        fingerprint: Of the reader's type.
        era: Of the namespace; None: it has none, and nothing stored is worth anything.
    """
    if raw is None:
        return ABSENT
    try:
        header = parse(raw)
    except Unreadable as problem:
        return dead(raw, problem.reason)
    kind, generation = header.kind, header.generation
    if kind is Kind.LEASE:
        return Verdict(Found.LEASE, generation)
    if kind is Kind.WRITE:
        return Verdict(Found.WRITE, generation)
    if header.version > version:
        return Verdict(Found.NEWER, generation)
    if header.version < version:
        return dead(raw, f"of version {header.version}, before {version}")
    if header.fingerprint != fingerprint:
        return dead(raw, "of another type")
    if header.era != era:
        return Verdict(Found.REVOKED, seen=_seen(raw))
    if kind is Kind.ERROR:
        return Verdict(
            Found.ERROR,
            generation,
            type_name=error_name(raw, header.payload_at),
            visible=not header.for_waiters,
            seen=_seen(raw),
            tags=header.tags,
        )
    return _value(raw, header)


def _value(raw: bytes, header: Header) -> Verdict:
    """Judge a value of the reader's version and type: its payload may yet be none."""
    payload = None if header.is_none else raw[header.payload_at :]
    if payload is not None and header.flags & IS_ZSTD:
        try:
            payload = decompress(payload)
        except Unreadable as problem:
            return dead(raw, problem.reason)
    seen, soft = _seen(raw), None
    if header.flags & IS_SOFT:
        failed = header.flags & HAS_FAILED != 0
        ages = (header.created_ms, header.load_ms, header.soft_ms, header.refresh_ms)
        seen, soft = Seen("s", header.generation), Soft(*ages, failed)
    return Verdict(
        Found.VALUE, header.generation, payload=payload, seen=seen, tags=header.tags, soft=soft
    )


def stands(value: Verdict, standing: Standing, claimed: float) -> Verdict:
    """Say what a reader has before it in a value that carries its own soft expiry.

    Args:
        value: As `judge` found it.
        standing: What may be done with it.
        claimed: Milliseconds that somebody's claim of it still counts.
    """
    found, seen = Found.VALUE, Seen("s", value.generation)
    fallback = standing is Standing.OVERDUE
    if fallback or standing is Standing.SPENT:
        # Whoever loads it is waited for, as for a lease. What nobody may serve any more is replaced
        # by one; but not while it is claimed, which would revoke that load.
        found = Found.LEASE if claimed else Found.OVERDUE
        if not fallback:
            seen = NOTHING if claimed else Seen("g", value.generation)
    return Verdict(
        found,
        value.generation,
        payload=value.payload,
        seen=seen,
        tags=value.tags,
        soft=value.soft,
        stale=standing is Standing.STALE or standing is Standing.KEPT,
        due=standing is Standing.STALE or standing is Standing.EARLY,
        fallback=fallback,
        left=claimed / 1000,
    )


def revoked(verdict: Verdict) -> Verdict:
    """Judge what a change of a tag has made worthless; a refresh of it as well."""
    return Verdict(Found.REVOKED, seen=Seen("g", verdict.generation))


def dead(raw: bytes, reason: str) -> Verdict:
    """Judge bytes dead: a miss, and claimable as long as they are the same."""
    return Verdict(Found.DEAD, reason=reason, seen=_seen(raw))


def barred(reason: str) -> Verdict:
    """Judge that a key cannot be claimed now."""
    return Verdict(Found.BARRED, reason=reason)


def _seen(raw: bytes) -> Seen:
    generation = generation_of(raw)
    if generation is not None:
        return Seen("g", generation)
    return Seen("b", raw)
