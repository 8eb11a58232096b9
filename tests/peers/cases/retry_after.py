"""Who comes back when it was told to is admitted.

The limit is 4 in 2 s. Hits follow one another until one is denied; the time that it was told is
waited, and 50 ms more.

Kept if the next hit is admitted. Not applicable if no time is told.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import NotApplicable, Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """Wait as told."""
    async with arena.peer() as peer:
        meter = await peer.meter(Quota(4, per=2, burst=4))
        await meter.hit("warm")
        for _ in range(20):
            answer = await meter.hit("k")
            if not answer.allowed:
                break
        else:
            return broken("20 hits of 4 were admitted")
        if answer.retry_after is None:
            raise NotApplicable("tells no time")
        if answer.retry_after > 5:
            return broken(f"told {answer.retry_after:.1f} s, for a period of 2 s")
        await asyncio.sleep(answer.retry_after + 0.05)
        again = await meter.hit("k")
    word = "admitted" if again.allowed else "denied"
    return (kept if again.allowed else broken)(f"told {answer.retry_after:.2f} s, then {word}")
