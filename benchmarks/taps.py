"""Rate limits under a closed loop: what the scenarios have in common that hit a limiter."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, cast

import msgspec

from benchmarks import subjects, throughput
from benchmarks.keys import KEY_PREFIX
from benchmarks.throughput import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.channel import Channel, Order

__all__ = ["hit", "make"]


def make(order: Order, *, tasks: int, limit: int, per: float) -> subjects.Limiter:
    """Make the limiter that the order names."""
    made = subjects.make(order.adapter, order.url, tasks=tasks, limit=limit, per=per)
    return cast("subjects.Limiter", made)


async def hit(
    order: Order, channel: Channel, *, keys: int, limit: int, per: float, spent: bool = False
) -> None:
    """Measure hits of one subject once.

    Args:
        order: The loop.
        channel: Gets the sample.
        keys: How many keys, drawn uniformly; of one, another takes its place before its limit
            is reached.
        limit: Of each key.
        per: Seconds.
        spent: Use up the limit before the clock starts, and expect denials only.
    """
    loop = order.read(Loop)
    limiter = make(order, tasks=loop.tasks, limit=limit, per=per)
    await limiter.open()
    allowed = hits = 0

    async def one(key: str) -> None:
        nonlocal allowed, hits
        answer = await limiter.hit(key)
        allowed += bool(answer)
        hits += 1

    try:
        run = f"{KEY_PREFIX}:{order.subject}:{random.randrange(2**40):x}"
        drawn = random.Random(1)
        names = [f"{run}:{number}" for number in range(keys)]
        draws: Iterator[str] = itertools.cycle([drawn.choice(names) for _ in range(100_000)])
        if keys == 1 and not spent:
            draws = _one_at_a_time(run, limit // 2)
        if spent:
            while await limiter.hit(names[0]):
                pass
            if await limiter.hit(names[0]):
                raise RuntimeError(f"{order.subject} lets more than {limit} through")
        measured = await throughput.closed_loop(one, draws.__next__, loop)
        channel.send(msgspec.structs.replace(measured, allowed=allowed / hits))
    finally:
        await limiter.aclose()


def _one_at_a_time(run: str, hits: int) -> Iterator[str]:
    for number in itertools.count():
        yield from itertools.repeat(f"{run}:{number}", hits)
