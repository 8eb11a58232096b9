r"""The bytes under a cache key: a fixed binary header, perhaps two sections, then the payload.

Scripts read the header with `string.sub` and `string.byte` at fixed offsets; Python recognises a
hit by one comparison (`hit_prefix`). Integers are unsigned and big-endian.

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

import struct
from enum import Enum
from typing import TypeAlias

__all__ = [
    "ERA_SIZE",
    "FLAGS",
    "FOR_WAITERS",
    "HAS_FAILED",
    "HAS_TAGS",
    "HEAD",
    "HEAD_SIZE",
    "HIT_SIZE",
    "IS_NONE",
    "IS_SOFT",
    "IS_ZSTD",
    "KINDS",
    "LARGEST_PAYLOAD",
    "LEASE",
    "LEASE_SIZE",
    "LONGEST_LOAD",
    "LONGEST_NAME",
    "NO_ERA",
    "PREFIX",
    "SIZE",
    "SOFT",
    "SOFT_SIZE",
    "START",
    "TAG_VERSION_SIZE",
    "U16",
    "U32",
    "Kind",
    "TagVersion",
]

LEASE_SIZE = 25
"""Bytes of a lease, and of the part that all kinds have."""

HIT_SIZE = 17
"""Bytes that all values which a cache can read begin with, where they have no flags: the era ends
here."""

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

START = b"\x89M\x01"
LONGEST_NAME = 200
TAG_VERSION_SIZE = 12
U16 = 0xFFFF
U32 = 0xFFFF_FFFF
LONGEST_LOAD = 65504.0  # milliseconds: the largest half-precision float
PREFIX = struct.Struct(f">3scBHI{ERA_SIZE}s")
LEASE = struct.Struct(f">3scBHI{ERA_SIZE}s8s")
HEAD = struct.Struct(f">3scBHI{ERA_SIZE}s8sHIe")
SOFT = struct.Struct(">II")
SIZE = struct.Struct(">H")

TagVersion: TypeAlias = tuple[str, bytes]
"""A tag, as its key names it, and the 12 bytes that were its version."""


class Kind(Enum):
    """What an entry is; the value is its byte."""

    VALUE = b"v"
    LEASE = b"l"
    ERROR = b"e"
    WRITE = b"w"


KINDS = {kind.value[0]: kind for kind in Kind}
FLAGS = {
    Kind.VALUE: IS_NONE | IS_ZSTD | HAS_TAGS | IS_SOFT | HAS_FAILED,
    Kind.LEASE: 0,
    Kind.ERROR: HAS_TAGS | FOR_WAITERS,
    Kind.WRITE: 0xFF,
}
