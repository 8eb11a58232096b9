"""`get_many`: a hundred typed products in one call, all there, by 10 concurrent tasks.

Per second and per operation count products, not calls.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Final, cast

from benchmarks import shelf, throughput
from benchmarks.source import sample
from benchmarks.throughput import KEYS, Loop, Sample, Setting

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session
    from benchmarks.subjects import Many

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "100 typed values in one call, 10 concurrent tasks; products per second"
NEEDS: Final = "many"
SUBJECTS: tuple[str, ...] = ("redis-py", "recipe", "cashews", "aiocache", "millpond")
QUICK: tuple[str, ...] = ()

_AT_ONCE = 100


async def run(session: Session, plan: Plan) -> list[Result]:
    """Let each subject fill its cache, then compare their rates."""
    await shelf.stock(session, "get_many", NEEDS, plan.subjects)
    settings = [Setting(tasks=10)]
    return await throughput.compare(session, "get_many", NEEDS, plan, settings, rounds=3)


async def work(order: Order, channel: Channel) -> None:
    """Fill the subject's cache, or measure it once."""
    loop = order.read(Loop)
    async with shelf.opened(order, loop.tasks) as shop:
        if loop.prepare:
            await shelf.fill(shop, loop.tasks)
            channel.send(Sample())
            return
        many = cast("Many", shop)
        drawn = random.Random(1)
        calls = [[drawn.randrange(KEYS) for _ in range(_AT_ONCE)] for _ in range(KEYS // 10)]
        read = await many.fetch_many(calls[0])
        if list(read) != [sample(number) for number in calls[0]]:
            raise RuntimeError(f"{order.subject} read other products")
        draw = itertools.cycle(calls).__next__
        channel.send(await throughput.closed_loop(many.fetch_many, draw, loop, factor=_AT_ONCE))
