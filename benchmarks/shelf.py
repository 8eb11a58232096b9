"""A shop with its shelves full: what the scenarios have in common that read through a cache."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from typing import TYPE_CHECKING, cast

import msgspec

from benchmarks import subjects, throughput
from benchmarks.keys import KEY_TTL
from benchmarks.processes import WorkerFailed
from benchmarks.session import EVERY_SETTING
from benchmarks.source import Product, sample
from benchmarks.throughput import KEYS, Loop, Sample
from benchmarks.turns import LONGEST

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from benchmarks.channel import Channel, Order
    from benchmarks.session import Session
    from benchmarks.subjects import Role

__all__ = ["fill", "opened", "read", "stock"]


async def stock(session: Session, scenario: str, role: Role, chosen: tuple[str, ...]) -> None:
    """Let each subject fill its cache, in a process of its own; one that cannot is out."""
    for subject in chosen:
        order = Loop(tasks=100, seconds=0.0, prepare=True)
        try:
            async with (
                asyncio.timeout(LONGEST),
                session.team(scenario, role, subject, order) as team,
            ):
                await team.receive(Sample)
        except (WorkerFailed, TimeoutError) as error:
            reason = str(error) or f"its cache was not filled within {LONGEST:.0f} s"
            session.fail(scenario, EVERY_SETTING, subject, reason)


@contextlib.asynccontextmanager
async def opened(order: Order, tasks: int) -> AsyncGenerator[subjects.Shop]:
    """Open the shop that the order names, and close it."""
    shop = cast(
        "subjects.Shop", subjects.make(order.adapter, order.url, tasks=tasks, ttl=float(KEY_TTL))
    )
    await shop.open()
    try:
        yield shop
    finally:
        await shop.aclose()


async def fill(shop: subjects.Shop, tasks: int, keys: int = KEYS) -> None:
    """Store the products that `read` asks for."""
    for first in range(0, keys, tasks):
        last = min(first + tasks, keys)
        await asyncio.gather(*(shop.store(sample(number)) for number in range(first, last)))


async def read(order: Order, channel: Channel, *, keys: int = KEYS, warm: bool = False) -> None:
    """Fill the subject's cache, or measure reading from it once.

    Args:
        order: The loop, its tasks and seconds.
        channel: Gets the sample.
        keys: How many products, drawn uniformly.
        warm: Read each of them once first, for subjects that keep a copy of their own.
    """
    loop = order.read(Loop)
    loads = 0

    async def load() -> Product:
        nonlocal loads
        loads += 1
        return sample(7)

    async with opened(order, loop.tasks) as shop:

        def fetch(product_id: int) -> Awaitable[Product]:
            return shop.fetch(product_id, load)

        if loop.prepare:
            await fill(shop, loop.tasks, keys)
            channel.send(Sample())
            return
        if await fetch(7) != sample(7):
            raise RuntimeError(f"{order.subject} read another product")
        if warm:
            for number in range(keys):
                await fetch(number)
        drawn = random.Random(1 + order.index)
        ids = itertools.cycle([drawn.randrange(keys) for _ in range(10 * KEYS)])
        if await throughput.begin_together(channel, loop):
            measured = await throughput.closed_loop(fetch, ids.__next__, loop)
            channel.send(msgspec.structs.replace(measured, loads=loads))
