"""Subjects take turns: short rounds, each subject once in each, in an order that turns, too.

So all of them meet the machine's good and bad moments. Every turn is a sample that the ledger
keeps. A subject whose worker fails is out for the rest of this setting, with the reason in the
results, and the others go on: a night's run must not be lost to one library's bad day.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from benchmarks.processes import WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from benchmarks.session import Session

__all__ = ["LONGEST", "take_turns"]

LONGEST = 180.0  # seconds for one turn, above any scenario's own time: something hangs

T = TypeVar("T")


async def take_turns(
    session: Session,
    scenario: str,
    subjects: Sequence[str],
    measure: Callable[[str, int], Awaitable[T]],
    kind: type[T],
    *,
    rounds: int,
    setting: str = "",
    figures: Callable[[Mapping[str, list[T]]], str] | None = None,
) -> dict[str, list[T]]:
    """Measure every subject `rounds` times.

    Args:
        session: The ledger and the display.
        scenario: Its name.
        subjects: Who takes turns.
        measure: Takes a subject and a round's number and returns a sample.
        kind: What a sample is, to read one back.
        rounds: How many.
        setting: Names this part of the scenario.
        figures: Words the samples so far for the display.

    Returns:
        Each subject's samples, in the order of the rounds; empty for one that failed, whose
        reason is in `session.failures`.
    """
    taken: dict[str, list[T]] = {subject: [] for subject in subjects}
    for number in range(rounds):
        turn = number % len(subjects)
        for subject in (*subjects[turn:], *subjects[:turn]):
            session.progress.at(
                " · ".join(filter(None, (setting, subject, f"round {number + 1}/{rounds}")))
            )
            if session.failure(scenario, setting, subject) is None:
                try:
                    taken[subject].append(
                        await _sample(session, scenario, setting, subject, number, measure, kind)
                    )
                except (WorkerFailed, TimeoutError) as error:
                    reason = str(error) or f"no answer within {LONGEST:.0f} s"
                    session.fail(scenario, setting, subject, reason)
                    taken[subject].clear()
            session.progress.advance()
            if figures is not None:
                session.progress.figures(figures(taken))
    return taken


async def _sample(
    session: Session,
    scenario: str,
    setting: str,
    subject: str,
    number: int,
    measure: Callable[[str, int], Awaitable[T]],
    kind: type[T],
) -> T:
    key = f"{scenario}/{setting}/{subject}/{number}"
    kept = session.ledger.get(key, kind)
    if kept is not None:
        return kept
    async with asyncio.timeout(LONGEST):
        sample = await measure(subject, number)
    session.ledger.put(key, sample)
    return sample
