"""Histories of reads and writes by many processes, and the rule that no read in them is stale.

A row's version grows with every commit. An operation is recorded with two times of one clock that
all processes of the machine share (`CLOCK_MONOTONIC`): taken before it began and after it ended,
in its own process. A read is **stale** if it gave an older version than some write which had
*ended* (committed, and had its delete, by key or by tag, acknowledged or its `writing()` left)
before the read *began*. A value that is served past its time on purpose is held to the same rule:
it may be as old as it likes, but not older than that.

Being conservative on both sides, the check accuses nobody wrongly: a write that ends while
a read is under way may or may not be seen by it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["History", "Read", "Stale", "Write", "stale_reads"]


class Read(msgspec.Struct, frozen=True, array_like=True):
    """A call of `get_or_set` that returned."""

    key: int
    version: int
    began: int  # nanoseconds, before the call
    ended: int  # nanoseconds, after it


class Write(msgspec.Struct, frozen=True, array_like=True):
    """A commit followed by a delete that returned True, or one inside a `writing()`."""

    key: int
    version: int
    began: int
    ended: int  # nanoseconds, after the delete returned, or the block was left


class History(msgspec.Struct):
    """What one process did."""

    reads: list[Read] = []
    writes: list[Write] = []
    unconfirmed: int = 0  # deletes that returned False
    loads: int = 0
    stale: int = 0  # calls that were given a value past its time, on purpose


class Stale(msgspec.Struct, frozen=True):
    """A read, and a version that it should at least have given."""

    read: Read
    least: int


def stale_reads(histories: Iterable[History]) -> list[Stale]:
    """List the reads that gave less than was written before they began."""
    histories = list(histories)
    ends: dict[int, list[int]] = {}
    newest: dict[int, list[int]] = {}  # the newest version that was written by each of the ends
    writes = [write for history in histories for write in history.writes]
    for write in sorted(writes, key=lambda write: write.ended):
        ends.setdefault(write.key, []).append(write.ended)
        so_far = newest.setdefault(write.key, [])
        so_far.append(max(write.version, so_far[-1] if so_far else 0))
    found: list[Stale] = []
    for read in (read for history in histories for read in history.reads):
        before = bisect_left(ends.get(read.key, []), read.began)
        if before and read.version < newest[read.key][before - 1]:
            found.append(Stale(read, newest[read.key][before - 1]))
    return found
