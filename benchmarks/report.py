"""Tables for the terminal: one layout per scenario, all of them from the same `Result`s."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks import environment
from benchmarks.results import Result, Run

__all__ = ["Column", "table", "text"]

Column = tuple[str, Callable[[Result], str]]


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _command(result: Result, *names: str) -> str:
    return _number(sum((result.commands or {}).get(name, 0.0) for name in names))


def _against(other: str) -> Callable[[Result], str]:
    def cell(result: Result) -> str:
        return _number((result.ratios or {}).get(other), 2)

    return cell


_TASKS: Column = ("tasks", lambda one: _number(one.tasks))
_SUBJECT: Column = ("subject", lambda one: one.subject)
_WAITS: tuple[Column, ...] = (
    ("p50 ms", lambda one: _number(one.p50_ms, 2)),
    ("p99 ms", lambda one: _number(one.p99_ms, 2)),
)
_RATE: Column = ("per second", lambda one: _number(one.per_second))
_COST: tuple[Column, ...] = (
    ("p99.9 ms", lambda one: _number(one.p999_ms, 2)),
    ("CPU µs/op", lambda one: _number(one.cpu_us, 1)),
    ("RSS MiB", lambda one: _number(one.rss_mib, 1)),
)
_LOADS: Column = ("loads", lambda one: _number(one.loads))

_COLUMNS: dict[str, tuple[Column, ...]] = {
    "get": (
        _TASKS,
        _SUBJECT,
        _RATE,
        ("x redis-py", _against("redis-py")),
        ("x floor", _against("floor")),
        *_WAITS,
        *_COST,
    ),
    "hit": (_TASKS, _SUBJECT, _RATE, ("x recipe", _against("recipe")), *_WAITS, *_COST, _LOADS),
    "herd": (
        ("moment", lambda one: one.moment or "-"),
        _SUBJECT,
        ("herds", lambda one: _number(one.rounds)),
        _LOADS,
        ("worst", lambda one: _number(one.most_loads)),
        *_WAITS,
        ("max ms", lambda one: _number(one.max_ms, 2)),
        ("last p50", lambda one: _number(one.after_fill_p50_ms, 2)),
        ("last p99", lambda one: _number(one.after_fill_p99_ms, 2)),
        ("GET", lambda one: _command(one, "get")),
        ("SET+DEL", lambda one: _command(one, "set", "setex", "del")),
        ("EVAL", lambda one: _command(one, "eval", "evalsha")),
        ("CACHING", lambda one: _command(one, "client|caching")),
    ),
    "race": (
        _SUBJECT,
        ("reads", lambda one: _number(one.reads)),
        ("stale", lambda one: _number(one.stale)),
        ("writes", lambda one: _number(one.writes)),
        _LOADS,
        _RATE,
        *_WAITS,
        ("max ms", lambda one: _number(one.max_ms, 2)),
    ),
    "writes": (
        _SUBJECT,
        ("setting", lambda one: one.setting or "-"),
        _RATE,
        ("x delete", _against("delete")),
        ("reads", lambda one: _number(one.reads)),
        ("writes", lambda one: _number(one.writes)),
        _LOADS,
        *_WAITS,
    ),
}
_NOTES = {
    "get": "x: rate over that subject's, median of the rounds' ratios.",
    "hit": "x: rate over that subject's, median of the rounds' ratios. Loads must be 0.",
    "herd": "last: the last caller, in ms after the first load's end. Commands: mean per herd.",
    "writes": "per second: reads and writes together; x delete: over that way's, same writes.",
    "race": "stale: older than the last finished write when the read began.",
}


def text(run: Run) -> str:
    """Lay out one run: machine, table, and what the columns mean."""
    columns = _COLUMNS[run.scenario]
    rows = [[cell(result) for _, cell in columns] for result in run.results]
    return "\n".join(
        (
            f"{run.scenario}: {environment.one_line(run.environment)}",
            table([name for name, _ in columns], rows),
            _NOTES[run.scenario],
        )
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align the cells: words to the left, numbers to the right.

    Args:
        headers: One per column.
        rows: Cells as they shall read; each row as long as the headers.
    """
    widths = [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]
    right = [
        all(cell[:1].isdigit() or cell == "-" for cell in column)
        for column in zip(*rows, strict=True)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if aligned else cell.ljust(width)
            for cell, width, aligned in zip(cells, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join(
        (line(headers), "─" * (sum(widths) + 2 * (len(widths) - 1)), *(line(row) for row in rows))
    )
