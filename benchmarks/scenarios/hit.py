"""`hit`: a typed product of 200 bytes read through the cache, always there."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import subjects, throughput
from benchmarks.keys import KEY_TTL
from benchmarks.source import Product, sample
from benchmarks.throughput import KEYS, Loop, Sample

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "a typed 200-byte value read through the cache: GET + JSON against get_or_set"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = ("recipe", "millpond")

_TASKS = (1, 10, 100, 1000)
_SECONDS = 1.5
_ROUNDS = 5


async def run(session: Session, plan: Plan) -> list[Result]:
    """Let each subject fill its cache, then compare their rates."""
    chosen = plan.subjects or SUBJECTS
    for subject in chosen:
        prepare = Loop(tasks=100, seconds=0.0, prepare=True)
        async with session.team("hit", subject, prepare) as team:
            await team.receive(Sample)
    return await throughput.compare(
        session,
        "hit",
        chosen,
        tasks=plan.tasks or _TASKS,
        seconds=plan.seconds or _SECONDS,
        rounds=plan.rounds or _ROUNDS,
    )


async def work(order: Order, channel: Channel) -> None:
    """Fill the subject's cache, or measure it once."""
    loop = order.read(Loop)
    shop = subjects.shop(order.subject, order.url, tasks=loop.tasks, ttl=KEY_TTL)
    loads = 0

    async def load() -> Product:
        nonlocal loads
        loads += 1
        return sample(7)

    def fetch(product_id: int) -> Awaitable[Product]:
        return shop.fetch(product_id, load)

    await shop.open()
    try:
        if loop.prepare:
            await _prepare(shop, loop.tasks)
            channel.send(Sample())
            return
        if await fetch(7) != sample(7):
            raise RuntimeError(f"{order.subject} read another product")
        drawn = random.Random(1)
        ids = itertools.cycle([drawn.randrange(KEYS) for _ in range(10 * KEYS)])
        measured = await throughput.closed_loop(fetch, ids.__next__, loop)
        channel.send(msgspec.structs.replace(measured, loads=loads))
    finally:
        await shop.aclose()


async def _prepare(shop: subjects.Shop, tasks: int) -> None:
    for first in range(0, KEYS, tasks):
        await asyncio.gather(
            *(shop.store(sample(number)) for number in range(first, min(first + tasks, KEYS)))
        )
