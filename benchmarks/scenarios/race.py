"""`race`: reads beside 1 %, 10 % and 50 % writes in four processes; stale reads are counted.

A write is finished when its commit and then its invalidation have returned. A read is stale if
it yields a version older than the last finished write when the read began: whoever shows such a
value shows what somebody has already been told is replaced. How this is known across processes:

1. A writer commits version v, invalidates, and only then stores v in memory that all processes
   share. Each product belongs to one process, where one write of it runs at a time, so the
   numbers only grow.
2. A reader takes that number first and reads through the cache after. A value with a smaller
   version is stale; nothing else is.

A load reads its row first and then awaits, as a handler does that has more to fetch: that is the
time in which a write can overtake it. Products are drawn by Zipf's law, as visitors do: of 64
the most popular has a fifth of all reads and writes.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import mmap
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import msgspec

from benchmarks import subjects
from benchmarks.channel import Channel, Order, sleep_until
from benchmarks.results import Result, percentile
from benchmarks.source import Catalogue, Product
from benchmarks.throughput import LEAD_NS, Go, Setting, failed
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "Race", "play", "run", "summary", "work"]

SUMMARY = "reads beside 1, 10 and 50 % writes, Zipf keys, 4 processes; stale reads are counted"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = (
    "unprotected",
    "recipe",
    "cashews",
    "cashews-client-side",
    "aiocache",
    "fastapi-cache2",
    "millpond",
)
QUICK: tuple[str, ...] = ()

_PRODUCTS = tuple(range(101, 165))
_WEIGHTS = list(itertools.accumulate(1 / rank for rank in range(1, len(_PRODUCTS) + 1)))
_SHARES = (0.01, 0.10, 0.50)  # of writes
_PROCESSES = 4
_TASKS = 8  # in each process
_SECONDS = 2.5
_ROUNDS = 3
_DELAY = 0.02  # seconds of one load, most of them after the row was read
_TTL = 5.0
_PAUSE = 0.006  # seconds at most, between two operations of one task
_LATENCIES = 2_000  # at most, sent home by one process


class RaceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know."""

    database: str
    finished: str  # a file of one u64 per product, mapped by every process
    tasks: int
    seconds: float
    share: float


class Race(msgspec.Struct, frozen=True, kw_only=True):
    """One race as it happened, all processes together."""

    subject: str
    share: float  # of writes among all operations
    tasks: int
    seconds: float
    reads: int
    stale: int
    loads: int
    writes: int
    unconfirmed: int
    latencies_ms: list[float]


class _Ready(msgspec.Struct, frozen=True):
    keys: list[str]


class _Share(msgspec.Struct):
    reads: int = 0
    stale: int = 0
    loads: int = 0
    writes: int = 0
    unconfirmed: int = 0
    latencies_ms: list[float] = msgspec.field(default_factory=list[float])


async def run(session: Session, plan: Plan) -> list[Result]:
    """Race every subject in turn, at every share of writes, and sum up by subject."""
    rounds = plan.rounds or _ROUNDS
    seconds = plan.seconds or _SECONDS
    tasks = plan.tasks[0] if plan.tasks else _TASKS
    session.progress.begin("race", len(_SHARES) * rounds * len(plan.subjects))
    results: list[Result] = []
    for share in _SHARES:
        setting = Setting(name=f"{share:.0%} writes", tasks=tasks, processes=_PROCESSES)

        async def race(subject: str, number: int, share: float = share) -> Race:
            del number
            return await play(session, subject, share=share, seconds=seconds, tasks=tasks)

        taken = await take_turns(
            session, "race", plan.subjects, race, Race, rounds=rounds, setting=setting.label
        )
        for subject, races in taken.items():
            if not races:
                results.append(failed(session, "race", subject, setting))
                continue
            results.append(summary(races))
            session.progress.say(
                f"race · {setting.name} · {subject:<20} {results[-1].stale:>7,} stale of "
                f"{results[-1].reads:,} reads"
            )
    return results


async def play(
    session: Session,
    subject: str,
    *,
    share: float = 0.1,
    seconds: float = _SECONDS,
    tasks: int = _TASKS,
) -> Race:
    """Let fresh processes race on one subject's cache.

    Args:
        session: The server and the catalogue.
        subject: The cache.
        share: Of writes among all operations.
        seconds: How long.
        tasks: In each process.
    """
    finished = session.folder / "finished"
    finished.write_bytes(bytes(8 * len(_PRODUCTS)))
    options = RaceOptions(
        database=str(session.catalogue()),
        finished=str(finished),
        tasks=tasks,
        seconds=seconds,
        share=share,
    )
    async with session.team("race", NEEDS, subject, options, size=_PROCESSES) as team:
        session.server.delete((await team.receive(_Ready))[0].keys)
        await team.send(Go(time.monotonic_ns() + LEAD_NS))
        shares = await team.receive(_Share)
    return Race(
        subject=subject,
        share=share,
        tasks=tasks,
        seconds=seconds,
        reads=sum(one.reads for one in shares),
        stale=sum(one.stale for one in shares),
        loads=sum(one.loads for one in shares),
        writes=sum(one.writes for one in shares),
        unconfirmed=sum(one.unconfirmed for one in shares),
        latencies_ms=[latency for one in shares for latency in one.latencies_ms],
    )


def summary(races: list[Race]) -> Result:
    """Sum up the races of one subject: counts are totals, latencies are over all reads."""
    latencies = [one for race in races for one in race.latencies_ms]
    seconds = sum(race.seconds for race in races)
    reads = sum(race.reads for race in races)
    return Result(
        subject=races[0].subject,
        setting=f"{races[0].share:.0%} writes",
        tasks=races[0].tasks,
        processes=_PROCESSES,
        rounds=len(races),
        per_second=round(reads / seconds),
        p50_ms=round(percentile(latencies, 0.5), 3),
        p99_ms=round(percentile(latencies, 0.99), 3),
        max_ms=round(max(latencies), 3),
        loads=sum(race.loads for race in races),
        reads=reads,
        writes=sum(race.writes for race in races),
        unconfirmed=sum(race.unconfirmed for race in races),
        stale=sum(race.stale for race in races),
    )


async def work(order: Order, channel: Channel) -> None:
    """Be one process of a race: its tasks read all products and write those it owns."""
    options = order.read(RaceOptions)
    catalogue = Catalogue(Path(options.database), delay=_DELAY)
    made = subjects.make(order.adapter, order.url, tasks=options.tasks, ttl=_TTL)
    shop = cast("subjects.Shop", made)
    await shop.open()
    try:
        await asyncio.gather(*(catalogue.load(number) for number in range(1, 9)))
        with (
            Path(options.finished).open("r+b") as file,
            mmap.mmap(file.fileno(), 0) as shared,
            memoryview(shared) as octets,
            octets.cast("Q") as versions,
        ):
            channel.send(_Ready([shop.key(product) for product in _PRODUCTS]))
            go = await channel.receive(Go)
            if go is not None:
                runner = _Runner(shop, catalogue, versions, order.index)
                channel.send(await runner.race(options, go.at_ns))
    finally:
        await shop.aclose()
        catalogue.close()


class _Runner:
    """The tasks of one process."""

    def __init__(
        self,
        shop: subjects.Shop,
        catalogue: Catalogue,
        finished: memoryview[int],
        index: int,
    ) -> None:
        self._shop = shop
        self._catalogue = catalogue
        self._finished = finished
        self._index = index
        self._random = random.Random(index)
        self._share = _Share()
        self._writing = [asyncio.Lock() for _ in _PRODUCTS]

    async def race(self, options: RaceOptions, start_ns: int) -> _Share:
        """Begin with all others, end by the clock, and report."""
        await sleep_until(start_ns)
        end = time.monotonic() + options.seconds
        await asyncio.gather(*(self._task(options.share, end) for _ in range(options.tasks)))
        latencies = self._share.latencies_ms
        self._share.latencies_ms = latencies[:: len(latencies) // _LATENCIES + 1]
        return self._share

    async def _task(self, share: float, end: float) -> None:
        while time.monotonic() < end:
            if self._random.random() < share:
                await self._write(self._drawn_of_mine())
            else:
                await self._read(self._drawn())
            await asyncio.sleep(self._random.random() * _PAUSE)

    def _drawn(self) -> int:
        return bisect.bisect(_WEIGHTS, self._random.random() * _WEIGHTS[-1])

    def _drawn_of_mine(self) -> int:
        while (slot := self._drawn()) % _PROCESSES != self._index:
            pass
        return slot

    async def _read(self, slot: int) -> None:
        share = self._share
        begun = time.monotonic()
        finished = self._finished[slot]
        product = await self._shop.fetch(_PRODUCTS[slot], self._loader(slot))
        share.latencies_ms.append(round((time.monotonic() - begun) * 1e3, 3))
        share.reads += 1
        share.stale += product.version < finished

    def _loader(self, slot: int) -> subjects.Load:
        async def load() -> Product:
            self._share.loads += 1
            return await self._catalogue.load(_PRODUCTS[slot])

        return load

    async def _write(self, slot: int) -> None:
        async with self._writing[slot]:
            version = await self._catalogue.raise_version(_PRODUCTS[slot])
            if await self._shop.forget(_PRODUCTS[slot]):
                self._finished[slot] = version
            else:
                self._share.unconfirmed += 1
            self._share.writes += 1
