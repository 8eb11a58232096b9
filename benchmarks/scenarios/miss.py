"""`miss`: products that nobody has cached, with a source that answers at once.

What is left is what the cache itself costs: asking, claiming, storing.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import shelf, throughput
from benchmarks.source import Product, sample
from benchmarks.throughput import Loop, Setting

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "a product that is not cached, loaded in no time, 100 concurrent tasks"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = (
    "unprotected",
    "recipe",
    "cashews",
    "aiocache",
    "fastapi-cache2",
    "millpond",
)
QUICK: tuple[str, ...] = ()


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare the subjects' rates; what they stored goes at the end."""
    results = await throughput.compare(
        session, "miss", NEEDS, plan, [Setting()], seconds=1.0, rounds=3
    )
    session.server.remove_keys()
    return results


async def work(order: Order, channel: Channel) -> None:
    """Measure one subject once, on products that no process before has asked for."""
    loop = order.read(Loop)
    loads = 0

    async def load() -> Product:
        nonlocal loads
        loads += 1
        return sample(7)

    async with shelf.opened(order, loop.tasks) as shop:

        def fetch(product_id: int) -> Awaitable[Product]:
            return shop.fetch(product_id, load)

        ids = itertools.count(time.time_ns() // 1000)
        measured = await throughput.closed_loop(fetch, ids.__next__, loop)
        channel.send(msgspec.structs.replace(measured, loads=loads))
