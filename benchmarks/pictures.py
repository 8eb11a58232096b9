"""Which figures are drawn, of which scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import charts
from benchmarks.words import of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Result, Run

__all__ = ["charts_of"]


def charts_of(runs: Sequence[Run]) -> dict[str, str]:
    """Draw what the runs have figures for, by scenario."""
    drawn = {
        "tasks": _throughput(of(runs, "tasks")),
        "arrivals": _latency(of(runs, "arrivals")),
        "herd": _herd(of(runs, "herd")),
        "race": _stale(of(runs, "race")),
        "limit_memory": _memory(of(runs, "limit_memory")),
    }
    return {name: chart for name, chart in drawn.items() if chart is not None}


def _measured(run: Run | None) -> list[Result]:
    return [] if run is None else [one for one in run.results if one.failure is None]


def _throughput(run: Run | None) -> str | None:
    series: dict[str, list[tuple[float, float]]] = {}
    for one in _measured(run):
        if one.per_second:
            series.setdefault(one.subject, []).append((one.tasks, one.per_second))
    if not series:
        return None
    return charts.lines(series, title="GET by concurrent tasks", x="tasks", y="GETs per second")


def _kept_up(one: Result) -> bool:
    """Tell whether a subject had answers, not a queue that grows."""
    return not one.errors and (one.p99_ms or 0.0) < 100


def _latency(run: Run | None) -> str | None:
    """Draw the busiest rate that no subject fell behind."""
    results = _measured(run)
    settings = dict.fromkeys(one.setting for one in results)
    kept = [
        setting
        for setting in settings
        if all(_kept_up(one) for one in results if one.setting == setting)
    ]
    if not results:
        return None
    chosen = kept[-1] if kept else next(iter(settings))
    groups: dict[str, dict[str, float]] = {"p50": {}, "p99": {}, "p99.9": {}}
    for one in results:
        if one.setting == chosen:
            groups["p50"][one.subject] = one.p50_ms or 0.0
            groups["p99"][one.subject] = one.p99_ms or 0.0
            groups["p99.9"][one.subject] = one.p999_ms or 0.0
    return charts.dots(
        groups, title=f"A cached read, {chosen} arriving", unit="milliseconds from when it was due"
    )


def _herd(run: Run | None) -> str | None:
    groups: dict[str, dict[str, float]] = {}
    for one in _measured(run):
        group = groups.setdefault("cold" if one.moment == "cold" else "at expiry", {})
        group[one.subject] = one.after_fill_p99_ms or 0.0
    if not groups:
        return None
    return charts.dots(
        groups,
        title="1,000 callers, one load of 200 ms: how long after it the last one waits",
        unit="milliseconds after the first load's end, p99 over the herds",
    )


def _stale(run: Run | None) -> str | None:
    groups: dict[str, dict[str, float]] = {}
    for one in _measured(run):
        share = 1000 * (one.stale or 0) / max(one.reads or 0, 1)
        groups.setdefault(one.setting or "stale", {})[one.subject] = share
    if not groups:
        return None
    return charts.dots(
        groups, title="Reads older than the last finished write", unit="of 1,000 reads"
    )


def _memory(run: Run | None) -> str | None:
    series: dict[str, list[tuple[float, float]]] = {}
    for one in _measured(run):
        hits = float((one.setting or "1").split()[0].replace(",", ""))
        if one.bytes_per_key:
            series.setdefault(one.subject, []).append((hits, one.bytes_per_key))
    if not series:
        return None
    return charts.lines(series, title="What one limited key costs the server", x="hits", y="bytes")
