"""The documentation's page of results, and its charts, from the JSON of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import budget, charts, report
from benchmarks.ledger import Ledger
from benchmarks.losses import losses
from benchmarks.scenarios import NAMES, scenario
from benchmarks.words import of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.results import Result, Run

__all__ = ["PAGE", "charts_of", "read", "render", "write"]

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "benchmarks.md"

_HEAD = """# Benchmarks

<!-- Written by `python -m benchmarks report`: change that, not this. -->

Every figure here was measured by `python -m benchmarks run`, which `nox -s bench` does on your
machine as well. **Only ratios within one scenario mean something**: its subjects took turns in one
run, each in a fresh process, on one server. How it is done, and what a closed loop's latencies are
worth, is said in `benchmarks/README.md`; what each subject was set to stands below its table.
"""
_BEYOND = (
    "TLS, and a network between client and server: both were on one machine, over loopback.",
    "Redis Cluster, Sentinel and replicas.",
    "Servers that are full, that persist, or that serve others at the same time.",
    "Other interpreters and machines than those named, and more cores than these.",
    "Rivals with other settings than those stated, which may suit them better elsewhere.",
)


def read(files: Sequence[Path]) -> list[Run]:
    """Read runs; of a scenario that several files have, the last.

    Raises:
        LedgerUnreadable: A file is not there, or not one of ours.
    """
    found: dict[str, Run] = {}
    for file in files:
        for run in Ledger.load(file).runs:
            found[run.scenario] = run
    return [found[name] for name in NAMES if name in found]


def write(files: Sequence[Path], page: Path = PAGE) -> str:
    """Write page and charts; return what was written, for people.

    Args:
        files: Results of runs.
        page: Where to; the charts go into a folder of the same name beside it.
    """
    runs = read(files)
    page.parent.mkdir(parents=True, exist_ok=True)
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    drawn = charts_of(runs)
    for name, chart in drawn.items():
        (folder / f"{name}.svg").write_text(chart, "utf-8")
    page.write_text(render(runs), "utf-8")
    return "\n".join(str(one) for one in (page, *(folder / f"{name}.svg" for name in drawn)))


def render(runs: Sequence[Run]) -> str:
    """Write the page."""
    drawn = charts_of(runs)
    parts = [_HEAD, *_conditions(runs), *_budgets(runs)]
    for run in runs:
        parts += _section(run, drawn)
    parts += ["## Where millpond loses", *_lost(runs), "## What was not measured", _missing(runs)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


# -- the parts -------------------------------------------------------------------------------------


def _conditions(runs: Sequence[Run]) -> list[str]:
    """Name machine, versions and times, once for the runs that share them."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        groups.setdefault(_machine(run), []).append(f"`{run.scenario}`")
    if len(groups) == 1:
        return ["## On what", next(iter(groups))]
    rows = [(", ".join(names), machine) for machine, names in groups.items()]
    return ["## On what", _markdown(("scenarios", "machine, interpreter, server"), rows)]


def _machine(run: Run) -> str:
    where = run.environment
    server, packages = where["server"], where["packages"]
    commit = (where.get("commit") or "no commit")[:12]
    quick = ", a quick run" if run.quick else ""
    return (
        f"{where['cpu']}, {where['cores']} cores, {where['memory_mib'] / 1024:.0f} GiB; "
        f"{where['python']}; {server['name']} {server['version']} over {server['transport']}; "
        f"redis-py {packages['redis']}, hiredis {packages['hiredis']}, msgspec "
        f"{packages['msgspec']}, uvloop {packages['uvloop']}; {where['time'][:10]}, commit "
        f"{commit}{quick}."
    )


def _budgets(runs: Sequence[Run]) -> list[str]:
    rows = [
        (f"`{line.scenario}`", line.goal, line.measured, line.verdict)
        for line in budget.judge(runs)
    ]
    return [
        "## Budgets",
        "What millpond has set itself, at 100 concurrent tasks where nothing else is said.",
        _markdown(("scenario", "goal", "measured", ""), rows),
    ]


def _section(run: Run, drawn: Mapping[str, str]) -> list[str]:
    summary = scenario(run.scenario).SUMMARY
    parts = [f"## `{run.scenario}`", f"{summary[:1].upper()}{summary[1:]}."]
    if run.scenario in drawn:
        parts.append(f"![{run.scenario}](benchmarks/{run.scenario}.svg)")
    if run.results:
        headers = [name for name, _ in report.columns(run)]
        parts += [_markdown(headers, report.rows(run)), report.NOTES[run.scenario]]
    notes = [f"- {subject} was skipped: {why}" for subject, why in run.skipped.items()]
    notes += [
        f"- {one.subject} failed ({one.setting or f'{one.tasks} tasks'}): {one.failure}"
        for one in run.results
        if one.failure is not None
    ]
    notes += [
        f"- **{subject}** {_versions(one.versions)}: {one.settings}."
        for subject, one in run.subjects.items()
    ]
    if notes:
        parts.append("\n".join(notes))
    return parts


def _versions(versions: Mapping[str, str]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"({named})" if named else ""


def _lost(runs: Sequence[Run]) -> list[str]:
    found = [f"- `{run.scenario}`, {one}." for run in runs for one in losses(run)]
    if not found:
        return ["In no figure that was measured, by more than 5 %."]
    return [
        "Every figure in which some rival was better by more than 5 %, with the best of them:",
        "\n".join(found),
    ]


def _missing(runs: Sequence[Run]) -> str:
    there = {run.scenario for run in runs}
    missing = [f"`{name}`" for name in NAMES if name not in there]
    lines = [f"- {one}" for one in _BEYOND]
    if missing:
        lines.append(f"- Scenarios that are not in these results: {', '.join(missing)}.")
    return "\n".join(lines)


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; columns of numbers are aligned to the right."""
    right = [
        bool(rows) and all(row[at][:1].isdigit() or row[at] in {"-", ""} for row in rows)
        for at in range(len(headers))
    ]
    lines = [
        f"| {' | '.join(headers)} |",
        f"|{'|'.join('--:' if one else '---' for one in right)}|",
    ]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


# -- the charts ------------------------------------------------------------------------------------


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
