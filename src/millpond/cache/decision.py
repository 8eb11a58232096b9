"""What bytes under a cache key mean to a reader: pure, total, without a clock or a socket."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from millpond.core.entry import NO_ERA, Kind, Unreadable, error_name, generation_of, parse

if TYPE_CHECKING:
    from millpond.core.commands import Arg
    from millpond.core.entry import TagVersion

__all__ = ["ABSENT", "Found", "Seen", "Verdict", "barred", "dead", "judge"]


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


class Seen(msgspec.Struct, frozen=True):
    """What a claim may replace: exactly what its reader saw, or nothing at all."""

    how: str = ""  # "": the key was absent; "g": an entry, by generation; "b": foreign bytes
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
    payload = None if header.is_none else raw[header.payload_at :]
    return Verdict(Found.VALUE, generation, payload=payload, seen=_seen(raw), tags=header.tags)


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
