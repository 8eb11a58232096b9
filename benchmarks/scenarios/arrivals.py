"""`arrivals`: cached reads that arrive at a fixed rate, whether those before have ended or not.

An open loop. Every millisecond those reads begin that are due by then; each one's time counts from
its millisecond, or, as the loop's own timer has a grain of about that much, from when the timer
fired, if that was at most two milliseconds late: what a subject makes the loop miss beyond is in
the figures. A read that is not answered half a second after the last has begun counts as late.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import shelf
from benchmarks.results import Result, median, percentile
from benchmarks.source import Product, sample
from benchmarks.throughput import KEYS, Loop, Sample, Setting, failed
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.session import Plan, Session
    from benchmarks.subjects import Shop

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "cached reads that arrive at 1,000 to 50,000 a second; how long each takes"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = ("recipe", "cashews", "aiocache", "fastapi-cache2", "millpond")
QUICK: tuple[str, ...] = ()

_RATES = (1_000, 5_000, 15_000, 50_000)
_SECONDS = 1.5
_ROUNDS = 3
_TASKS = 1000  # that clients are to prepare for; a rate they cannot keep needs more
_TICK = 0.001  # seconds
_GRAIN = 0.002  # seconds that a timer may be late without anybody's being to blame
_PATIENCE = 0.5  # seconds
_WARM_UP = 0.3  # seconds


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one subject's reads in one round."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late: float  # the share that was not answered in time, or raised
    cpu_us: float


async def run(session: Session, plan: Plan) -> list[Result]:
    """Let each subject fill its cache, then let reads arrive at each rate."""
    seconds = plan.seconds or _SECONDS
    rounds = plan.rounds or _ROUNDS
    await shelf.stock(session, "arrivals", NEEDS, plan.subjects)
    session.progress.begin("arrivals", len(_RATES) * rounds * len(plan.subjects))
    results: list[Result] = []
    for rate in _RATES:
        setting = Setting(name=f"{rate:,}/s", tasks=1, size=rate)
        loop = Loop(tasks=_TASKS, seconds=seconds, name=setting.name, size=rate)

        async def arrive(subject: str, number: int, loop: Loop = loop) -> Arrived:
            del number
            async with session.team("arrivals", NEEDS, subject, loop) as team:
                return (await team.receive(Arrived))[0]

        taken = await take_turns(
            session,
            "arrivals",
            plan.subjects,
            arrive,
            Arrived,
            rounds=rounds,
            setting=setting.label,
        )
        for subject, some in taken.items():
            if not some:
                results.append(failed(session, "arrivals", subject, setting))
                continue
            results.append(_summary(subject, setting, some))
            session.progress.say(
                f"arrivals · {setting.name:>8} · {subject:<16} p50 {results[-1].p50_ms:.2f} ms, "
                f"p99 {results[-1].p99_ms:.2f} ms, {results[-1].errors:.1%} late"
            )
    return results


async def work(order: Order, channel: Channel) -> None:
    """Fill the subject's cache, or let reads arrive once."""
    loop = order.read(Loop)
    async with shelf.opened(order, 100 if loop.prepare else loop.tasks) as shop:
        if loop.prepare:
            await shelf.fill(shop, loop.tasks)
            channel.send(Sample())
            return
        await _Arrivals(shop).arrive(loop.size, _WARM_UP)
        arrivals = _Arrivals(shop)
        begun = time.process_time()
        await arrivals.arrive(loop.size, loop.seconds)
        channel.send(arrivals.summed_up(time.process_time() - begun))


class _Arrivals:
    """Reads of one stretch of time."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._took: list[float] = []
        self._late = 0
        drawn = random.Random(1)
        self._ids = itertools.cycle([drawn.randrange(KEYS) for _ in range(10 * KEYS)])

    async def arrive(self, rate: int, seconds: float) -> None:
        running: set[asyncio.Task[None]] = set()
        begun = time.perf_counter()
        arrived = 0
        for tick in itertools.count(1):
            planned = begun + tick * _TICK
            if planned > begun + seconds:
                break
            await asyncio.sleep(max(0.0, planned - time.perf_counter()))
            now = time.perf_counter()
            due = now if now - planned < _GRAIN else planned
            while arrived < rate * tick * _TICK:
                one = asyncio.create_task(self._read(due))
                running.add(one)
                one.add_done_callback(running.discard)
                arrived += 1
        if running:
            _, late = await asyncio.wait(set(running), timeout=_PATIENCE)
            for one in late:
                one.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            self._late += len(late)

    async def _read(self, due: float) -> None:
        try:
            await self._shop.fetch(next(self._ids), _load)
        except Exception:  # noqa: BLE001 - whatever the library raises reaches the handler
            self._late += 1
        else:
            self._took.append(time.perf_counter() - due)

    def summed_up(self, cpu_seconds: float) -> Arrived:
        took = [1e3 * one for one in self._took] or [1e3 * _PATIENCE]
        return Arrived(
            p50_ms=percentile(took, 0.5),
            p99_ms=percentile(took, 0.99),
            p999_ms=percentile(took, 0.999),
            max_ms=max(took),
            late=self._late / (self._late + len(self._took)),
            cpu_us=cpu_seconds / max(len(self._took), 1) * 1e6,
        )


async def _load() -> Product:
    return sample(7)


def _summary(subject: str, setting: Setting, taken: list[Arrived]) -> Result:
    return Result(
        subject=subject,
        tasks=setting.tasks,
        processes=1,
        rounds=len(taken),
        setting=setting.name,
        p50_ms=median([one.p50_ms for one in taken]),
        p99_ms=median([one.p99_ms for one in taken]),
        p999_ms=median([one.p999_ms for one in taken]),
        max_ms=median([one.max_ms for one in taken]),
        errors=median([one.late for one in taken], 4),
        cpu_us=median([one.cpu_us for one in taken], 2),
    )
