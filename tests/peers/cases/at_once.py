"""Of many hits at once exactly the limit is admitted.

The limit is 10 a minute; 50 hits of two instances at once.

Kept if 10 are admitted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """Hit all at once."""
    quota = Quota(10, per=60, burst=10)
    async with arena.peer() as one, arena.peer() as other:
        meters = [await one.meter(quota), await other.meter(quota)]
        answers = await asyncio.gather(*(meters[n % 2].hit("k") for n in range(50)))
    admitted = sum(answer.allowed for answer in answers)
    return (kept if admitted == 10 else broken)(f"{admitted} of 50 admitted")
