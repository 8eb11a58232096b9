"""`web_page`: a whole response from the cache, against the handler that makes it each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import serving, subjects
from benchmarks.throughput import Loop

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "a whole HTTP response from the cache, against the bare handler"
NEEDS: Final = "page"
SUBJECTS: tuple[str, ...] = (
    "bare",
    "fastapi-redis-sdk",
    "fastapi-cache2",
    "millpond",
    "millpond-near",
)
QUICK: tuple[str, ...] = ("bare", "fastapi-cache2", "millpond")


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare requests per second; the warm-up fills the caches."""
    results = await serving.compare(session, "web_page", NEEDS, plan)
    session.server.remove_keys()
    return results


async def work(order: Order, channel: Channel) -> None:
    """Serve, or call."""
    loop = order.read(Loop)
    await serving.work(
        order.index, loop, channel, lambda: subjects.make(order.adapter, order.url), "/products/{}"
    )
