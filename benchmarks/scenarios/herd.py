"""`herd`: 4 processes x 250 tasks ask for one product that takes 200 ms to load.

Twice in each round: cold, when no key is there, and again right after its TTL has passed. All
callers start at one moment of the clock that the processes share. A caller's wait counts from
that moment, its own process's scheduling included; `after_fill` counts the last caller's end
from the end of the first load, before anything is stored, so storing, waking and decoding are
all in it. Between two readings of `INFO commandstats` the server runs only what the herd sends.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

import msgspec

from benchmarks import subjects
from benchmarks.channel import Channel, Order, sleep_until
from benchmarks.results import Result, median, percentile
from benchmarks.source import PRODUCTS, Catalogue, Product
from benchmarks.throughput import LEAD_NS, Setting, failed
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.session import Plan, Session

__all__ = [
    "MOMENTS",
    "NEEDS",
    "QUICK",
    "SUBJECTS",
    "SUMMARY",
    "Herd",
    "HerdOptions",
    "Moment",
    "play",
    "run",
    "summary",
    "work",
]

SUMMARY = "4 processes x 250 tasks want one value of 200 ms, cold and at expiry"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = (
    "unprotected",
    "recipe",
    "cashews",
    "cashews-locked",
    "aiocache",
    "fastapi-cache2",
    "millpond",
)
QUICK: tuple[str, ...] = ("recipe", "millpond")

Moment = Literal["cold", "expiry"]
MOMENTS: tuple[Moment, ...] = ("cold", "expiry")

_PROCESSES = 4
_TASKS = 250
_ROUNDS = 20
_PAST_EXPIRY_NS = 5_000_000


class HerdOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know."""

    product: int
    database: str
    tasks: int = _TASKS
    ttl: float = 1.5  # seconds: longer than any subject's herd, or it would expire within one
    delay: float = 0.2  # seconds of one load


class Herd(msgspec.Struct, frozen=True, kw_only=True):
    """One herd as it happened; times are nanoseconds after the common start."""

    subject: str
    moment: Moment
    finished: list[int]  # when each caller had the product, process by process
    loaders: list[int]  # which callers ran the load, as indices into `finished`
    loaded: list[int]  # when the loads ended
    commands: dict[str, int]

    @property
    def last(self) -> int:
        """When the last caller had the product."""
        return max(self.finished)

    @property
    def after_fill(self) -> int:
        """How long after the first load's end the last caller had it."""
        return self.last - min(self.loaded, default=0)


class _Ready(msgspec.Struct, frozen=True):
    key: str


class _Go(msgspec.Struct, frozen=True):
    at_ns: int


class _Share(msgspec.Struct, frozen=True):
    finished: list[int]
    loaders: list[int]
    loaded: list[int]


async def run(session: Session, plan: Plan) -> list[Result]:
    """Play every subject's herds, interleaved, and sum them up by subject and moment."""
    rounds = plan.rounds or (3 if plan.quick else _ROUNDS)
    setting = Setting(tasks=plan.tasks[0] if plan.tasks else _TASKS, processes=_PROCESSES)

    async def both(subject: str, number: int) -> list[Herd]:
        return await play(session, subject, number, tasks=setting.tasks)

    session.progress.begin("herd", rounds * len(plan.subjects))
    taken = await take_turns(
        session, "herd", plan.subjects, both, list[Herd], rounds=rounds, setting=setting.label
    )
    results: list[Result] = []
    for moment in MOMENTS:
        for subject, pairs in taken.items():
            herds = [herd for pair in pairs for herd in pair if herd.moment == moment]
            if not herds:
                results.append(failed(session, "herd", subject, setting))
                continue
            results.append(summary(herds))
            session.progress.say(
                f"herd · {moment:<6} · {subject:<16} {results[-1].loads} loads in {len(herds)} "
                f"herds, last caller p99 {results[-1].after_fill_p99_ms:.1f} ms after the load"
            )
    return results


async def play(
    session: Session, subject: str, number: int, *, tasks: int = _TASKS, processes: int = _PROCESSES
) -> list[Herd]:
    """Let fresh processes run one subject's two herds: cold, then at expiry.

    Args:
        session: The server and the catalogue.
        subject: Who protects the catalogue.
        number: Of the round; each has its own product.
        tasks: In each process.
        processes: How many.
    """
    options = HerdOptions(
        product=1 + number * 997 % PRODUCTS, database=str(session.catalogue()), tasks=tasks
    )
    herds: list[Herd] = []
    async with session.team("herd", NEEDS, subject, options, size=processes) as team:
        key = (await team.receive(_Ready))[0].key
        session.server.delete([key])
        for moment in MOMENTS:
            start = time.monotonic_ns() + LEAD_NS
            if moment == "expiry":
                left_ns = session.server.milliseconds_left(key) * 1_000_000
                start = max(start, time.monotonic_ns() + left_ns + _PAST_EXPIRY_NS)
            before = session.server.command_calls()
            await team.send(_Go(start))
            shares = await team.receive(_Share)
            after = session.server.command_calls()
            herds.append(
                Herd(
                    subject=subject,
                    moment=moment,
                    finished=[one for share in shares for one in share.finished],
                    loaders=[
                        index * tasks + one
                        for index, share in enumerate(shares)
                        for one in share.loaders
                    ],
                    loaded=[one for share in shares for one in share.loaded],
                    commands=_difference(before, after),
                )
            )
    return herds


def summary(herds: Sequence[Herd]) -> Result:
    """Sum up the herds of one subject and moment.

    The waits' percentiles are over all callers of all herds; those after the fill are over the
    herds, each represented by its last caller.
    """
    waits = [one / 1e6 for herd in herds for one in herd.finished]
    after_fill = [herd.after_fill / 1e6 for herd in herds]
    names = sorted({name for herd in herds for name in herd.commands})
    commands = {
        name: round(sum(herd.commands.get(name, 0) for herd in herds) / len(herds), 1)
        for name in names
    }
    return Result(
        subject=herds[0].subject,
        moment=herds[0].moment,
        tasks=len(herds[0].finished) // _PROCESSES,
        processes=_PROCESSES,
        rounds=len(herds),
        p50_ms=round(percentile(waits, 0.5), 3),
        p99_ms=round(percentile(waits, 0.99), 3),
        max_ms=round(max(waits), 3),
        wall_ms=median([herd.last / 1e6 for herd in herds]),
        after_fill_p50_ms=median(after_fill),
        after_fill_p99_ms=round(percentile(after_fill, 0.99), 3),
        after_fill_max_ms=round(max(after_fill), 3),
        loads=sum(len(herd.loaded) for herd in herds),
        most_loads=max(len(herd.loaded) for herd in herds),
        commands=commands,
        tracked_reads=round(commands.get("client|caching", 0.0) / _PROCESSES, 2),
    )


async def work(order: Order, channel: Channel) -> None:
    """Be one process of a subject's herds, until the parent has no more of them."""
    options = order.read(HerdOptions)
    catalogue = Catalogue(Path(options.database), delay=options.delay)
    made = subjects.make(order.adapter, order.url, tasks=options.tasks, ttl=options.ttl)
    shop = cast("subjects.Shop", made)
    await shop.open()
    try:
        # The herd is to find the worker threads, their connections and the pages warm.
        await asyncio.gather(*(catalogue.load(PRODUCTS - number) for number in range(8)))
        channel.send(_Ready(shop.key(options.product)))
        while (go := await channel.receive(_Go)) is not None:
            channel.send(await _stampede(shop, catalogue, options, go.at_ns))
    finally:
        await shop.aclose()
        catalogue.close()


async def _stampede(
    shop: subjects.Shop, catalogue: Catalogue, options: HerdOptions, start_ns: int
) -> _Share:
    gate = asyncio.Event()
    finished = [0] * options.tasks
    loaders: list[int] = []
    loaded: list[int] = []

    async def caller(number: int) -> None:
        async def load() -> Product:
            loaders.append(number)
            product = await catalogue.load(options.product)
            loaded.append(time.monotonic_ns() - start_ns)
            return product

        await gate.wait()
        product = await shop.fetch(options.product, load)
        finished[number] = time.monotonic_ns() - start_ns
        if product.id != options.product:
            raise RuntimeError(f"asked for product {options.product}, got {product.id}")

    callers = [asyncio.create_task(caller(number)) for number in range(options.tasks)]
    await sleep_until(start_ns)
    gate.set()
    await asyncio.gather(*callers)
    return _Share(finished, loaders, loaded)


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Count what was called in between; INFO is the counting itself."""
    calls = {name: count - before.get(name, 0) for name, count in after.items() if name != "info"}
    return {name: count for name, count in calls.items() if count}
