"""Where a rival was better than millpond: found by comparing every figure, not by choosing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.words import OURS, REFERENCES, is_ours, situation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.results import Result, Run

__all__ = ["Loss", "losses"]

_MARGIN = 1.05  # what differs by less is the machine's noise

_Figure = tuple[str, bool, "Callable[[Result], float | None]", str]

# What it is called, whether more of it is better, where it is found, its unit.
_FIGURES: tuple[_Figure, ...] = (
    ("stale reads", False, lambda one: one.stale, ""),
    ("calls that raised", False, lambda one: one.errors, ""),
    ("rate", True, lambda one: one.per_second, "/s"),
    ("acquisitions", True, lambda one: one.acquired_per_second, "/s"),
    ("fairness between processes", True, lambda one: one.least_share, ""),
    ("last caller after the load, p50", False, lambda one: one.after_fill_p50_ms, " ms"),
    ("last caller after the load, p99", False, lambda one: one.after_fill_p99_ms, " ms"),
    ("p50", False, lambda one: one.p50_ms, " ms"),
    ("p99", False, lambda one: one.p99_ms, " ms"),
    ("p99.9", False, lambda one: one.p999_ms, " ms"),
    ("longest", False, lambda one: one.max_ms, " ms"),
    ("CPU per operation", False, lambda one: one.cpu_us, " µs"),
    ("memory of a waiting task", False, lambda one: one.waiter_bytes, " B"),
    ("memory of a client", False, lambda one: one.client_bytes, " B"),
    ("server memory", False, lambda one: one.bytes_per_key, " B"),
    ("peak memory", False, lambda one: one.rss_mib, " MiB"),
)


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """One figure in which a rival was better, in words."""

    figure: str
    scenario: str
    situation: str
    rival: str  # the best
    theirs: str
    own: str


def losses(runs: Sequence[Run]) -> list[Loss]:
    """List the figures in which a rival beat millpond, figure by figure."""
    return [
        lost
        for figure in _FIGURES
        for run in runs
        for mine in run.results
        if mine.subject == OURS and mine.failure is None
        if (lost := _lost(run, mine, figure)) is not None
    ]


def _same(one: Result, other: Result) -> bool:
    return (one.setting, one.moment, one.tasks, one.processes) == (
        other.setting,
        other.moment,
        other.tasks,
        other.processes,
    )


def _lost(run: Run, mine: Result, figure: _Figure) -> Loss | None:
    name, more_is_better, read, unit = figure
    own = read(mine)
    theirs = [
        (value, one.subject)
        for one in run.results
        if not is_ours(one.subject) and one.subject not in REFERENCES
        if one.failure is None and _same(one, mine)
        if (value := read(one)) is not None
    ]
    if own is None or not theirs:
        return None
    best, subject = max(theirs) if more_is_better else min(theirs)
    lost = best > own * _MARGIN if more_is_better else best * _MARGIN < own
    if not lost:
        return None
    return Loss(
        figure=name,
        scenario=run.scenario,
        situation=situation(mine),
        rival=subject,
        theirs=f"{_number(best)}{unit}",
        own=f"{_number(own)}{unit}",
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.2f}"
