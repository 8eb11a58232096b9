"""The documentation's page of results, and its charts, from the JSON of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import budget, report
from benchmarks.ledger import Ledger
from benchmarks.losses import losses
from benchmarks.pictures import charts_of
from benchmarks.scenarios import NAMES, scenario

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.results import Run

__all__ = ["PAGE", "ordered", "read", "render", "write"]

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "benchmarks.md"

_HEAD = """# Benchmarks

<!-- Written by `python -m benchmarks report`: change that, not this. -->

Every figure here was measured by `python -m benchmarks run`, which `nox -s bench` does on your
machine as well. **Only ratios within one scenario mean something**: its subjects took turns in one
run, each in a fresh process, on one server, and the rates are medians over the rounds. How it is
done, and what a closed loop's latencies are worth, is said in `benchmarks/README.md`; with which
settings and versions, at [the end of the page](#how-each-was-set-up).
"""
_GOALS = """
What millpond has set itself, at 100 concurrent tasks where nothing else is said. Where a line is
missed it says what the goal would take, as a multiple of the least that can be done, measured in
the same run: `floor` asks and decodes on one bare connection and checks nothing, `bare-dependency`
makes FastAPI ask Redis for one key and limits nothing. Above 1 x the goal asks for more than that
least reaches. How millpond itself stands to it is in the scenario's table.
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
    return ordered(found.values())


def ordered(runs: Iterable[Run]) -> list[Run]:
    """Sort runs as pages show them; what is no scenario any more goes."""
    return sorted((run for run in runs if run.scenario in NAMES), key=_place)


def _place(run: Run) -> int:
    return NAMES.index(run.scenario)


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
    page.write_text(render(runs, folder.name), "utf-8")
    return "\n".join(str(one) for one in (page, *(folder / f"{name}.svg" for name in drawn)))


def render(runs: Sequence[Run], folder: str = PAGE.stem) -> str:
    """Write the page.

    Args:
        runs: What it is about.
        folder: Where its charts are, beside it.
    """
    drawn = charts_of(runs)
    parts = [_HEAD, *_conditions(runs), *_budgets(runs)]
    parts += ["## Where millpond loses", *_lost(runs), "## What was not measured", _missing(runs)]
    for run in runs:
        parts += _section(run, folder if run.scenario in drawn else None)
    parts += _settings(runs)
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
    commit, _, changed = (where.get("commit") or "none").partition("-")
    quick = ", a quick run" if run.quick else ""
    return (
        f"{where['cpu']}, {where['cores']} cores, {where['memory_mib'] / 1024:.0f} GiB; "
        f"{where['python']}; {server['name']} {server['version']} over {server['transport']}; "
        f"redis-py {packages['redis']}, hiredis {packages['hiredis']}, msgspec "
        f"{packages['msgspec']}, uvloop {packages['uvloop']}; {where['time'][:10]}, commit "
        f"{commit[:12]}{' with changes' if changed else ''}{quick}."
    )


def _budgets(runs: Sequence[Run]) -> list[str]:
    rows = [
        (f"`{line.scenario}`", line.goal, line.measured, line.verdict)
        for line in budget.judge(runs)
    ]
    return [
        "## Budgets",
        _GOALS,
        _markdown(("scenario", "goal", "measured", ""), rows),
    ]


def _section(run: Run, folder: str | None) -> list[str]:
    summary = scenario(run.scenario).SUMMARY
    parts = [f"## `{run.scenario}`", f"{summary[:1].upper()}{summary[1:]}{_rounds(run)}."]
    if folder is not None:
        parts.append(f"![{run.scenario}]({folder}/{run.scenario}.svg)")
    if run.results:
        headers = [name for name, _ in report.columns(run)]
        parts += [_markdown(headers, report.rows(run)), report.NOTES[run.scenario]]
    notes = [f"- {subject} was skipped: {why}" for subject, why in run.skipped.items()]
    notes += [
        f"- {one.subject} failed ({one.setting or f'{one.tasks} tasks'}): {one.failure}"
        for one in run.results
        if one.failure is not None
    ]
    if notes:
        parts.append("\n".join(notes))
    return parts


def _rounds(run: Run) -> str:
    counts = {one.rounds for one in run.results if one.failure is None}
    if not counts:
        return ""
    least, most = min(counts), max(counts)
    return f"; {f'{least} to ' if least < most else ''}{most} round{'s' if most > 1 else ''}"


def _settings(runs: Sequence[Run]) -> list[str]:
    """Say once how a subject was set up, however many scenarios it was in."""
    found: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for subject, one in run.subjects.items():
            said = f"{_versions(one.versions)}: {one.settings}."
            found.setdefault(subject, {}).setdefault(said, []).append(f"`{run.scenario}`")
    lines: list[str] = []
    for subject, ways in found.items():
        for said, names in ways.items():
            where = f" in {', '.join(names)}" if len(ways) > 1 else ""
            lines.append(f"- **{subject}**{where} {said}")
    if not lines:
        return []
    return [
        "## How each was set up",
        "All run on uvloop; whatever speaks through redis-py has hiredis beside it.",
        "\n".join(lines),
    ]


def _versions(versions: Mapping[str, str]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"({named})" if named else ""


def _lost(runs: Sequence[Run]) -> list[str]:
    found = losses(runs)
    if not found:
        return ["In no figure that was measured, by more than 5 %."]
    return [
        "Every figure in which some rival was better by more than 5 %, with the best of them:",
        _markdown(
            ("figure", "scenario", "where", "best rival", "", "millpond"),
            [
                (one.figure, f"`{one.scenario}`", one.situation, one.rival, one.theirs, one.own)
                for one in found
            ],
        ),
    ]


def _missing(runs: Sequence[Run]) -> str:
    there = {run.scenario for run in runs}
    missing = [f"`{name}`" for name in NAMES if name not in there]
    lines = [f"- {one}" for one in _BEYOND]
    if missing:
        lines.append(f"- Scenarios that are not in these results: {', '.join(missing)}.")
    for run in runs:
        measured = {one.subject for one in run.results if one.failure is None}
        absent = [one for one in scenario(run.scenario).SUBJECTS if one not in measured]
        if absent:
            lines.append(f"- `{run.scenario}` without {', '.join(absent)}.")
    return "\n".join(lines)


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; columns of numbers are aligned to the right."""
    right = [
        bool(rows) and all(report.is_figure(row[at]) or not row[at] for row in rows)
        for at in range(len(headers))
    ]
    lines = [
        f"| {' | '.join(headers)} |",
        f"|{'|'.join('--:' if one else '---' for one in right)}|",
    ]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)
