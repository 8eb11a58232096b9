r"""The bytes under a cache key: a fixed binary header, perhaps two sections, then the payload.

Scripts read the header with `string.sub` and `string.byte` at fixed offsets; Python recognises a
hit by one `startswith` (`hit_prefix`). Integers are unsigned and big-endian.

| from 0 | in Lua           | field                                                          |
|--------|------------------|----------------------------------------------------------------|
| 0-1    | sub(raw, 1, 2)   | magic `\x89M` (in Lua `'\137M'`)                               |
| 2      | byte(raw, 3)     | header version, 1                                              |
| 3      | sub(raw, 4, 4)   | kind: `v` value, `l` lease, `e` error, `w` write mark          |
| 4      | byte(raw, 5)     | flags: 1 value is None, 2 zstd, 4 tags, 8 for waiters only,    |
|        |                  | 16 may be served stale, 32 its last load failed;               |
|        |                  | flags of a write mark: 1 overlap                               |
| 5-6    | sub(raw, 6, 7)   | u16 version, the user's `version=`                             |
| 7-10   | sub(raw, 8, 11)  | u32 fingerprint of the type                                    |
| 11-16  | sub(raw, 12, 17) | era of the namespace: 6 random bytes, others after `clear()`   |
| 17-24  | sub(raw, 18, 25) | generation, 8 random bytes                                     |
| 25-30  | sub(raw, 26, 31) | u48 created, ms since the epoch by the filling client's clock  |
| 31-32  | sub(raw, 32, 33) | load time, ms as a half-precision float                        |
| 33-    | sub(raw, 34)     | sections, payload                                              |

A lease is the first 25 bytes and nothing else. Values and errors have all 33; a value's payload is
its codec's (empty when the None flag is set, one Zstandard frame of it with the zstd flag), an
error's is the exception's type name in UTF-8.

What not every entry needs is a section that its flag announces, in this order:

- flag 16: u32 soft expiry and u32 "refresh claimed until", both in ms after created. With it bytes
  33-40, in Lua sub(raw, 34, 37) and sub(raw, 38, 41). With flag 32 nobody has claimed it: the load
  of whoever had has failed, and until then nobody need try again;
- flag 4: u16 bytes that follow, and in these for each tag u16 bytes of its name, the name in UTF-8
  and its version of 12 bytes: six that `delete_tags` changes, six that `expire_tags` changes.

A write mark is the first 25 bytes, and then for each writer 21: its token of 8 bytes and 13
decimal digits, its deadline in milliseconds of the server's clock. Only scripts, which have that
clock, tell who of them has lapsed; a reader knows no more than that somebody writes, or did.

What is not understood is never guessed at: another header version, an unknown kind and a flag that
this version does not know make an entry *unreadable*, which is a miss. What is unreadable can still
be claimed: by its generation where it begins with this magic and header version and is long enough
to have one (`generation_of`), else by all of its bytes.
"""

from __future__ import annotations

import os
import struct
import sys
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ERA_SIZE",
    "FOR_WAITERS",
    "HAS_FAILED",
    "HAS_TAGS",
    "HEAD_SIZE",
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

LEASE_SIZE = 25
"""Bytes of a lease, and of the part that all kinds have."""

HEAD_SIZE = 33
"""Bytes before the sections and the payload of a value or an error."""

LARGEST_PAYLOAD = 64 * 2**20
"""Bytes of a value before it is compressed; `Codec.encode` refuses more."""

ERA_SIZE = 6
NO_ERA = bytes(ERA_SIZE)

IS_NONE = 1
IS_ZSTD = 2
HAS_TAGS = 4
FOR_WAITERS = 8
IS_SOFT = 16
HAS_FAILED = 32

SOFT_SIZE = 41
"""Bytes before the payload of a value that may be served stale and has no tags."""

_START = b"\x89M\x01"
_NAME_LONGEST = 200
_TAG_VERSION = 12
_U16 = 0xFFFF
_U32 = 0xFFFF_FFFF
_LONGEST_LOAD = 65504.0  # milliseconds: the largest half-precision float
_PREFIX = struct.Struct(f">3scBHI{ERA_SIZE}s")
_LEASE = struct.Struct(f">3scBHI{ERA_SIZE}s8s")
_HEAD = struct.Struct(f">3scBHI{ERA_SIZE}s8sHIe")
_SOFT = struct.Struct(">II")
_SIZE = struct.Struct(">H")

TagVersion: TypeAlias = tuple[str, bytes]
"""A tag, as its key names it, and the 12 bytes that were its version."""


class Unreadable(Exception):
    """Bytes that are no entry, or no value of the cache's type: a miss and an event.

    Attributes:
        reason: What is wrong with them, without quoting any value.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class Kind(Enum):
    """What an entry is; the value is its byte."""

    VALUE = b"v"
    LEASE = b"l"
    ERROR = b"e"
    WRITE = b"w"


_KINDS = {kind.value[0]: kind for kind in Kind}
_FLAGS = {
    Kind.VALUE: IS_NONE | IS_ZSTD | HAS_TAGS | IS_SOFT | HAS_FAILED,
    Kind.LEASE: 0,
    Kind.ERROR: HAS_TAGS | FOR_WAITERS,
    Kind.WRITE: 0xFF,
}


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
    return _PREFIX.pack(_START, b"v", flags, version, fingerprint, era)


def pack_lease(generation: bytes, version: int, fingerprint: int, era: bytes = NO_ERA) -> bytes:
    """Return a lease: 25 bytes."""
    return _LEASE.pack(_START, b"l", 0, version, fingerprint, era, generation)


def pack_mark(generation: bytes, version: int, fingerprint: int) -> bytes:
    """Return a write mark without writers: 25 bytes."""
    return _LEASE.pack(_START, b"w", 0, version, fingerprint, NO_ERA, generation)


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
        sections = _SOFT.pack(min(soft_ms, _U32), min(refresh_ms, _U32))
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
    name = type_name.encode(errors="replace")[:_NAME_LONGEST].decode(errors="ignore").encode()
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
    high, low = created_ms >> 32 & _U16, created_ms & _U32
    load = min(max(load_ms, 0.0), _LONGEST_LOAD)
    return _HEAD.pack(_START, kind, flags, version, fingerprint, era, generation, high, low, load)


def _pack_tags(tags: Sequence[TagVersion]) -> bytes:
    parts: list[bytes] = []
    for tag, version in tags:
        name = tag.encode()
        parts += (_SIZE.pack(len(name)), name, version)
    section = b"".join(parts)
    return _SIZE.pack(len(section)) + section


def error_name(raw: bytes, at: int = HEAD_SIZE) -> str:
    """Return the type name in an error's entry, fit to be printed whatever the bytes are.

    Args:
        raw: The entry.
        at: Where the name begins: `payload_at` of its header.
    """
    name = raw[at : at + _NAME_LONGEST].decode(errors="replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def generation_of(raw: bytes) -> bytes | None:
    """Return the generation, or None for foreign bytes; the test that the scripts make, too."""
    return raw[17:25] if len(raw) >= LEASE_SIZE and raw.startswith(_START) else None


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
    if size < LEASE_SIZE or not raw.startswith(_START):
        raise Unreadable("not an entry of header version 1")
    kind = _KINDS.get(raw[3])
    if kind is None:
        raise Unreadable("unknown kind")
    flags = raw[4]
    failed_alone = kind is Kind.VALUE and flags & (IS_SOFT | HAS_FAILED) == HAS_FAILED
    if flags & ~_FLAGS[kind] or failed_alone:
        raise Unreadable("unknown flags")
    if kind is Kind.LEASE or kind is Kind.WRITE:
        if kind is Kind.LEASE and size != LEASE_SIZE:
            raise Unreadable("a lease with something behind it")
        _, _, _, version, fingerprint, era, generation = _LEASE.unpack_from(raw)
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
    _, _, _, version, fingerprint, era, generation, high, low, load = _HEAD.unpack_from(raw)
    at, soft, refresh = HEAD_SIZE, 0, 0
    tags: tuple[TagVersion, ...] = ()
    if flags & IS_SOFT:
        if size < at + _SOFT.size:
            raise Unreadable("cut short")
        soft, refresh = _SOFT.unpack_from(raw, at)
        at += _SOFT.size
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
        load_ms=load if 0 <= load <= _LONGEST_LOAD else 0.0,
        soft_ms=soft,
        refresh_ms=refresh,
        tags=tags,
        payload_at=at,
    )


def _parse_tags(raw: bytes, at: int) -> tuple[tuple[TagVersion, ...], int]:
    """Read the section of tags; return them and where it ends."""
    size = len(raw)
    if size < at + 2 or size < (end := at + 2 + _SIZE.unpack_from(raw, at)[0]):
        raise Unreadable("cut short in its tags")
    tags: list[TagVersion] = []
    at += 2
    while at < end:
        if end < at + 2:
            raise Unreadable("its tags are none")
        begins = at + 2
        at = begins + _SIZE.unpack_from(raw, at)[0]
        name, version = raw[begins:at], raw[at : at + _TAG_VERSION]
        at += _TAG_VERSION
        if at > end:
            raise Unreadable("its tags are none")
        try:
            tags.append((name.decode(), version))
        except UnicodeDecodeError:
            raise Unreadable("its tags are none") from None
    return tuple(tags), end
