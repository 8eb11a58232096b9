"""The tables in README.md and docs, written from a run's JSON so that no figure is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

__all__ = ["FIGURES", "PAGES", "render", "render_page", "update"]

ROOT = Path(__file__).parent.parent
FIGURES = Path(__file__).parent / "measured.json"
PAGES = {"writes": ROOT / "docs" / "how-to" / "writes.md"}
"""Scenarios whose table stands in a page of their own; figures in `measured_<name>.json`."""
_BEGIN = "<!-- benchmarks:begin -->\n"
_END = "<!-- benchmarks:end -->"
_NAMES = {
    "floor": "a bare protocol loop",
    "redis-py": "redis-py",
    "unprotected": "no protection",
    "recipe": "the common recipe",
    "millpond": "**millpond**",
}


def render(runs: list[dict[str, Any]]) -> str:
    """Write the runs as Markdown: a table for rates, one for herds, one for stale reads."""
    where = runs[0]["environment"]
    server = where["server"]
    machine = (
        f"{where['cpu']}, {where['cores']} cores, {where['python']}, {server['name']} "
        f"{server['version']} over {server['transport']}; redis-py {where['packages']['redis']}, "
        f"{where['time'][:10]}. Only the ratios travel."
    )
    lines = [machine, ""]
    for run in runs:
        lines += _TABLES[run["scenario"]](run["results"])
        lines.append("")
    return "\n".join(lines)


def update(readme: Path = ROOT / "README.md", figures: Path = FIGURES) -> bool:
    """Put the table into the README; False: it was there already."""
    changed = _replace(readme, render(msgspec.json.decode(figures.read_bytes())["runs"]))
    for scenario, page in PAGES.items():
        changed = _replace(page, render_page(scenario)) or changed
    return changed


def render_page(scenario: str) -> str:
    """Write the table of a scenario that has a page of its own."""
    return render(
        [msgspec.json.decode((FIGURES.parent / f"measured_{scenario}.json").read_bytes())]
    )


def _replace(page: Path, table: str) -> bool:
    before = page.read_text("utf-8")
    head, rest = before.split(_BEGIN, 1)
    tail = rest.split(_END, 1)[1]
    after = f"{head}{_BEGIN}{table}{_END}{tail}"
    page.write_text(after, "utf-8")
    return after != before


def _rates(title: str, results: list[dict[str, Any]]) -> list[str]:
    rival = "redis-py" if any(one["subject"] == "redis-py" for one in results) else "recipe"
    lines = [f"| {title} | tasks | per second | x {_NAMES[rival]} | p50 | p99 |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for one in results:
        ratio = one.get("ratios", {}).get(rival)
        lines.append(
            f"| {_NAMES[one['subject']]} | {one['tasks']:,} | {one['per_second']:,.0f} "
            f"| {'' if ratio is None else f'{ratio:.1f}'} "
            f"| {one['p50_ms']:.2f} ms | {one['p99_ms']:.2f} ms |"
        )
    return lines


def _get(results: list[dict[str, Any]]) -> list[str]:
    return _rates("`GET`", results)


def _hit(results: list[dict[str, Any]]) -> list[str]:
    return _rates("cached value, read and decoded", results)


def _herd(results: list[dict[str, Any]]) -> list[str]:
    lines = ["| herd of 1,000 callers, 200 ms load | herds | loads a herd | last caller, p99 |"]
    lines.append("|---|--:|--:|--:|")
    lines += [
        f"| {_NAMES[one['subject']]}, {one['moment']} | {one['rounds']} "
        f"| {one['loads'] / one['rounds']:g} | load + {one['after_fill_p99_ms']:.1f} ms |"
        for one in results
    ]
    return lines


def _race(results: list[dict[str, Any]]) -> list[str]:
    lines = ["| readers beside writers | reads | writes | stale reads |", "|---|--:|--:|--:|"]
    lines += [
        f"| {_NAMES[one['subject']]} | {one['reads']:,} | {one['writes']:,} | {one['stale']:,} |"
        for one in results
    ]
    return lines


def _writes(results: list[dict[str, Any]]) -> list[str]:
    lines = ["| | per second | x delete | loads per 1,000 reads | read p50 | read p99 |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    lines += [
        f"| {one['setting']} | {one['per_second']:,.0f} | {one['ratios']['delete']:.2f} "
        f"| {1000 * one['loads'] / one['reads']:,.0f} "
        f"| {one['p50_ms']:.2f} ms | {one['p99_ms']:.2f} ms |"
        for one in results
    ]
    return lines


_TABLES = {"get": _get, "hit": _hit, "herd": _herd, "race": _race, "writes": _writes}
