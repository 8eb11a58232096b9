"""A bucket admits no more at once than its burst.

100 a second with a burst of 10; 50 hits one after another, as fast as they go.

Kept if no more than the burst and what flowed in meanwhile is admitted, and no less than the burst.
Not applicable to windows.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from tests.peers.contract import NotApplicable, Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """Hit as fast as it goes."""
    async with arena.peer() as peer:
        if peer.shape != "bucket":
            raise NotApplicable("a window has no burst")
        meter = await peer.meter(Quota(100, per=1, burst=10))
        await meter.hit("warm")
        began = time.monotonic()
        admitted = sum([(await meter.hit("k")).allowed for _ in range(50)])
        took = time.monotonic() - began
    most = 10 + math.ceil(took * 100) + 1
    found = f"{admitted} of 50 admitted in {took * 1000:.0f} ms; {most} would be right"
    return (kept if 10 <= admitted <= most else broken)(found)
