"""`limit_denied`: 100 tasks hit one key that is over its limit of 10 an hour: every hit is denied.

This is what a flood does. Whoever asks the server each time pays for the flood; whoever counts
the denied hits, too, lets nobody in as long as it lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import taps, throughput
from benchmarks.throughput import Setting

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "hits that are denied, one key, 100 concurrent tasks"
NEEDS: Final = "limiter"
SUBJECTS: tuple[str, ...] = (
    "recipe",
    "throttled-sliding",
    "throttled-gcra",
    "limits",
    "pyrate-limiter",
    "fastapi-redis-sdk",
    "millpond",
)
QUICK: tuple[str, ...] = ("throttled-sliding", "limits", "millpond")

_LIMIT = 10
_PER = 3600.0


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare the subjects' rates of denial."""
    results = await throughput.compare(
        session, "limit_denied", NEEDS, plan, [Setting()], seconds=1.0, rounds=3
    )
    session.server.remove_keys()
    return results


async def work(order: Order, channel: Channel) -> None:
    """Measure one subject once."""
    await taps.hit(order, channel, keys=1, limit=_LIMIT, per=_PER, spent=True)
