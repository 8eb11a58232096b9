"""SCRIPT FLUSH, as after a restart, is not noticed.

A hit, SCRIPT FLUSH, another hit.

Kept if the second is admitted like the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.arena import elapsed
from tests.peers.contract import Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """Flush between two hits."""
    async with arena.peer() as peer:
        meter = await peer.meter(Quota(10, per=60, burst=10))
        await meter.hit("k")
        arena.behind.execute("SCRIPT", "FLUSH")
        _, outcome = await elapsed(meter.hit("k"), 5)
    if isinstance(outcome, Exception):
        return broken(f"the second hit raised {type(outcome).__name__}")
    return (kept if outcome.allowed else broken)(
        f"the second hit was {'admitted' if outcome.allowed else 'denied'}"
    )
