"""`idle`: what a client costs its process that is connected and does nothing.

A hundred clients, each of which has read one key; the growth of the process's resident memory,
divided among them. One comes before, and takes what all share with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import msgspec

from benchmarks import subjects, throughput
from benchmarks.results import Result, median
from benchmarks.throughput import Setting
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "memory of a client that is connected and does nothing"
NEEDS: Final = "commands"
SUBJECTS: tuple[str, ...] = ("floor", "redis-py", "valkey-glide", "coredis", "millpond")
QUICK: tuple[str, ...] = ()

_CLIENTS = 100
_ROUNDS = 3
_PAGE = 4096  # bytes, which is what /proc/self/statm counts in on the machines this runs on


class Options(msgspec.Struct, frozen=True):
    """What a worker needs to know."""

    clients: int


class Cost(msgspec.Struct, frozen=True):
    """What one client costs."""

    octets: int
    rss_mib: float


async def run(session: Session, plan: Plan) -> list[Result]:
    """Weigh every subject's clients."""
    rounds = plan.rounds or _ROUNDS
    setting = Setting(tasks=1)

    async def weigh(subject: str, number: int) -> Cost:
        del number
        async with session.team("idle", NEEDS, subject, Options(_CLIENTS)) as team:
            return (await team.receive(Cost))[0]

    session.progress.begin("idle", rounds * len(plan.subjects))
    taken = await take_turns(
        session, "idle", plan.subjects, weigh, Cost, rounds=rounds, setting=setting.label
    )
    results: list[Result] = []
    for subject, some in taken.items():
        if not some:
            results.append(throughput.failed(session, "idle", subject, setting))
            continue
        octets = round(median([one.octets for one in some]))
        session.progress.say(f"idle · {subject:<16} {octets:>10,} B a client")
        results.append(
            Result(
                subject=subject,
                tasks=1,
                processes=1,
                rounds=len(some),
                client_bytes=octets,
                rss_mib=round(median([one.rss_mib for one in some]), 1),
            )
        )
    return results


async def work(order: Order, channel: Channel) -> None:
    """Open the clients, one after another, and look."""
    count = order.read(Options).clients
    clients: list[subjects.Commands] = []
    before = 0
    for number in range(count + 1):
        made = subjects.make(order.adapter, order.url, tasks=1)
        client = cast("subjects.Commands", made)
        await client.open()
        await client.get("no such key")
        clients.append(client)
        if number == 0:
            before = _resident()
    after = _resident()
    channel.send(Cost((after - before) // count, throughput.peak_rss_mib()))
    for client in reversed(clients):
        await client.aclose()


def _resident() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        raise RuntimeError("only Linux says how much memory a process has just now")
    return int(statm.read_text("ascii").split()[1]) * _PAGE
