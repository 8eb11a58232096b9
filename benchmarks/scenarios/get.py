"""`get`: one GET at a time, of 200 bytes, by 1 to 1,000 concurrent tasks of one process."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Final

from benchmarks import subjects, throughput
from benchmarks.keys import KEY_PREFIX
from benchmarks.throughput import KEYS, Loop

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "GET of 200 bytes, 1 to 1,000 concurrent tasks"
NEEDS: Final = "commands"
SUBJECTS: tuple[str, ...] = ("redis-py", "millpond", "floor")

_TASKS = (1, 10, 100, 1000)
_SECONDS = 1.5
_ROUNDS = 5


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare the subjects' rates."""
    session.server.fill({_key(number): _value(number) for number in range(KEYS)})
    return await throughput.compare(
        session,
        "get",
        plan.subjects or SUBJECTS,
        tasks=plan.tasks or _TASKS,
        seconds=plan.seconds or _SECONDS,
        rounds=plan.rounds or _ROUNDS,
    )


async def work(order: Order, channel: Channel) -> None:
    """Measure one subject once."""
    loop = order.read(Loop)
    client = subjects.commands(order.subject, order.url, tasks=loop.tasks)
    await client.open()
    try:
        reply = await client.get(_key(7))
        if reply != _value(7):
            raise RuntimeError(f"{order.subject} read {reply!r}")
        drawn = random.Random(1)
        keys = itertools.cycle([_key(drawn.randrange(KEYS)) for _ in range(10 * KEYS)])
        channel.send(await throughput.closed_loop(client.get, keys.__next__, loop))
    finally:
        await client.aclose()


def _key(number: int) -> str:
    return f"{KEY_PREFIX}:get:{number}"


def _value(number: int) -> bytes:
    return f"value {number} ".encode().ljust(200, b".")
