"""`lock_contended`: 50 tasks in 2 processes want one lock, all the time; hand-overs are counted.

A holder lets go at once and comes again at once, as 50 busy tasks would. A hand-over is an
acquisition by another task than the one before: a lock whose last holder takes it again before
any waiter has noticed is acquired often and handed over rarely, and those who wait, wait. Who
held it last is in memory that both processes share; only the holder writes there. The share of
the process that had fewest hand-overs says whether one process starves the other. Between two
readings of `INFO commandstats` the server runs only what the subject sends: commands per
hand-over show who waits and who asks again and again.

What one waiting task costs is measured apart, before the clock starts: a task of the same
process holds the lock, forty others come to wait, and the growth of the Python heap
(tracemalloc) is divided among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import msgspec

from benchmarks import subjects, throughput
from benchmarks.channel import sleep_until
from benchmarks.keys import KEY_PREFIX
from benchmarks.results import Result, median, percentile, ratios
from benchmarks.throughput import LEAD_NS, Go, Ready, Setting
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.channel import Channel, Order
    from benchmarks.session import Plan, Session
    from benchmarks.subjects import Locker

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "50 tasks in 2 processes want one lock all the time"
NEEDS: Final = "lock"
SUBJECTS: tuple[str, ...] = ("redis-py", "cashews", "coredis", "pottery", "millpond")
QUICK: tuple[str, ...] = ("cashews", "millpond")

_PROCESSES = 2
_TASKS = 25  # in each
_SECONDS = 3.0
_ROUNDS = 3
_SLEEPERS = 40
_SETTLE = 0.3  # seconds for them to have come to rest
_WAITS = 2_000  # at most, sent home by one process
_LAST = 20.0  # seconds for the tasks to end, for subjects whose waiters ask rarely


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know."""

    tasks: int
    seconds: float
    holder: str  # a file of one u64, mapped by both processes: who held the lock last


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one process got."""

    acquired: int
    handed_over: int
    waits_ms: list[float]
    waiter_bytes: int


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one subject."""

    per_second: float  # hand-overs
    acquired_per_second: float
    least_share: float
    waits_ms: list[float]
    waiter_bytes: int
    commands: dict[str, float]  # per hand-over


async def run(session: Session, plan: Plan) -> list[Result]:
    """Let each subject's processes contend, in turns."""
    seconds = plan.seconds or (1.5 if plan.quick else _SECONDS)
    rounds = plan.rounds or (2 if plan.quick else _ROUNDS)
    setting = Setting(tasks=plan.tasks[0] if plan.tasks else _TASKS, processes=_PROCESSES)
    holder = session.folder / "holder"
    options = Options(tasks=setting.tasks, seconds=seconds, holder=str(holder))

    async def contest(subject: str, number: int) -> Contest:
        del number
        holder.write_bytes(bytes(8))
        async with session.team("lock_contended", NEEDS, subject, options, size=_PROCESSES) as team:
            await team.receive(Ready)
            before = session.server.command_calls()
            await team.send(Go(time.monotonic_ns() + LEAD_NS))
            shares = await team.receive(Share)
            after = session.server.command_calls()
        return _together(shares, seconds, before, after)

    session.progress.begin("lock_contended", rounds * len(plan.subjects))
    taken = await take_turns(
        session,
        "lock_contended",
        plan.subjects,
        contest,
        Contest,
        rounds=rounds,
        setting=setting.label,
    )
    rates = {name: [one.per_second for one in some] for name, some in taken.items() if some}
    results: list[Result] = []
    for subject, some in taken.items():
        if not some:
            results.append(throughput.failed(session, "lock_contended", subject, setting))
            continue
        results.append(_summary(subject, setting, some, ratios(rates, subject)))
        session.progress.say(
            f"lock_contended · {subject:<16} {results[-1].per_second:>10,.0f} hand-overs/s"
        )
    return results


async def work(order: Order, channel: Channel) -> None:
    """Be one process of the contest."""
    options = order.read(Options)
    tasks = max(options.tasks, _SLEEPERS + 1)
    locker = cast("Locker", subjects.make(order.adapter, order.url, tasks=tasks))
    await locker.open()
    try:
        waiter_bytes = await _weigh(locker, f"{KEY_PREFIX}:weigh:{order.index}")
        channel.send(Ready())
        go = await channel.receive(Go)
        if go is None:
            return
        with (
            Path(options.holder).open("r+b") as file,
            mmap.mmap(file.fileno(), 0) as shared,
            memoryview(shared) as octets,
            octets.cast("Q") as last,
        ):
            contender = _Contender(locker, last, order.index)
            await sleep_until(go.at_ns)
            await contender.contend(options)
        channel.send(contender.share(waiter_bytes))
    finally:
        await locker.aclose()


async def _weigh(locker: Locker, name: str) -> int:
    async def wait() -> None:
        async with locker.hold(name):
            pass

    async with locker.hold(name):
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        sleepers = [asyncio.create_task(wait()) for _ in range(_SLEEPERS)]
        await asyncio.sleep(_SETTLE)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # Not cancelled: what becomes of a lock whose acquisition was cancelled is another question.
    await asyncio.gather(*sleepers)
    return (after - before) // _SLEEPERS


class _Contender:
    """The tasks of one process."""

    def __init__(self, locker: Locker, last: memoryview[int], index: int) -> None:
        self._locker = locker
        self._last = last
        self._index = index
        self._acquired = 0
        self._handed_over = 0
        self._waits: list[float] = []

    def share(self, waiter_bytes: int) -> Share:
        return Share(
            acquired=self._acquired,
            handed_over=self._handed_over,
            waits_ms=self._waits[:: len(self._waits) // _WAITS + 1],
            waiter_bytes=waiter_bytes,
        )

    async def contend(self, options: Options) -> None:
        end = time.monotonic() + options.seconds
        first = 1 + self._index * options.tasks
        running = [
            asyncio.create_task(self._task(first + number, end)) for number in range(options.tasks)
        ]
        _, late = await asyncio.wait(running, timeout=options.seconds + _LAST)
        for one in late:
            one.cancel()
        for one in running:
            with contextlib.suppress(asyncio.CancelledError):
                await one

    async def _task(self, me: int, end: float) -> None:
        last = self._last
        while (begun := time.monotonic()) < end:
            async with self._locker.hold(f"{KEY_PREFIX}:contended"):
                now = time.monotonic()
                if now < end:
                    self._acquired += 1
                    if last[0] != me:
                        last[0] = me
                        self._handed_over += 1
                        self._waits.append(round((now - begun) * 1e3, 3))


def _together(
    shares: list[Share], seconds: float, before: Mapping[str, int], after: Mapping[str, int]
) -> Contest:
    handed_over = sum(share.handed_over for share in shares)
    if not handed_over:
        raise TimeoutError("nobody got the lock")
    sent = {name: calls - before.get(name, 0) for name, calls in after.items() if name != "info"}
    return Contest(
        per_second=handed_over / seconds,
        acquired_per_second=sum(share.acquired for share in shares) / seconds,
        least_share=min(share.handed_over for share in shares) / handed_over,
        waits_ms=[one for share in shares for one in share.waits_ms],
        waiter_bytes=max(share.waiter_bytes for share in shares),
        commands={name: round(calls / handed_over, 2) for name, calls in sent.items() if calls},
    )


def _summary(
    subject: str, setting: Setting, taken: list[Contest], against: dict[str, float]
) -> Result:
    waits = [one for contest in taken for one in contest.waits_ms]
    names = sorted({name for contest in taken for name in contest.commands})
    return Result(
        subject=subject,
        tasks=setting.tasks,
        processes=setting.processes,
        rounds=len(taken),
        per_second=median([one.per_second for one in taken], 0),
        ratios=against or None,
        p50_ms=percentile(waits, 0.5),
        p99_ms=percentile(waits, 0.99),
        max_ms=max(waits),
        least_share=median([one.least_share for one in taken]),
        acquired_per_second=median([one.acquired_per_second for one in taken], 0),
        waiter_bytes=round(median([one.waiter_bytes for one in taken])),
        commands={
            name: median([one.commands.get(name, 0.0) for one in taken], 2) for name in names
        },
    )
