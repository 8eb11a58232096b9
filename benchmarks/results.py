"""What a run reports: one `Result` per subject and setting, in one `Run` per scenario.

The field names are the JSON's, so a script that reads the file needs no other description. A
field that does not apply to a scenario is absent from the JSON rather than null.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Measured", "Result", "Run", "median", "percentile", "ratios", "save"]


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subject under one setting: medians over the rounds unless the name says otherwise.

    Times are milliseconds. `tasks` counts the concurrent tasks of one process.
    """

    subject: str
    tasks: int
    processes: int
    rounds: int
    moment: str | None = None  # of a herd: "cold" or "expiry"
    setting: str | None = None  # of a scenario that has several: which
    per_second: float | None = None
    ratios: dict[str, float] | None = None  # per_second over each other subject's, same round
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    max_ms: float | None = None
    wall_ms: float | None = None  # of a herd: from its start to its last caller's end
    after_fill_p50_ms: float | None = None  # the last waiter, from the end of the first load
    after_fill_p99_ms: float | None = None
    after_fill_max_ms: float | None = None
    loads: int | None = None  # in all rounds
    most_loads: int | None = None  # in the worst herd
    commands: dict[str, float] | None = None  # what the server ran, mean per herd
    tracked_reads: float | None = None  # per process and herd
    reads: int | None = None
    writes: int | None = None
    unconfirmed: int | None = None  # writes whose invalidation was not acknowledged
    stale: int | None = None
    cpu_us: float | None = None  # the subject's process, per operation
    rss_mib: float | None = None  # its peak resident memory
    allowed: float | None = None  # of hits on a limit: the share that was let through
    least_share: float | None = None  # of hand-overs: the share of the process that had fewest
    acquired_per_second: float | None = None  # of a lock, by whomever: hand-overs and others
    waiter_bytes: int | None = None  # of the Python heap, for one task that waits for a lock
    client_bytes: int | None = None  # of resident memory, for one client that has been used once
    bytes_per_key: int | None = None  # of the server's memory
    errors: float | None = None  # the share of calls that raised
    failure: str | None = None  # why there are no figures


class Measured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a subject was when it was measured."""

    settings: str
    versions: dict[str, str] = {}


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One scenario on one machine."""

    scenario: str
    environment: dict[str, Any]
    results: list[Result]
    subjects: dict[str, Measured] = {}
    skipped: dict[str, str] = {}  # subjects that could not be measured, and why
    quick: bool = False


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed.

    Args:
        values: In any order, at least one.
        share: From 0 (the least value) to 1 (the greatest).
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float], digits: int = 3) -> float:
    """Return the median, rounded for reading."""
    return round(statistics.median(values), digits)


def ratios(rates: Mapping[str, Sequence[float]], subject: str) -> dict[str, float]:
    """Compare one subject with every other, round by round.

    A machine that slows down in the middle of a run slows both sides of a round, so the median
    of the rounds' ratios is steadier than the ratio of the medians.

    Args:
        rates: Each subject's rate in each round, rounds in the same order.
        subject: The numerator.
    """
    return {
        other: median([mine / theirs for mine, theirs in zip(rates[subject], rounds, strict=True)])
        for other, rounds in rates.items()
        if other != subject
    }


def save(runs: Sequence[Run], path: Path) -> None:
    """Write runs as `{"runs": [...]}`, as a ledger does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.encode({"runs": runs})
    path.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
