"""Operations per second and their latency, for scenarios that repeat one operation.

A closed loop: N tasks, each starting its next operation when the last has ended. The latency it
gives is that of a saturated client, and says nothing about a server under a fixed arrival rate.

Rivals meet in short rounds, each in a fresh process; the order turns by one from round to round.
Every process works unmeasured for a third of a round first.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from benchmarks.results import Result, median, percentile, ratios

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.session import Session

__all__ = ["KEYS", "Loop", "Sample", "closed_loop", "compare"]

KEYS = 10_000  # distinct, drawn uniformly, so that sharing one reply among callers gains nothing
_WARM_UP = 1 / 3  # of the measured time

T = TypeVar("T")


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is asked to do."""

    tasks: int
    seconds: float
    prepare: bool = False  # fill the cache and measure nothing


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker measured in one round."""

    per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    cpu_us: float = 0.0
    rss_mib: float = 0.0
    loads: int | None = None  # where there is something to load


async def closed_loop(
    operate: Callable[[T], Awaitable[object]], draw: Callable[[], T], loop: Loop
) -> Sample:
    """Run the warm-up and the measured loop.

    Args:
        operate: The operation under test.
        draw: Picks what it works on; cheap, for it is measured with it.
        loop: How many tasks, for how long.
    """
    await _window(operate, draw, tasks=loop.tasks, seconds=loop.seconds * _WARM_UP)
    begun_cpu = time.process_time()
    begun = time.perf_counter()
    done, latencies = await _window(operate, draw, tasks=loop.tasks, seconds=loop.seconds)
    elapsed = time.perf_counter() - begun
    cpu = time.process_time() - begun_cpu
    return Sample(
        per_second=done / elapsed,
        p50_ms=percentile(latencies, 0.5) * 1e3,
        p99_ms=percentile(latencies, 0.99) * 1e3,
        p999_ms=percentile(latencies, 0.999) * 1e3,
        cpu_us=cpu / done * 1e6,
        rss_mib=_peak_rss_mib(),
    )


async def compare(
    session: Session,
    scenario: str,
    subjects: Sequence[str],
    *,
    tasks: Sequence[int],
    seconds: float,
    rounds: int,
) -> list[Result]:
    """Measure subjects side by side.

    Args:
        session: The server and the display.
        scenario: Whose `work` the processes run.
        subjects: Two or more give ratios.
        tasks: Settings, one after another.
        seconds: Measured, of each subject in each round.
        rounds: How often each subject gets a fresh process, in each setting.

    Returns:
        One result per setting and subject.
    """
    session.progress.begin(scenario, len(tasks) * rounds * len(subjects))
    results: list[Result] = []
    for count in tasks:
        samples: dict[str, list[Sample]] = {subject: [] for subject in subjects}
        for number in range(rounds):
            turn = number % len(subjects)
            for subject in (*subjects[turn:], *subjects[:turn]):
                session.progress.at(f"{subject} · {count} tasks · round {number + 1}/{rounds}")
                order = Loop(tasks=count, seconds=seconds)
                async with session.team(scenario, subject, order) as team:
                    samples[subject] += await team.receive(Sample)
                session.progress.advance()
        rates = {name: [one.per_second for one in taken] for name, taken in samples.items()}
        for subject, taken in samples.items():
            result = _summary(subject, count, taken, ratios(rates, subject))
            session.progress.say(
                f"{scenario} · {count:>4} tasks · {subject:<12} {result.per_second:>10,.0f}/s"
            )
            results.append(result)
    return results


def _summary(subject: str, tasks: int, taken: list[Sample], against: dict[str, float]) -> Result:
    return Result(
        subject=subject,
        tasks=tasks,
        processes=1,
        rounds=len(taken),
        per_second=median([one.per_second for one in taken], 0),
        ratios=against or None,
        p50_ms=median([one.p50_ms for one in taken]),
        p99_ms=median([one.p99_ms for one in taken]),
        p999_ms=median([one.p999_ms for one in taken]),
        loads=None if taken[0].loads is None else sum(one.loads or 0 for one in taken),
        cpu_us=median([one.cpu_us for one in taken], 2),
        rss_mib=round(statistics.median(one.rss_mib for one in taken), 1),
    )


class _Gate:
    open = True


async def _window(
    operate: Callable[[T], Awaitable[object]],
    draw: Callable[[], T],
    *,
    tasks: int,
    seconds: float,
) -> tuple[int, list[float]]:
    """Let the tasks run for a while; return their operations and some of their latencies.

    One task in ten keeps the time. The tasks are alike, so its latencies are everyone's, and
    reading the clock costs the fastest subject nothing to speak of.
    """
    gate = _Gate()
    latencies: list[float] = []

    async def untimed() -> int:
        done = 0
        while gate.open:
            await operate(draw())
            done += 1
        return done

    async def timed() -> int:
        done = 0
        clock, note = time.perf_counter, latencies.append
        before = clock()
        while gate.open:
            await operate(draw())
            now = clock()
            note(now - before)
            before = now
            done += 1
        return done

    running = [
        asyncio.create_task(timed() if number % 10 == 0 else untimed()) for number in range(tasks)
    ]
    await asyncio.sleep(seconds)
    gate.open = False
    return sum(await asyncio.gather(*running)), latencies


def _peak_rss_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
