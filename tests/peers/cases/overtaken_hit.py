"""A hit that was overtaken on its way is counted with those that overtook it.

The limit is 10 a minute. A first hit is held on its way to the server. Ten hits by another instance
follow and are admitted. Then the first one arrives.

Kept if it is denied: a decision by the caller's own clock would put it before the others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """Let ten pass one."""
    quota = Quota(10, per=60, burst=10)
    async with arena.tap() as tap, arena.peer(tap.url) as slow, arena.peer() as fast:
        slow_meter, fast_meter = await slow.meter(quota), await fast.meter(quota)
        await slow_meter.hit("warm")
        await fast_meter.hit("warm")
        tap.arm(b"overtaken-key", "hold request")
        late = asyncio.create_task(slow_meter.hit("overtaken-key"))
        await asyncio.wait_for(tap.caught.wait(), 3)
        admitted = sum([(await fast_meter.hit("overtaken-key")).allowed for _ in range(10)])
        tap.release()
        answer = await late
    found = f"{admitted} of 10 admitted, then the one before them: {_word(answer.allowed)}"
    return (kept if admitted == 10 and not answer.allowed else broken)(found)


def _word(allowed: bool) -> str:
    return "admitted" if allowed else "denied"
