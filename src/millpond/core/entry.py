r"""The bytes under a cache key: a fixed binary header, then the payload.

Scripts read the header with `string.sub` and `string.byte` at fixed offsets; Python recognises a
hit by one `startswith` (`hit_prefix`). Integers are unsigned and big-endian.

| from 0 | in Lua           | field                                                          |
|--------|------------------|----------------------------------------------------------------|
| 0-1    | sub(raw, 1, 2)   | magic `\x89M` (in Lua `'\137M'`)                               |
| 2      | byte(raw, 3)     | header version, 1                                              |
| 3      | sub(raw, 4, 4)   | kind: `v` value, `l` lease, `e` error, `w` write mark          |
| 4      | byte(raw, 5)     | flags: 1 value is None, 2 zstd, 4 tags, 8 for waiters only     |
|        |                  | flags of a write mark: 1 overlap                               |
| 5-6    | sub(raw, 6, 7)   | u16 version, the user's `version=`                             |
| 7-10   | sub(raw, 8, 11)  | u32 fingerprint of the type                                    |
| 11-18  | sub(raw, 12, 19) | generation, 8 random bytes                                     |
| 19-26  | sub(raw, 20, 27) | u64 created, ms since the epoch by the filling client's clock  |
| 27-30  | sub(raw, 28, 31) | u32 soft expiry, ms after created; 0: none                     |
| 31-34  | sub(raw, 32, 35) | u32 refresh claimed until, ms after created; 0: none           |
| 35-38  | sub(raw, 36, 39) | u32 load time, microseconds                                    |
| 39-    | sub(raw, 40)     | payload                                                        |

A lease is the first 19 bytes and nothing else. Values and errors have all 39; a value's payload is
its codec's (empty when the None flag is set), an error's is the exception's type name in UTF-8.

A write mark is the first 19 bytes, and then for each writer 21: its token of 8 bytes and 13
decimal digits, its deadline in milliseconds of the server's clock. Only scripts, which have that
clock, tell who of them has lapsed; a reader knows no more than that somebody writes, or did.

Reserved for what is to come: the flags 2 and 4 (a section of tag versions will stand
between header and payload), the refresh claim. What is not understood is never guessed at: another
header version, an unknown kind and a flag that this version does not know make an entry
*unreadable*, which is a miss.

What is unreadable can still be claimed: by its generation where it begins with this magic and
header version and is long enough to have one (`generation_of`), else by all of its bytes.
"""

from __future__ import annotations

import os
import struct
import sys
from enum import Enum

import msgspec

__all__ = [
    "FOR_WAITERS",
    "HEAD_SIZE",
    "IS_NONE",
    "LEASE_SIZE",
    "Header",
    "Kind",
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

LEASE_SIZE = 19
"""Bytes of a lease, and of the part that all kinds have."""

HEAD_SIZE = 39
"""Bytes before the payload of a value or an error: the payload is `raw[HEAD_SIZE:]`."""

IS_NONE = 1
FOR_WAITERS = 8

_START = b"\x89M\x01"
_NAME_LONGEST = 200
_U32 = 0xFFFF_FFFF
_PREFIX = struct.Struct(">3scBHI")
_LEASE = struct.Struct(">3scBHI8s")
_HEAD = struct.Struct(">3scBHI8sQIII")


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
_FLAGS = {Kind.VALUE: IS_NONE, Kind.LEASE: 0, Kind.ERROR: FOR_WAITERS, Kind.WRITE: 0xFF}


class Header(msgspec.Struct, frozen=True, gc=False):
    """An entry's header; the last four are 0 for a lease and a write mark."""

    kind: Kind
    flags: int
    version: int
    fingerprint: int
    generation: bytes
    created_ms: int = 0  # since the epoch, by the clock of the client that filled it
    soft_ms: int = 0  # after created; 0: none
    refresh_ms: int = 0  # after created; 0: none
    load_us: int = 0  # at most 71 minutes

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


def hit_prefix(version: int, fingerprint: int, *, flags: int = 0) -> bytes:
    """Return the 11 bytes that every readable value of one cache begins with.

    Args:
        version: The user's version, below 65,536.
        fingerprint: Of the cache's type.
        flags: `IS_NONE` for the prefix of a None.
    """
    return _PREFIX.pack(_START, b"v", flags, version, fingerprint)


def pack_lease(generation: bytes, version: int, fingerprint: int) -> bytes:
    """Return a lease: 19 bytes."""
    return _LEASE.pack(_START, b"l", 0, version, fingerprint, generation)


def pack_mark(generation: bytes, version: int, fingerprint: int) -> bytes:
    """Return a write mark without writers: 19 bytes."""
    return _LEASE.pack(_START, b"w", 0, version, fingerprint, generation)


def pack_value(
    generation: bytes,
    version: int,
    fingerprint: int,
    payload: bytes | None,
    *,
    created_ms: int,
    load_us: int = 0,
    soft_ms: int = 0,
    refresh_ms: int = 0,
) -> bytes:
    """Return a value's entry.

    Args:
        generation: The lease's, or a new one.
        version: The user's version.
        fingerprint: Of the cache's type.
        payload: The codec's bytes; None for the value None.
        created_ms: Milliseconds since the epoch.
        load_us: Microseconds that the load took. It and the next two stop at their largest value
            (71 minutes; 49 days: a soft expiry beyond comes early, never late).
        soft_ms: Milliseconds after created; 0: none.
        refresh_ms: Milliseconds after created; 0: none.
    """
    head = _HEAD.pack(
        _START,
        b"v",
        IS_NONE if payload is None else 0,
        version,
        fingerprint,
        generation,
        created_ms,
        min(soft_ms, _U32),
        min(refresh_ms, _U32),
        min(load_us, _U32),
    )
    return head if payload is None else head + payload


def pack_error(
    generation: bytes,
    version: int,
    fingerprint: int,
    type_name: str,
    *,
    created_ms: int,
    load_us: int = 0,
    for_waiters: bool = False,
) -> bytes:
    """Return an error's entry.

    Args:
        generation: The lease's: waiters recognise by it the load they waited for.
        version: The user's version.
        fingerprint: Of the cache's type.
        type_name: The exception's class name, cut at 200 bytes; its message is never stored.
        created_ms: Milliseconds since the epoch.
        load_us: Microseconds until it was raised.
        for_waiters: Whether those who come later treat it as a miss.
    """
    flags = FOR_WAITERS if for_waiters else 0
    load_us = min(load_us, _U32)
    name = type_name.encode(errors="replace")[:_NAME_LONGEST].decode(errors="ignore").encode()
    return (
        _HEAD.pack(_START, b"e", flags, version, fingerprint, generation, created_ms, 0, 0, load_us)
        + name
    )


def error_name(raw: bytes) -> str:
    """Return the type name in an error's entry, fit to be printed whatever the bytes are."""
    name = raw[HEAD_SIZE : HEAD_SIZE + _NAME_LONGEST].decode(errors="replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def generation_of(raw: bytes) -> bytes | None:
    """Return the generation, or None for foreign bytes; the test that the scripts make, too."""
    return raw[11:19] if len(raw) >= LEASE_SIZE and raw.startswith(_START) else None


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
    if flags & ~_FLAGS[kind]:
        raise Unreadable("unknown flags")
    if kind is Kind.LEASE or kind is Kind.WRITE:
        if kind is Kind.LEASE and size != LEASE_SIZE:
            raise Unreadable("a lease with something behind it")
        _, _, _, version, fingerprint, generation = _LEASE.unpack_from(raw)
        return Header(kind, flags, version, fingerprint, generation)
    if size < HEAD_SIZE:
        raise Unreadable("cut short")
    if flags & IS_NONE and size != HEAD_SIZE:
        raise Unreadable("a None with something behind it")
    _, _, _, version, fingerprint, generation, created, soft, refresh, load = _HEAD.unpack_from(raw)
    return Header(kind, flags, version, fingerprint, generation, created, soft, refresh, load)
