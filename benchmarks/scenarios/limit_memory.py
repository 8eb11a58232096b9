"""`limit_memory`: what a key costs the server after 1, 100 and 1,000 hits on a limit of 1,000.

`MEMORY USAGE` of every key that the subject has written, which the server is asked for before
and after. One hit after another, as one caller sends them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import taps, throughput
from benchmarks.keys import KEY_PREFIX
from benchmarks.results import Result, median
from benchmarks.throughput import Setting
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "bytes of server memory for a key with 1, 100 and 1,000 hits"
NEEDS: Final = "limiter"
SUBJECTS: tuple[str, ...] = (
    "recipe",
    "throttled-sliding",
    "throttled-gcra",
    "limits",
    "pyrate-limiter",
    "fastapi-redis-sdk",
    "millpond",
)
QUICK: tuple[str, ...] = ()

_HITS = (1, 100, 1000)
_LIMIT = 1000
_PER = 3600.0


class Options(msgspec.Struct, frozen=True):
    """What a worker needs to know."""

    hits: int


class Done(msgspec.Struct, frozen=True):
    """The hits have been counted; the parent may look."""

    allowed: int


class Weight(msgspec.Struct, frozen=True):
    """What the server says."""

    octets: int
    allowed: int


async def run(session: Session, plan: Plan) -> list[Result]:
    """Weigh every subject's key after every number of hits."""
    session.progress.begin("limit_memory", len(_HITS) * len(plan.subjects))
    results: list[Result] = []
    for hits in _HITS:
        setting = Setting(tasks=1, name=f"{hits:,} hit{'s' if hits > 1 else ''}")

        async def weigh(subject: str, number: int, hits: int = hits) -> Weight:
            del number
            session.server.remove_keys()
            async with session.team("limit_memory", NEEDS, subject, Options(hits)) as team:
                (done,) = await team.receive(Done)
                return Weight(session.server.memory_used(), done.allowed)

        taken = await take_turns(
            session,
            "limit_memory",
            plan.subjects,
            weigh,
            Weight,
            rounds=1,
            setting=setting.label,
        )
        for subject, some in taken.items():
            if not some:
                results.append(throughput.failed(session, "limit_memory", subject, setting))
                continue
            octets = round(median([one.octets for one in some]))
            session.progress.say(f"limit_memory · {setting.name} · {subject:<16} {octets:>8,} B")
            results.append(
                Result(
                    subject=subject,
                    tasks=1,
                    processes=1,
                    rounds=1,
                    setting=setting.name,
                    bytes_per_key=octets,
                    allowed=some[0].allowed / hits,
                )
            )
    session.server.remove_keys()
    return results


async def work(order: Order, channel: Channel) -> None:
    """Hit, and keep the connection until the parent has looked."""
    hits = order.read(Options).hits
    limiter = taps.make(order, tasks=1, limit=_LIMIT, per=_PER)
    await limiter.open()
    try:
        allowed = 0
        for _ in range(hits):
            allowed += bool(await limiter.hit(f"{KEY_PREFIX}:{order.subject}:memory"))
        channel.send(Done(allowed))
        await channel.receive(Done)
    finally:
        await limiter.aclose()
