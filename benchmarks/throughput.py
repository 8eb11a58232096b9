"""Operations per second and their latency, for scenarios that repeat one operation.

A closed loop: N tasks, each starting its next operation when the last has ended. The latency it
gives is that of a saturated client, and says nothing about a server under a fixed arrival rate.

Rivals meet in short rounds, each in a fresh process; the order turns by one from round to round.
Every process works unmeasured for a third of a round first.
"""

from __future__ import annotations

import asyncio
import functools
import re
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from benchmarks.channel import sleep_until
from benchmarks.results import Result, median, percentile, ratios
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from benchmarks.channel import Channel
    from benchmarks.session import Plan, Session
    from benchmarks.subjects import Role

__all__ = [
    "KEYS",
    "LEAD_NS",
    "Go",
    "Loop",
    "Ready",
    "Sample",
    "Setting",
    "begin_together",
    "closed_loop",
    "compare",
    "failed",
    "peak_rss_mib",
]

KEYS = 10_000  # distinct, drawn uniformly, so that sharing one reply among callers gains nothing
LEAD_NS = 50_000_000  # from the order to the start: all workers have read it by then
_WARM_UP = 1 / 3  # of the measured time
# An operation that never waits, such as a near hit, would keep the loop to itself: after so many
# a task steps back once.
_BURST = range(256)

T = TypeVar("T")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a scenario's table, for each subject."""

    tasks: int = 100  # concurrent, in each process
    processes: int = 1
    name: str | None = None  # where tasks and processes do not name it
    size: int = 0  # whatever the scenario varies beside

    @property
    def label(self) -> str:
        """Name it in displays and in the ledger."""
        parts = [self.name, f"{self.tasks} tasks"]
        if self.processes > 1:
            parts.append(f"{self.processes} processes")
        return " · ".join(part for part in parts if part)


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is asked to do."""

    tasks: int
    seconds: float
    name: str | None = None
    size: int = 0
    prepare: bool = False  # fill the cache and measure nothing
    together: bool = False  # with other processes, which begin at the same moment


class Ready(msgspec.Struct, frozen=True):
    """A worker could begin."""


class Go(msgspec.Struct, frozen=True):
    """All may begin at this moment of CLOCK_MONOTONIC."""

    at_ns: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker measured in one round."""

    per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    cpu_us: float = 0.0
    rss_mib: float = 0.0
    loads: int | None = None  # where there is something to load
    allowed: float | None = None  # where there is something to deny


async def closed_loop(
    operate: Callable[[T], Awaitable[object]],
    draw: Callable[[], T],
    loop: Loop,
    *,
    factor: int = 1,
) -> Sample:
    """Run the warm-up and the measured loop.

    Args:
        operate: The operation under test.
        draw: Picks what it works on; cheap, for it is measured with it.
        loop: How many tasks, for how long.
        factor: What one operation counts for, where it does many things at once.
    """
    await _window(operate, draw, tasks=loop.tasks, seconds=loop.seconds * _WARM_UP)
    begun_cpu = time.process_time()
    begun = time.perf_counter()
    done, latencies = await _window(operate, draw, tasks=loop.tasks, seconds=loop.seconds)
    elapsed = time.perf_counter() - begun
    cpu = time.process_time() - begun_cpu
    return Sample(
        per_second=factor * done / elapsed,
        p50_ms=percentile(latencies, 0.5) * 1e3,
        p99_ms=percentile(latencies, 0.99) * 1e3,
        p999_ms=percentile(latencies, 0.999) * 1e3,
        cpu_us=cpu / done / factor * 1e6,
        rss_mib=peak_rss_mib(),
    )


async def begin_together(channel: Channel, loop: Loop) -> bool:
    """Wait in a worker for the common start; False: the parent has changed its mind."""
    if loop.together:
        channel.send(Ready())
        go = await channel.receive(Go)
        if go is None:
            return False
        await sleep_until(go.at_ns)
    return True


async def compare(
    session: Session,
    scenario: str,
    role: Role,
    plan: Plan,
    settings: Sequence[Setting],
    *,
    seconds: float = 1.5,
    rounds: int = 5,
    measure: Callable[[str, Setting, float], Awaitable[Sample]] | None = None,
) -> list[Result]:
    """Measure subjects side by side.

    Args:
        session: The server, the ledger and the display.
        scenario: Whose `work` the processes run.
        role: Which of the subjects' adapters they drive.
        plan: The subjects; two or more give ratios. What it says beside goes over the next three.
        settings: One after another; with tasks in the plan, one for each number of them.
        seconds: Measured, of each subject in each round.
        rounds: How often each subject gets fresh processes, in each setting.
        measure: Takes a subject, a setting and the seconds; default: one team that loops.

    Returns:
        One result per setting and subject.
    """
    seconds = plan.seconds or (min(seconds, 0.7) if plan.quick else seconds)
    rounds = plan.rounds or (2 if plan.quick else rounds)
    if plan.tasks is not None:
        settings = _with_tasks(settings, plan.tasks)

    async def loop(subject: str, setting: Setting, seconds: float) -> Sample:
        together = setting.processes > 1
        order = Loop(
            tasks=setting.tasks,
            seconds=seconds,
            name=setting.name,
            size=setting.size,
            together=together,
        )
        async with session.team(scenario, role, subject, order, size=setting.processes) as team:
            if together:
                await team.receive(Ready)
                await team.send(Go(time.monotonic_ns() + LEAD_NS))
            return _together(await team.receive(Sample))

    session.progress.begin(scenario, len(settings) * rounds * len(plan.subjects))
    results: list[Result] = []
    for setting in settings:
        taken = await take_turns(
            session,
            scenario,
            plan.subjects,
            functools.partial(_turn, measure or loop, setting, seconds),
            Sample,
            rounds=rounds,
            setting=setting.label,
            figures=_figures,
        )
        rates = {name: [one.per_second for one in some] for name, some in taken.items() if some}
        for subject, some in taken.items():
            if not some:
                results.append(failed(session, scenario, subject, setting))
                continue
            result = _summary(subject, setting, some, ratios(rates, subject))
            session.progress.say(
                f"{scenario} · {setting.label} · {subject:<16} {result.per_second:>10,.0f}/s"
            )
            results.append(result)
    return results


def failed(session: Session, scenario: str, subject: str, setting: Setting) -> Result:
    """Put a subject's failure where its figures would stand."""
    reason = session.failure(scenario, setting.label, subject) or "no figures"
    return Result(
        subject=subject,
        tasks=setting.tasks,
        processes=setting.processes,
        rounds=0,
        setting=setting.name,
        failure=_in_a_line(reason),
    )


def _in_a_line(reason: str) -> str:
    """Keep how a worker ended and what it said last; what is between is its stack."""
    lines = reason.splitlines()
    return " ".join(dict.fromkeys((lines[0], lines[-1])))


async def _turn(
    measure: Callable[[str, Setting, float], Awaitable[Sample]],
    setting: Setting,
    seconds: float,
    subject: str,
    number: int,
) -> Sample:
    del number
    return await measure(subject, setting, seconds)


def _with_tasks(settings: Sequence[Setting], tasks: Sequence[int]) -> list[Setting]:
    """Replace the settings' numbers of tasks by those that were asked for."""
    given = [msgspec.structs.replace(one, tasks=count) for count in tasks for one in settings]
    return list({one.label: one for one in given}.values())


def _figures(taken: Mapping[str, list[Sample]]) -> str:
    return "   ".join(
        f"{subject} {median([one.per_second for one in some], 0):,.0f}/s"
        for subject, some in taken.items()
        if some
    )


def _together(samples: list[Sample]) -> Sample:
    """Sum up what several processes did at once; of latencies and memory take the worst."""
    if len(samples) == 1:
        return samples[0]
    return Sample(
        per_second=sum(one.per_second for one in samples),
        p50_ms=statistics.median(one.p50_ms for one in samples),
        p99_ms=max(one.p99_ms for one in samples),
        p999_ms=max(one.p999_ms for one in samples),
        cpu_us=statistics.fmean(one.cpu_us for one in samples),
        rss_mib=max(one.rss_mib for one in samples),
        loads=None if samples[0].loads is None else sum(one.loads or 0 for one in samples),
    )


def _summary(
    subject: str, setting: Setting, taken: list[Sample], against: dict[str, float]
) -> Result:
    allowed = [one.allowed for one in taken if one.allowed is not None]
    return Result(
        subject=subject,
        tasks=setting.tasks,
        processes=setting.processes,
        rounds=len(taken),
        setting=setting.name,
        per_second=median([one.per_second for one in taken], 0),
        ratios=against or None,
        p50_ms=median([one.p50_ms for one in taken], 4),
        p99_ms=median([one.p99_ms for one in taken], 4),
        p999_ms=median([one.p999_ms for one in taken], 4),
        loads=None if taken[0].loads is None else sum(one.loads or 0 for one in taken),
        cpu_us=median([one.cpu_us for one in taken], 2),
        rss_mib=round(statistics.median(one.rss_mib for one in taken), 1),
        allowed=median(allowed) if allowed else None,
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
            for _ in _BURST:
                await operate(draw())
                done += 1
                if not gate.open:
                    break
            await asyncio.sleep(0)
        return done

    async def timed() -> int:
        done = 0
        clock, note = time.perf_counter, latencies.append
        before = clock()
        while gate.open:
            for _ in _BURST:
                await operate(draw())
                now = clock()
                note(now - before)
                before = now
                done += 1
                if not gate.open:
                    break
            await asyncio.sleep(0)
            before = clock()
        return done

    running = [
        asyncio.create_task(timed() if number % 10 == 0 else untimed()) for number in range(tasks)
    ]
    await asyncio.sleep(seconds)
    gate.open = False
    return sum(await asyncio.gather(*running)), latencies


def peak_rss_mib() -> float:
    """Return this process's greatest resident memory so far.

    Not `getrusage`, where Linux tells it: that remembers what the parent had when it forked.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text("ascii"), re.MULTILINE)
        if found is not None:
            return int(found[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
