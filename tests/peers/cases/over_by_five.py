"""Who asks 5 % too often is still given the limit.

The limit is 20 a second. Hits come evenly, 21 a second, for four seconds.

Kept if each of the last three seconds admits at least 15.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.contract import Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """Ask evenly."""
    admitted = [0, 0, 0, 0]
    async with arena.peer() as peer:
        meter = await peer.meter(Quota(20, per=1, burst=20))
        await meter.hit("warm")
        began = time.monotonic()
        for number in range(84):
            due = number / 21
            await asyncio.sleep(max(0.0, began + due - time.monotonic()))
            admitted[int(due)] += (await meter.hit("k")).allowed
    found = f"admitted in each second: {', '.join(map(str, admitted))}"
    return (kept if min(admitted[1:]) >= 15 else broken)(found)
