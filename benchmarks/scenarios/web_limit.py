"""`web_limit`: a FastAPI endpoint behind a rate limit that is never reached, against a bare one.

The limit counts by the caller's address, which is one and the same, as each library's
documentation has it for FastAPI. `bare-dependency` is no limit, but what FastAPI charges for any
that is asked as a dependency: one GET on a bare connection, and two headers. All are measured once
more with what start-up has made taken out of the garbage collector's sight, as
docs/how-to/production.md advises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import serving, subjects
from benchmarks.throughput import Loop

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "a FastAPI endpoint behind a rate limit, against a bare one"
NEEDS: Final = "endpoint"
SUBJECTS: tuple[str, ...] = (
    "bare",
    "bare-dependency",
    "fastapi-redis-sdk",
    "millpond",
    "millpond-middleware",
)
QUICK: tuple[str, ...] = SUBJECTS


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare requests per second."""
    results = await serving.compare(session, "web_limit", NEEDS, plan, frozen=True)
    session.server.remove_keys()
    return results


async def work(order: Order, channel: Channel) -> None:
    """Serve, or call."""
    loop = order.read(Loop)
    await serving.work(
        order.index, loop, channel, lambda: subjects.make(order.adapter, order.url), "/limited"
    )
