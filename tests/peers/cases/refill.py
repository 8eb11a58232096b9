"""A bucket loses no fraction of a token.

90 a minute with a burst of 3, asked for four times a second, for 6 s: 9 tokens flow in.

Kept if at least 8 are admitted beyond the burst. Not applicable to windows.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.contract import NotApplicable, Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"
_SECONDS = 6


async def run(arena: Arena) -> Verdict:
    """Empty it, and ask often."""
    async with arena.peer() as peer:
        if peer.shape != "bucket":
            raise NotApplicable("a window is not refilled")
        meter = await peer.meter(Quota(90, per=60, burst=3))
        began = time.monotonic()
        burst = sum([(await meter.hit("k")).allowed for _ in range(4)])
        admitted = 0
        for number in range(1, _SECONDS * 4 + 1):
            await asyncio.sleep(max(0.0, began + number / 4 - time.monotonic()))
            admitted += (await meter.hit("k")).allowed
    found = f"{admitted} of 9 admitted in {_SECONDS} s, after a burst of {burst}"
    return (kept if admitted >= 8 else broken)(found)
