"""Tables of results: one set of columns per scenario, for the terminal and for pages alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks import environment
from benchmarks.results import Result, Run

__all__ = ["AGAINST", "NOTES", "Column", "columns", "is_figure", "rows", "table", "text"]

Column = tuple[str, Callable[[Result], str]]

AGAINST = {
    "get": "redis-py",
    "tasks": "redis-py",
    "large": "redis-py",
    "hit": "recipe",
    "near": "cashews",
    "get_many": "redis-py",
    "miss": "recipe",
    "processes": "recipe",
    "lock": "redis-py",
    "lock_contended": "redis-py",
    "limit": "throttled-sliding",
    "limit_denied": "throttled-sliding",
    "web": "bare",
    "web_limit": "bare",
    "web_page": "bare",
    "writes": "delete",
}
"""Whose rate the others are measured by."""

_CLOSED = "A closed loop: latencies are those of a saturated client. x: the median of the rounds'."
NOTES = {
    "get": _CLOSED,
    "tasks": _CLOSED,
    "large": _CLOSED,
    "hit": f"{_CLOSED} Loads must be 0.",
    "arrivals": (
        "An open loop: a read's time counts from when it was due. late: the share of reads that "
        "were not answered half a second after the last had begun, or that raised."
    ),
    "near": f"{_CLOSED} Loads must be 0.",
    "get_many": f"{_CLOSED} Products per second; latencies are those of calls of 100.",
    "miss": f"{_CLOSED} Loads are as many as reads.",
    "processes": f"{_CLOSED} Rates are sums over the processes.",
    "herd": (
        "last: the last caller, in ms after the first load's end. Commands: mean per herd. "
        "All callers start at one moment: an open loop."
    ),
    "race": "stale: older than the last finished write when the read began.",
    "writes": "per second: reads and writes together; x: over delete's, same share of writes.",
    "outage": (
        "An open loop, ten calls a second. raised: the share of calls that ended in an error, "
        "those given up after 12 s included."
    ),
    "lock": f"{_CLOSED} Acquisitions, each released.",
    "lock_contended": (
        "A hand-over is an acquisition by another task than the one before. least: the share of "
        "the process that had fewer. Waits are those that ended in a hand-over. commands: what "
        "the server ran per hand-over. B/waiter: Python heap of one waiting task."
    ),
    "limit": f"{_CLOSED} allowed: the share of hits that were let through.",
    "limit_denied": _CLOSED,
    "limit_memory": "MEMORY USAGE of all keys that were written.",
    "idle": "Growth of resident memory by a hundred clients, each with a connection, for one.",
    "web": "Requests per second of one server process; CPU and memory are the server's.",
    "web_limit": "Requests per second of one server process; CPU and memory are the server's.",
    "web_page": "Requests per second of one server process; CPU and memory are the server's.",
}


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _milliseconds(value: float | None) -> str:
    """Write as many digits as tell a near hit from nothing."""
    if value is None or value >= 0.01:
        return _number(value, 2)
    return f"{value:.4f}" if value else "<0.001"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _command(result: Result, *names: str) -> str:
    return _number(sum((result.commands or {}).get(name, 0.0) for name in names))


def _commands(result: Result) -> str:
    total = None if result.commands is None else sum(result.commands.values())
    return _number(total, 1)


def _against(other: str) -> Callable[[Result], str]:
    def cell(result: Result) -> str:
        return _number((result.ratios or {}).get(other), 2)

    return cell


_TASKS: Column = ("tasks", lambda one: _number(one.tasks))
_PROCESSES: Column = ("processes", lambda one: _number(one.processes))
_SETTING: Column = ("setting", lambda one: one.setting or "-")
_SUBJECT: Column = ("subject", lambda one: one.subject)
_WAITS: tuple[Column, ...] = (
    ("p50 ms", lambda one: _milliseconds(one.p50_ms)),
    ("p99 ms", lambda one: _milliseconds(one.p99_ms)),
)
_MAX: Column = ("max ms", lambda one: _milliseconds(one.max_ms))
_RATE: Column = ("per second", lambda one: _number(one.per_second))
_COST: tuple[Column, ...] = (
    ("p99.9 ms", lambda one: _milliseconds(one.p999_ms)),
    ("CPU µs/op", lambda one: _number(one.cpu_us, 1)),
    ("RSS MiB", lambda one: _number(one.rss_mib, 1)),
)
_LOADS: Column = ("loads", lambda one: _number(one.loads))
_ALLOWED: Column = ("allowed", lambda one: _share(one.allowed))

_OTHERS: dict[str, tuple[Column, ...]] = {
    "herd": (
        ("moment", lambda one: one.moment or "-"),
        _SUBJECT,
        ("herds", lambda one: _number(one.rounds)),
        _LOADS,
        ("worst", lambda one: _number(one.most_loads)),
        *_WAITS,
        _MAX,
        ("last p50", lambda one: _milliseconds(one.after_fill_p50_ms)),
        ("last p99", lambda one: _milliseconds(one.after_fill_p99_ms)),
        ("GET", lambda one: _command(one, "get")),
        ("SET+DEL", lambda one: _command(one, "set", "setex", "del")),
        ("EVAL", lambda one: _command(one, "eval", "evalsha")),
        ("CACHING", lambda one: _command(one, "client|caching")),
    ),
    "race": (
        _SETTING,
        _SUBJECT,
        ("reads", lambda one: _number(one.reads)),
        ("stale", lambda one: _number(one.stale)),
        ("writes", lambda one: _number(one.writes)),
        _LOADS,
        _RATE,
        *_WAITS,
        _MAX,
    ),
    "writes": (
        _SETTING,
        _SUBJECT,
        _RATE,
        ("x delete", _against("delete")),
        ("reads", lambda one: _number(one.reads)),
        ("writes", lambda one: _number(one.writes)),
        _LOADS,
        *_WAITS,
    ),
    "arrivals": (
        _SETTING,
        _SUBJECT,
        *_WAITS,
        ("p99.9 ms", lambda one: _milliseconds(one.p999_ms)),
        _MAX,
        ("late", lambda one: _share(one.errors)),
        ("CPU µs/op", lambda one: _number(one.cpu_us, 1)),
    ),
    "outage": (
        _SETTING,
        _SUBJECT,
        *_WAITS,
        _MAX,
        ("raised", lambda one: _share(one.errors)),
        _LOADS,
    ),
    "lock_contended": (
        _SUBJECT,
        ("hand-overs/s", lambda one: _number(one.per_second)),
        ("acquired/s", lambda one: _number(one.acquired_per_second)),
        ("least", lambda one: _share(one.least_share)),
        ("commands", _commands),
        ("B/waiter", lambda one: _number(one.waiter_bytes)),
        *_WAITS,
        _MAX,
    ),
    "idle": (
        _SUBJECT,
        ("bytes", lambda one: _number(one.client_bytes)),
        ("RSS MiB", lambda one: _number(one.rss_mib, 1)),
    ),
    "limit_memory": (
        _SETTING,
        _SUBJECT,
        ("bytes", lambda one: _number(one.bytes_per_key)),
        _ALLOWED,
    ),
}


def columns(run: Run) -> tuple[Column, ...]:
    """Choose the columns of a scenario; of those that may be empty, the ones that are not."""
    if run.scenario in _OTHERS:
        return _OTHERS[run.scenario]
    against = AGAINST[run.scenario]
    optional: list[tuple[Column, bool]] = [
        (_SETTING, any(one.setting for one in run.results)),
        (_PROCESSES, any(one.processes > 1 for one in run.results)),
        (_LOADS, any(one.loads is not None for one in run.results)),
        (_ALLOWED, any(one.allowed is not None for one in run.results)),
    ]
    before = [column for column, wanted in optional[:2] if wanted]
    after = [column for column, wanted in optional[2:] if wanted]
    there = {one.subject for one in run.results}
    floor = [(f"x {one}", _against(one)) for one in ("floor", "bare-dependency") if one in there]
    return (
        *before,
        _TASKS,
        _SUBJECT,
        _RATE,
        (f"x {against}", _against(against)),
        *floor,
        *_WAITS,
        *_COST,
        *after,
    )


def is_figure(cell: str) -> bool:
    """Tell figures from words: they are aligned to the right."""
    return cell.removeprefix("<")[:1].isdigit() or cell == "-"


def rows(run: Run) -> list[list[str]]:
    """Write every result's cells; of one that failed, those that say who."""
    return [[cell(result) for _, cell in columns(run)] for result in run.results]


def text(run: Run) -> str:
    """Lay out one run: machine, table, what the columns mean, and what is missing."""
    lines = [f"{run.scenario}: {environment.one_line(run.environment)}"]
    if run.results:
        lines += [table([name for name, _ in columns(run)], rows(run)), NOTES[run.scenario]]
    lines += [
        f"{one.subject} failed ({one.setting or f'{one.tasks} tasks'}): {one.failure}"
        for one in run.results
        if one.failure is not None
    ]
    lines += [f"{subject} skipped: {reason}" for subject, reason in run.skipped.items()]
    return "\n".join(lines)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align the cells: words to the left, numbers to the right.

    Args:
        headers: One per column.
        rows: Cells as they shall read; each row as long as the headers.
    """
    widths = [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]
    right = [all(map(is_figure, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if aligned else cell.ljust(width)
            for cell, width, aligned in zip(cells, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join(
        (line(headers), "─" * (sum(widths) + 2 * (len(widths) - 1)), *(line(row) for row in rows))
    )
