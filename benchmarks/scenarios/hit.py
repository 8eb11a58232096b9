"""`hit`: a typed product of 200 bytes read through the cache, always there.

`floor` is no cache: it asks and decodes on a bare connection, as anybody must who has no copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import shelf, throughput
from benchmarks.throughput import Setting

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "a typed 200-byte value read through the cache, always there"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = (
    "floor",
    "recipe",
    "cashews",
    "aiocache",
    "fastapi-cache2",
    "millpond",
)
QUICK: tuple[str, ...] = SUBJECTS

_TASKS = (1, 100, 1000)


async def run(session: Session, plan: Plan) -> list[Result]:
    """Let each subject fill its cache, then compare their rates."""
    await shelf.stock(session, "hit", NEEDS, plan.subjects)
    settings = [Setting(tasks=count) for count in ((100,) if plan.quick else _TASKS)]
    return await throughput.compare(session, "hit", NEEDS, plan, settings)


async def work(order: Order, channel: Channel) -> None:
    """Fill the subject's cache, or measure it once."""
    await shelf.read(order, channel)
