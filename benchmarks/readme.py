"""The tables in README.md and in docs, written from a run's JSON so that no figure is typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import page
from benchmarks.results import save
from benchmarks.words import OURS, REFERENCES, at_hundred, is_ours, name, of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.results import Result, Run

__all__ = [
    "FIGURES",
    "PAGES",
    "ROOT",
    "NotPublishable",
    "keep",
    "render",
    "render_page",
    "replace_table",
    "update",
]

ROOT = Path(__file__).parent.parent
FIGURES = Path(__file__).parent / "measured.json"
PAGES = {
    "writes": ROOT / "docs" / "how-to" / "writes.md",
    "outage": ROOT / "docs" / "explanation" / "outages.md",
}
"""Scenarios whose table stands in a page of their own as well."""
_RATES = {
    "get": "`GET`",
    "hit": "cached read, typed",
    "near": "read from the near cache",
    "miss": "miss: claim, load, store",
    "lock": "lock and release, uncontended",
    "lock_contended": "lock handed over, 50 waiters",
    "limit": "rate limit, 10,000 keys",
    "limit_denied": "rate limit, denied",
}
_WEB = {
    "web": "one cached read",
    "web_limit": "behind a rate limit",
    "web_page": "whole response from the cache",
}


class NotPublishable(Exception):
    """Results that no page of the documentation may show; the message is one line."""


def keep(files: Sequence[Path], figures: Path = FIGURES) -> None:
    """Put the scenarios of these files in the place of what was kept of them.

    Args:
        files: Results of runs; of a scenario that several have, the last.
        figures: What is kept.

    Raises:
        NotPublishable: One of them was a quick run.
        LedgerUnreadable: A file is not there, or not one of ours.
    """
    found = page.read(files)
    quick = [run.scenario for run in found if run.quick]
    if quick:
        raise NotPublishable(
            f"{', '.join(quick)}: of a quick run, which is for looking; run again without --quick"
        )
    there = {run.scenario for run in found}
    known = [run for run in page.read([figures]) if run.scenario not in there]
    save(page.ordered([*known, *found]), figures)


def render(runs: Sequence[Run]) -> str:
    """Write README's tables: rates, web applications, herds, stale reads."""
    lines = [_machine(runs[0]), ""]
    tables = (
        _rates(runs),
        _tasks(runs),
        _web(runs),
        _herd(of(runs, "herd")),
        _race(of(runs, "race")),
    )
    for table in filter(None, tables):
        lines += [*table, ""]
    return "\n".join(lines)


def render_page(scenario: str, runs: Sequence[Run]) -> str:
    """Write the table of a scenario that has a page of its own."""
    run = of(runs, scenario)
    if run is None:
        return (
            f"Not among the figures kept: measure it with `python -m benchmarks run {scenario}`.\n"
        )
    table = {"writes": _writes, "outage": _outage}[scenario]
    return "\n".join((_machine(run), "", *table(run.results), ""))


def update(readme: Path = ROOT / "README.md", figures: Path = FIGURES) -> bool:
    """Put the tables into README and pages; False: they were there already."""
    runs = page.read([figures])
    changed = replace_table(readme, render(runs))
    for scenario, path in PAGES.items():
        changed = replace_table(path, render_page(scenario, runs)) or changed
    return changed


def replace_table(path: Path, table: str, mark: str = "benchmarks") -> bool:
    """Put a table between a page's marks; False: it was there already."""
    begin, end = f"<!-- {mark}:begin -->\n", f"<!-- {mark}:end -->"
    before = path.read_text("utf-8")
    head, rest = before.split(begin, 1)
    tail = rest.split(end, 1)[1]
    after = f"{head}{begin}{table}{end}{tail}"
    path.write_text(after, "utf-8")
    return after != before


def _machine(run: Run) -> str:
    where = run.environment
    server = where["server"]
    return (
        f"{where['cpu']}, {where['cores']} cores, {where['python']}, {server['name']} "
        f"{server['version']} over {server['transport']}; redis-py {where['packages']['redis']}, "
        f"{where['time'][:10]}. Only the ratios travel."
    )


def _rates(runs: Sequence[Run]) -> list[str]:
    rows: list[str] = []
    for scenario, title in _RATES.items():
        run = of(runs, scenario)
        results = {} if run is None else at_hundred(run)
        mine = results.get(OURS)
        if mine is None:
            continue
        rivals = [
            one
            for one in results.values()
            if one.subject not in REFERENCES and not is_ours(one.subject)
        ]
        best = max(rivals, key=_rate, default=None)
        floor = (mine.ratios or {}).get("floor")
        rows.append(
            f"| {title} | {_rate(mine):,.0f} "
            f"| {'' if best is None else f'{_rate(best):,.0f}, {name(best.subject)}'} "
            f"| {'' if best is None else f'{_ratio(mine, best):.1f}'} "
            f"| {'' if floor is None else f'{floor:.2f}'} |"
        )
    if not rows:
        return []
    return [
        "| per second, 100 tasks | **millpond** | best rival measured | x | x bare protocol loop |",
        "|---|--:|--:|--:|--:|",
        *rows,
    ]


def _tasks(runs: Sequence[Run]) -> list[str]:
    """Show where the factor comes from: from how much is asked for at once."""
    run = of(runs, "tasks") or of(runs, "get")
    mine = [] if run is None else [one for one in run.results if one.subject == OURS]
    if len(mine) < 2:
        return []
    counts = " | ".join(f"{one.tasks:,}" for one in mine)
    rows = [f"| `GET` by tasks | {counts} |", f"|---{'|--:' * len(mine)}|"]
    rows.append(f"| per second | {' | '.join(f'{_rate(one):,.0f}' for one in mine)} |")
    for rival in ("redis-py", "valkey-glide", "coredis", "floor"):
        against = [(one.ratios or {}).get(rival) for one in mine]
        if any(against):
            cells = " | ".join("" if one is None else f"{one:.2g}" for one in against)
            rows.append(f"| x {name(rival)} | {cells} |")
    return rows


def _web(runs: Sequence[Run]) -> list[str]:
    rows: list[str] = []
    for scenario, title in _WEB.items():
        run = of(runs, scenario)
        if run is None:
            continue
        shares = {
            one.subject: share
            for one in at_hundred(run).values()
            if (share := (one.ratios or {}).get("bare")) is not None
        }
        if OURS not in shares:
            continue
        rivals = {
            subject: share
            for subject, share in shares.items()
            if subject not in REFERENCES and not is_ours(subject)
        }
        best = max(rivals, key=rivals.__getitem__, default=None)
        theirs = "" if best is None else f"{rivals[best]:.0%}, {name(best)}"
        rows.append(f"| {title} | {shares[OURS]:.0%} | {theirs} |")
        rows += [
            f"| {title}, with {subject.removeprefix(f'{OURS}-')} | {share:.0%} | {theirs} |"
            for subject, share in shares.items()
            if is_ours(subject) and subject != OURS
        ]
    if not rows:
        return []
    return [
        "| FastAPI, of the bare handler's requests per second | **millpond** | best rival |",
        "|---|--:|--:|",
        *rows,
    ]


def _herd(run: Run | None) -> list[str]:
    return _table(
        run,
        ("herd of 1,000 callers, 200 ms load", "herds", "loads a herd", "last caller, p99"),
        lambda one: (
            f"{name(one.subject)}, {one.moment}",
            f"{one.rounds}",
            f"{(one.loads or 0) / one.rounds:g}",
            f"load + {one.after_fill_p99_ms or 0:.1f} ms",
        ),
    )


def _race(run: Run | None) -> list[str]:
    return _table(
        run,
        ("readers beside writers", "reads", "writes", "stale reads"),
        lambda one: (
            ", ".join(filter(None, (name(one.subject), one.setting))),
            f"{one.reads or 0:,}",
            f"{one.writes or 0:,}",
            f"{one.stale or 0:,}",
        ),
    )


def _table(
    run: Run | None, headers: tuple[str, ...], cells: Callable[[Result], tuple[str, ...]]
) -> list[str]:
    results = [] if run is None else [one for one in run.results if one.failure is None]
    if not results:
        return []
    return [
        f"| {' | '.join(headers)} |",
        f"|---{'|--:' * (len(headers) - 1)}|",
        *(f"| {' | '.join(cells(one))} |" for one in results),
    ]


def _writes(results: Sequence[Result]) -> list[str]:
    lines = ["| | per second | x delete | loads per 1,000 reads | read p50 | read p99 |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    lines += [
        f"| {one.setting} | {one.per_second or 0:,.0f} | {(one.ratios or {}).get('delete', 1):.2f} "
        f"| {1000 * (one.loads or 0) / max(one.reads or 0, 1):,.0f} "
        f"| {one.p50_ms or 0:.2f} ms | {one.p99_ms or 0:.2f} ms |"
        for one in results
    ]
    return lines


def _outage(results: Sequence[Result]) -> list[str]:
    lines = ["| Redis | | a call in the middle | the slowest | raised | loads |"]
    lines.append("|---|---|--:|--:|--:|--:|")
    lines += [
        f"| {one.setting} | {name(one.subject)} | {one.p50_ms or 0:,.1f} ms "
        f"| {one.max_ms or 0:,.1f} ms | {one.errors or 0:.0%} | {one.loads or 0:,} |"
        for one in results
        if one.failure is None
    ]
    return lines


def _rate(one: Result) -> float:
    return one.per_second or 0.0


def _ratio(mine: Result, theirs: Result) -> float:
    return (mine.ratios or {}).get(theirs.subject) or _rate(mine) / max(_rate(theirs), 1e-9)
