"""`race`: readers and writers on four hot products in four processes; stale reads are counted.

A write is finished when its commit and then its invalidation have returned. A read is stale if
it yields a version older than the last finished write when the read began: whoever shows such a
value shows what somebody has already been told is replaced. How this is known across processes:

1. A writer commits version v, invalidates, and only then stores v in memory that all processes
   share. Each product has one writer, so the numbers only grow.
2. A reader takes that number first and reads through the cache after. A value with a smaller
   version is stale; nothing else is.

A load reads its row first and then awaits, as a handler does that has more to fetch: that is the
time in which a write can overtake it.
"""

from __future__ import annotations

import asyncio
import mmap
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import subjects
from benchmarks.channel import Channel, Order, sleep_until
from benchmarks.results import Result, percentile
from benchmarks.source import Catalogue, Product

if TYPE_CHECKING:
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "SUBJECTS", "SUMMARY", "Race", "play", "run", "summary", "work"]

SUMMARY = "readers and writers on 4 hot products in 4 processes; stale reads are counted"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = ("recipe", "millpond")

_PRODUCTS = (101, 202, 303, 404)
_PROCESSES = 4
_READERS = 8  # in each process
_SECONDS = 2.5
_ROUNDS = 4
_DELAY = 0.02  # seconds of one load, most of them after the row was read
_TTL = 5.0
_READER_PAUSE = 0.004  # seconds at most, between two reads of one reader
_WRITER_PAUSE = (0.005, 0.060)  # seconds, between two writes of one product
_LEAD_NS = 50_000_000
_LATENCIES = 20_000  # at most, sent home by one process


class RaceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know."""

    database: str
    finished: str  # a file of one u64 per product, mapped by every process
    readers: int
    seconds: float


class Race(msgspec.Struct, frozen=True, kw_only=True):
    """One race as it happened, all processes together."""

    subject: str
    readers: int
    seconds: float
    reads: int
    stale: int
    loads: int
    writes: int
    unconfirmed: int
    latencies_ms: list[float]


class _Ready(msgspec.Struct, frozen=True):
    keys: list[str]


class _Go(msgspec.Struct, frozen=True):
    at_ns: int


class _Share(msgspec.Struct):
    reads: int = 0
    stale: int = 0
    loads: int = 0
    writes: int = 0
    unconfirmed: int = 0
    latencies_ms: list[float] = msgspec.field(default_factory=list[float])


async def run(session: Session, plan: Plan) -> list[Result]:
    """Race every subject in turn, interleaved, and sum up by subject."""
    chosen = plan.subjects or SUBJECTS
    rounds = plan.rounds or _ROUNDS
    seconds = plan.seconds or _SECONDS
    readers = plan.tasks[0] if plan.tasks else _READERS
    session.progress.begin("race", rounds * len(chosen) * seconds)
    races: list[Race] = []
    for number in range(rounds):
        turn = number % len(chosen)
        for subject in (*chosen[turn:], *chosen[:turn]):
            session.progress.at(f"{subject} · round {number + 1}/{rounds}")
            races.append(await play(session, subject, seconds=seconds, readers=readers))
    return [summary([race for race in races if race.subject == subject]) for subject in chosen]


async def play(
    session: Session, subject: str, *, seconds: float = _SECONDS, readers: int = _READERS
) -> Race:
    """Let fresh processes race on one subject's cache; advances the display as time passes.

    Args:
        session: The server and the catalogue.
        subject: The cache.
        seconds: How long.
        readers: Tasks that read, in each process.
    """
    finished = session.folder / "finished"
    finished.write_bytes(bytes(8 * len(_PRODUCTS)))
    options = RaceOptions(
        database=str(session.catalogue()), finished=str(finished), readers=readers, seconds=seconds
    )
    async with session.team("race", subject, options, size=_PROCESSES) as team:
        session.server.delete((await team.receive(_Ready))[0].keys)
        await team.send(_Go(time.monotonic_ns() + _LEAD_NS))
        racing = asyncio.ensure_future(team.receive(_Share))
        try:
            shares = await _shown(session, racing, seconds)
        finally:
            racing.cancel()
    return Race(
        subject=subject,
        readers=readers,
        seconds=seconds,
        reads=sum(share.reads for share in shares),
        stale=sum(share.stale for share in shares),
        loads=sum(share.loads for share in shares),
        writes=sum(share.writes for share in shares),
        unconfirmed=sum(share.unconfirmed for share in shares),
        latencies_ms=[one for share in shares for one in share.latencies_ms],
    )


def summary(races: list[Race]) -> Result:
    """Sum up the races of one subject: counts are totals, latencies are over all reads."""
    latencies = [one for race in races for one in race.latencies_ms]
    seconds = sum(race.seconds for race in races)
    reads = sum(race.reads for race in races)
    return Result(
        subject=races[0].subject,
        tasks=races[0].readers,
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
    """Be one process of a race: all its readers, and the writers of the products it owns."""
    options = order.read(RaceOptions)
    catalogue = Catalogue(Path(options.database), delay=_DELAY)
    tasks = options.readers + len(_PRODUCTS)
    shop = subjects.shop(order.subject, order.url, tasks=tasks, ttl=_TTL)
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
            go = await channel.receive(_Go)
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

    async def race(self, options: RaceOptions, start_ns: int) -> _Share:
        await sleep_until(start_ns)
        self._end = time.monotonic() + options.seconds
        mine = [slot for slot in range(len(_PRODUCTS)) if slot % _PROCESSES == self._index]
        await asyncio.gather(
            *(self._read() for _ in range(options.readers)),
            *(self._write(slot) for slot in mine),
        )
        latencies = self._share.latencies_ms
        self._share.latencies_ms = latencies[:: len(latencies) // _LATENCIES + 1]
        return self._share

    async def _read(self) -> None:
        share = self._share
        while (begun := time.monotonic()) < self._end:
            slot = self._random.randrange(len(_PRODUCTS))
            finished = self._finished[slot]
            product = await self._shop.fetch(_PRODUCTS[slot], self._loader(slot))
            share.latencies_ms.append(round((time.monotonic() - begun) * 1e3, 3))
            share.reads += 1
            share.stale += product.version < finished
            await asyncio.sleep(self._random.random() * _READER_PAUSE)

    def _loader(self, slot: int) -> subjects.Load:
        async def load() -> Product:
            self._share.loads += 1
            return await self._catalogue.load(_PRODUCTS[slot])

        return load

    async def _write(self, slot: int) -> None:
        while time.monotonic() < self._end:
            version = await self._catalogue.raise_version(_PRODUCTS[slot])
            if await self._shop.forget(_PRODUCTS[slot]):
                self._finished[slot] = version
            else:
                self._share.unconfirmed += 1
            self._share.writes += 1
            await asyncio.sleep(self._random.uniform(*_WRITER_PAUSE))


async def _shown(
    session: Session, racing: asyncio.Future[list[_Share]], seconds: float
) -> list[_Share]:
    """Move the display a tenth of a second at a time until the shares are there."""
    shown = 0.0
    while True:
        done, _ = await asyncio.wait({racing}, timeout=0.1)
        step = seconds - shown if done else min(0.1, seconds - shown)
        session.progress.advance(step)
        shown += step
        if done:
            return racing.result()
