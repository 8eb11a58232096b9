"""`writes`: reads beside 1 %, 10 % and 50 % writes, by three ways of keeping the cache in step.

Two processes with 50 tasks each work on 500 products, drawn uniformly; each task begins its next
operation when the last has ended. A load takes 10 ms and a commit 5 ms, awaited, as a database
elsewhere would take them.

- `delete`: commit, then `delete`.
- `writing`: commit inside `writing()`; the key is deleted on leaving.
- `write-through`: the same with `write.set`; the new value is stored on leaving.

Latencies are those of reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import msgspec

from benchmarks.results import Result, median, percentile, ratios
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "WAYS", "Share", "WritesOptions", "run", "work"]

SUMMARY = "delete, writing() and write-through beside reads, at 1 %, 10 % and 50 % writes"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = ("millpond",)
QUICK: tuple[str, ...] = ()

Way: TypeAlias = Literal["delete", "writing", "write-through"]

WAYS: Final = ("delete", "writing", "write-through")
_SHARES = (0.01, 0.1, 0.5)
_PROCESSES = 2
_TASKS = 50
_SECONDS = 1.2
_ROUNDS = 2


class WritesOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know."""

    way: Way
    share: float  # of writes
    tasks: int
    seconds: float


class Share(msgspec.Struct):
    """What a worker did in the measured time."""

    reads: int = 0
    writes: int = 0
    loads: int = 0
    latencies_ms: list[float] = msgspec.field(default_factory=list[float])


async def run(session: Session, plan: Plan) -> list[Result]:
    """Measure every way at every share of writes, in turns."""
    rounds = plan.rounds or _ROUNDS
    seconds = plan.seconds or _SECONDS
    tasks = plan.tasks[0] if plan.tasks else _TASKS
    session.progress.begin("writes", len(_SHARES) * rounds * len(WAYS))
    results: list[Result] = []
    for share in _SHARES:

        async def write(way: str, number: int, share: float = share) -> Share:
            del number
            options = WritesOptions(way=cast("Way", way), share=share, tasks=tasks, seconds=seconds)
            async with session.team("writes", NEEDS, "millpond", options, size=_PROCESSES) as team:
                return _together(await team.receive(Share))

        taken = await take_turns(
            session, "writes", WAYS, write, Share, rounds=rounds, setting=f"{share:.0%} writes"
        )
        rates = {
            way: [(one.reads + one.writes) / seconds for one in shares]
            for way, shares in taken.items()
            if shares
        }
        results += [
            _summary(way, share, tasks, shares, rates) for way, shares in taken.items() if shares
        ]
    return results


async def work(order: Order, channel: Channel) -> None:
    """Be one process: a third of the time warms up and is not counted."""
    from benchmarks.subjects.millpond_writes import write_and_read  # noqa: PLC0415  (only here)

    channel.send(await write_and_read(order.url, order.read(WritesOptions), order.index))


def _summary(
    way: str, share: float, tasks: int, shares: list[Share], rates: dict[str, list[float]]
) -> Result:
    latencies = [one for some in shares for one in some.latencies_ms]
    return Result(
        subject="millpond",
        setting=f"{share:.0%} writes, {way}",
        tasks=tasks,
        processes=_PROCESSES,
        rounds=len(shares),
        per_second=median(rates[way], 0),
        ratios={"delete": ratios(rates, way).get("delete", 1.0)},
        p50_ms=round(percentile(latencies, 0.5), 3),
        p99_ms=round(percentile(latencies, 0.99), 3),
        reads=sum(one.reads for one in shares),
        writes=sum(one.writes for one in shares),
        loads=sum(one.loads for one in shares),
    )


def _together(shares: list[Share]) -> Share:
    return Share(
        reads=sum(one.reads for one in shares),
        writes=sum(one.writes for one in shares),
        loads=sum(one.loads for one in shares),
        latencies_ms=[one for share in shares for one in share.latencies_ms],
    )
