"""`processes`: hits of a typed product by 1, 2 and 4 processes of 100 tasks each.

All processes and the server share the machine's cores: where there are fewer than processes and
one, the figures say how the subjects share a full machine, not how they scale.
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

SUMMARY = "cached reads by 1, 2 and 4 processes of 100 tasks"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = ("recipe", "cashews", "millpond")
QUICK: tuple[str, ...] = ()

_PROCESSES = (1, 2, 4)


async def run(session: Session, plan: Plan) -> list[Result]:
    """Let each subject fill its cache, then compare their rates, summed over the processes."""
    await shelf.stock(session, "processes", NEEDS, plan.subjects)
    settings = [Setting(processes=count) for count in _PROCESSES]
    return await throughput.compare(session, "processes", NEEDS, plan, settings, rounds=3)


async def work(order: Order, channel: Channel) -> None:
    """Fill the subject's cache, or be one of its processes."""
    await shelf.read(order, channel)
