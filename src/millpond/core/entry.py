"""Entries: what is under a cache key, packed into bytes and read from them.

Where each byte is, is told in `layout.py`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from millpond.core.layout import (
    ERA_SIZE,
    FLAGS,
    FOR_WAITERS,
    HAS_FAILED,
    HAS_TAGS,
    HEAD,
    HEAD_SIZE,
    HIT_SIZE,
    IS_NONE,
    IS_SOFT,
    IS_ZSTD,
    KINDS,
    LARGEST_PAYLOAD,
    LEASE,
    LEASE_SIZE,
    LONGEST_LOAD,
    LONGEST_NAME,
    NO_ERA,
    PREFIX,
    SIZE,
    SOFT,
    SOFT_SIZE,
    START,
    TAG_VERSION_SIZE,
    U16,
    U32,
    Kind,
    TagVersion,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ERA_SIZE",
    "FOR_WAITERS",
    "HAS_FAILED",
    "HAS_TAGS",
    "HEAD_SIZE",
    "HIT_SIZE",
    "IS_NONE",
    "IS_SOFT",
    "IS_ZSTD",
    "LARGEST_PAYLOAD",
    "LEASE_SIZE",
    "NO_ERA",
    "SOFT_SIZE",
    "Header",
    "Kind",
    "TagVersion",
    "Unreadable",
    "error_name",
    "generation_of",
    "hit_prefix",
    "new_generation",
    "pack_error",
    "pack_lease",
    "pack_mark",
    "pack_value",
    "parse",
]


class Unreadable(Exception):
    """Bytes that are no entry, or no value of the cache's type: a miss and an event.

    Attributes:
        reason: What is wrong with them, without quoting any value.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class Header(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry's header and sections; all from `created_ms` on is nothing for leases and marks."""

    kind: Kind
    flags: int
    version: int
    fingerprint: int
    era: bytes
    generation: bytes
    created_ms: int = 0  # since the epoch, by the clock of the client that filled it
    load_ms: float = 0.0  # at most 65 seconds; to three digits
    soft_ms: int = 0  # after created; only with `IS_SOFT`
    refresh_ms: int = 0  # after created; 0: none; with `HAS_FAILED` that of the next try
    tags: tuple[TagVersion, ...] = ()
    payload_at: int = HEAD_SIZE

    @property
    def is_none(self) -> bool:
        """Whether this is a value, and the value is None."""
        return self.flags & IS_NONE != 0 and self.kind is Kind.VALUE

    @property
    def for_waiters(self) -> bool:
        """Whether this is an error that only those who waited for it may see."""
        return self.flags & FOR_WAITERS != 0 and self.kind is Kind.ERROR


# Random bytes are drawn in blocks: a system call costs more than everything else in a claim. A
# forked child holds a copy of what the parent has drawn and not used, and two processes must never
# claim with one generation, so the child throws it away.
_drawn: list[bytes] = []
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_drawn.clear)


def new_generation() -> bytes:
    """Return 8 random bytes that no other process has, forked ones included."""
    try:
        return _drawn.pop()
    except IndexError:
        block = os.urandom(8 * 256)
        _drawn.extend(block[at : at + 8] for at in range(8, len(block), 8))
        return block[:8]


def hit_prefix(version: int, fingerprint: int, era: bytes, *, flags: int = 0) -> bytes:
    """Return the 17 bytes that every readable value of one cache and era begins with.

    Args:
        version: The user's version, below 65,536.
        fingerprint: Of the cache's type.
        era: Of the namespace.
        flags: Those that the value has; without any it has no sections either.
    """
    return PREFIX.pack(START, b"v", flags, version, fingerprint, era)


def pack_lease(generation: bytes, version: int, fingerprint: int, era: bytes = NO_ERA) -> bytes:
    """Return a lease: 25 bytes."""
    return LEASE.pack(START, b"l", 0, version, fingerprint, era, generation)


def pack_mark(generation: bytes, version: int, fingerprint: int) -> bytes:
    """Return a write mark without writers: 25 bytes."""
    return LEASE.pack(START, b"w", 0, version, fingerprint, NO_ERA, generation)


def pack_value(
    generation: bytes,
    version: int,
    fingerprint: int,
    payload: bytes | None,
    *,
    created_ms: int,
    era: bytes = NO_ERA,
    flags: int = 0,
    load_ms: float = 0.0,
    soft_ms: int | None = None,
    refresh_ms: int = 0,
    tags: Sequence[TagVersion] = (),
) -> bytes:
    """Return a value's entry.

    Args:
        generation: The lease's, or a new one.
        version: The user's version.
        fingerprint: Of the cache's type.
        payload: The codec's bytes; None for the value None.
        created_ms: Milliseconds since the epoch.
        era: Of the namespace, from before the load.
        flags: `IS_ZSTD`, or none; the others are known from the rest.
        load_ms: Milliseconds that the load took.
        soft_ms: Milliseconds after created from which it is stale; None: it is never served stale
            and has no such section. It and the next stop at 49 days: a soft expiry beyond comes
            early, never late.
        refresh_ms: Milliseconds after created; 0: nobody refreshes it.
        tags: With the versions from before the load.
    """
    sections = b""
    if payload is None:
        flags |= IS_NONE
    if soft_ms is not None:
        flags |= IS_SOFT
        sections = SOFT.pack(min(soft_ms, U32), min(refresh_ms, U32))
    if tags:
        flags |= HAS_TAGS
        sections += _pack_tags(tags)
    head = _pack_head(
        b"v",
        flags,
        generation,
        version=version,
        fingerprint=fingerprint,
        era=era,
        created_ms=created_ms,
        load_ms=load_ms,
    )
    return head + sections + (payload or b"")


def pack_error(
    generation: bytes,
    version: int,
    fingerprint: int,
    type_name: str,
    *,
    created_ms: int,
    era: bytes = NO_ERA,
    load_ms: float = 0.0,
    for_waiters: bool = False,
    tags: Sequence[TagVersion] = (),
) -> bytes:
    """Return an error's entry.

    Args:
        generation: The lease's: waiters recognise by it the load they waited for.
        version: The user's version.
        fingerprint: Of the cache's type.
        type_name: The exception's class name, cut at 200 bytes; its message is never stored.
        created_ms: Milliseconds since the epoch.
        era: Of the namespace, from before the load.
        load_ms: Milliseconds until it was raised.
        for_waiters: Whether those who come later treat it as a miss.
        tags: As of a value.
    """
    flags = (FOR_WAITERS if for_waiters else 0) | (HAS_TAGS if tags else 0)
    name = type_name.encode(errors="replace")[:LONGEST_NAME].decode(errors="ignore").encode()
    head = _pack_head(
        b"e",
        flags,
        generation,
        version=version,
        fingerprint=fingerprint,
        era=era,
        created_ms=created_ms,
        load_ms=load_ms,
    )
    return head + (_pack_tags(tags) if tags else b"") + name


def _pack_head(
    kind: bytes,
    flags: int,
    generation: bytes,
    *,
    version: int,
    fingerprint: int,
    era: bytes,
    created_ms: int,
    load_ms: float,
) -> bytes:
    high, low = created_ms >> 32 & U16, created_ms & U32
    load = min(max(load_ms, 0.0), LONGEST_LOAD)
    return HEAD.pack(START, kind, flags, version, fingerprint, era, generation, high, low, load)


def _pack_tags(tags: Sequence[TagVersion]) -> bytes:
    parts: list[bytes] = []
    for tag, version in tags:
        name = tag.encode()
        parts += (SIZE.pack(len(name)), name, version)
    section = b"".join(parts)
    return SIZE.pack(len(section)) + section


def error_name(raw: bytes, at: int = HEAD_SIZE) -> str:
    """Return the type name in an error's entry, fit to be printed whatever the bytes are.

    Args:
        raw: The entry.
        at: Where the name begins: `payload_at` of its header.
    """
    name = raw[at : at + LONGEST_NAME].decode(errors="replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def generation_of(raw: bytes) -> bytes | None:
    """Return the generation, or None for foreign bytes; the test that the scripts make, too."""
    return raw[17:25] if len(raw) >= LEASE_SIZE and raw.startswith(START) else None


def parse(raw: bytes) -> Header:
    """Read a header, checking everything before the payload.

    Args:
        raw: Any bytes at all.

    Returns:
        The header. Its version and fingerprint are those of whoever wrote it: compare them.

    Raises:
        Unreadable: The bytes are no entry that this version understands. Nothing else is raised.
    """
    size = len(raw)
    if size < LEASE_SIZE or not raw.startswith(START):
        raise Unreadable("not an entry of header version 1")
    kind = KINDS.get(raw[3])
    if kind is None:
        raise Unreadable("unknown kind")
    flags = raw[4]
    failed_alone = kind is Kind.VALUE and flags & (IS_SOFT | HAS_FAILED) == HAS_FAILED
    if flags & ~FLAGS[kind] or failed_alone:
        raise Unreadable("unknown flags")
    if kind is Kind.LEASE or kind is Kind.WRITE:
        if kind is Kind.LEASE and size != LEASE_SIZE:
            raise Unreadable("a lease with something behind it")
        _, _, _, version, fingerprint, era, generation = LEASE.unpack_from(raw)
        return Header(
            kind=kind,
            flags=flags,
            version=version,
            fingerprint=fingerprint,
            era=era,
            generation=generation,
        )
    if size < HEAD_SIZE:
        raise Unreadable("cut short")
    _, _, _, version, fingerprint, era, generation, high, low, load = HEAD.unpack_from(raw)
    at, soft, refresh = HEAD_SIZE, 0, 0
    tags: tuple[TagVersion, ...] = ()
    if flags & IS_SOFT:
        if size < at + SOFT.size:
            raise Unreadable("cut short")
        soft, refresh = SOFT.unpack_from(raw, at)
        at += SOFT.size
    if flags & HAS_TAGS:
        tags, at = _parse_tags(raw, at)
    if flags & IS_NONE and (size != at or flags & IS_ZSTD):
        raise Unreadable("a None with something behind it")
    return Header(
        kind=kind,
        flags=flags,
        version=version,
        fingerprint=fingerprint,
        era=era,
        generation=generation,
        created_ms=high << 32 | low,
        load_ms=load if 0 <= load <= LONGEST_LOAD else 0.0,
        soft_ms=soft,
        refresh_ms=refresh,
        tags=tags,
        payload_at=at,
    )


def _parse_tags(raw: bytes, at: int) -> tuple[tuple[TagVersion, ...], int]:
    """Read the section of tags; return them and where it ends."""
    size = len(raw)
    if size < at + 2 or size < (end := at + 2 + SIZE.unpack_from(raw, at)[0]):
        raise Unreadable("cut short in its tags")
    tags: list[TagVersion] = []
    at += 2
    while at < end:
        if end < at + 2:
            raise Unreadable("its tags are none")
        begins = at + 2
        at = begins + SIZE.unpack_from(raw, at)[0]
        name, version = raw[begins:at], raw[at : at + TAG_VERSION_SIZE]
        at += TAG_VERSION_SIZE
        if at > end:
            raise Unreadable("its tags are none")
        try:
            tags.append((name.decode(), version))
        except UnicodeDecodeError:
            raise Unreadable("its tags are none") from None
    return tuple(tags), end
