"""`limit`: 100 tasks hit a limit of 100 a minute on 10,000 keys; and all of them one key.

What is promised differs, and the settings say it: an exact window, an approximate one, a bucket
(GCRA), or a fixed window. The share that was let through stands beside the rate: a subject that
denies more does less. The one key has a limit of 100,000, and makes way for the next after half
as many hits, so that none is denied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import taps, throughput
from benchmarks.throughput import KEYS, Loop, Setting

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "hits on a limit: 10,000 keys, and one hot key, 100 concurrent tasks"
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
QUICK: tuple[str, ...] = ("throttled-sliding", "throttled-gcra", "limits", "millpond")

_MANY, _ONE = "10,000 keys", "one key"
_SETTINGS = (Setting(name=_MANY), Setting(name=_ONE))
_LIMIT = 100
_HIGH_LIMIT = 100_000
_PER = 60.0


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare the subjects' rates; the counters go at the end."""
    settings = _SETTINGS[:1] if plan.quick else _SETTINGS
    results = await throughput.compare(session, "limit", NEEDS, plan, settings, rounds=3)
    session.server.remove_keys()
    return results


async def work(order: Order, channel: Channel) -> None:
    """Measure one subject once."""
    if order.read(Loop).name == _MANY:
        await taps.hit(order, channel, keys=KEYS, limit=_LIMIT, per=_PER)
    else:
        await taps.hit(order, channel, keys=1, limit=_HIGH_LIMIT, per=_PER)
