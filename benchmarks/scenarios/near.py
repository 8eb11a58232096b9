"""`near`: products that this process has read before, from its own memory where it keeps them.

1,000 products, all of them within every subject's bounds; each was read once before the clock
starts. What such a copy may be worth after a write elsewhere is the subject's promise: those of
millpond and of cashews are dropped when the server pushes an invalidation.
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

SUMMARY = "a typed 200-byte value that this process keeps a copy of, 100 concurrent tasks"
NEEDS: Final = "near"
SUBJECTS: tuple[str, ...] = ("cashews", "millpond")
QUICK: tuple[str, ...] = ("cashews", "millpond")

_PRODUCTS = 1000


async def run(session: Session, plan: Plan) -> list[Result]:
    """Let each subject fill its cache, then compare their rates."""
    await shelf.stock(session, "near", NEEDS, plan.subjects)
    return await throughput.compare(session, "near", NEEDS, plan, [Setting()])


async def work(order: Order, channel: Channel) -> None:
    """Fill the subject's cache, or measure it once."""
    await shelf.read(order, channel, keys=_PRODUCTS, warm=True)
