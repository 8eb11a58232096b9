"""`lock`: 100 tasks take and release locks that nobody else wants, each one of its own.

millpond's gives a fencing token with every acquisition; the others have none.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, cast

from benchmarks import subjects, throughput
from benchmarks.keys import KEY_PREFIX
from benchmarks.throughput import Loop, Setting

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "100 tasks hold and release 100 locks that nobody else wants"
NEEDS: Final = "lock"
SUBJECTS: tuple[str, ...] = ("redis-py", "cashews", "coredis", "pottery", "millpond")
QUICK: tuple[str, ...] = ("redis-py", "cashews", "millpond")


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare the subjects' rates of holding and releasing."""
    return await throughput.compare(session, "lock", NEEDS, plan, [Setting()])


async def work(order: Order, channel: Channel) -> None:
    """Measure one subject once."""
    loop = order.read(Loop)
    locker = cast("subjects.Locker", subjects.make(order.adapter, order.url, tasks=loop.tasks))
    await locker.open()
    try:

        async def hold(name: str) -> None:
            async with locker.hold(name):
                pass

        # Twice as many names as tasks, in turn: no name is wanted again before it is free, but
        # for a task that falls a whole round behind the others, and then it waits as it should.
        names = itertools.cycle([f"{KEY_PREFIX}:lock:{n}" for n in range(2 * loop.tasks)])
        channel.send(await throughput.closed_loop(hold, names.__next__, loop))
    finally:
        await locker.aclose()
