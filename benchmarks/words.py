"""What pages call things: subjects, and results apart from their subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.results import Result, Run

__all__ = ["OURS", "REFERENCES", "at_hundred", "is_ours", "name", "of", "situation"]

OURS = "millpond"
REFERENCES = frozenset({"floor", "bare", "bare-dependency"})
"""Subjects that are nobody's rival: what others are measured by."""

_NAMES = {
    "floor": "a bare protocol loop",
    "bare": "the bare handler",
    "bare-dependency": "a bare dependency",
    "unprotected": "no protection",
    "recipe": "the common recipe",
    OURS: "**millpond**",
}


def name(subject: str) -> str:
    """Name a subject in Markdown."""
    return _NAMES.get(subject, subject)


def is_ours(subject: str) -> bool:
    """Tell whether a subject is millpond, with its defaults or used in another way."""
    return subject == OURS or subject.startswith(f"{OURS}-")


def situation(result: Result) -> str:
    """Name what was asked of a subject: setting, moment, tasks and processes."""
    parts = [result.setting, result.moment]
    if result.setting is None and result.moment is None:
        parts.append(f"{result.tasks:,} task{'s' if result.tasks > 1 else ''}")
        if result.processes > 1:
            parts.append(f"{result.processes} processes")
    return ", ".join(part for part in parts if part)


def of(runs: Iterable[Run], scenario: str) -> Run | None:
    """Find a scenario's run."""
    return next((run for run in runs if run.scenario == scenario), None)


def at_hundred(run: Run) -> dict[str, Result]:
    """Pick each subject's result in the setting that the budgets are about.

    That is the first one: with 100 tasks where there are several numbers of them.
    """
    chosen = [one for one in run.results if one.failure is None]
    if any(one.tasks == 100 for one in chosen):
        chosen = [one for one in chosen if one.tasks == 100]
    first: dict[str, Result] = {}
    for one in chosen:
        first.setdefault(one.subject, one)
    return first
