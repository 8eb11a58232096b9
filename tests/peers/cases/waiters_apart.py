"""Who waits for one key delays no other key.

The limit is 1 in 2 s. The first key is used up and waited for; meanwhile another key is hit.

Kept if that hit is admitted within 0.5 s. Not applicable if the library does not wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.arena import elapsed
from tests.peers.contract import NotApplicable, Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """Wait for one, hit another."""
    async with arena.peer() as peer:
        meter = await peer.meter(Quota(1, per=2, burst=1))
        await meter.hit("busy")
        waiter = asyncio.create_task(meter.wait("busy", 5))
        await asyncio.sleep(0.2)
        if waiter.done() and isinstance(waiter.exception(), NotApplicable):
            raise NotApplicable(str(waiter.exception()))
        waiting = not waiter.done()
        took, answer = await elapsed(meter.hit("idle"), 6)
        await asyncio.wait({waiter}, timeout=6)
        waiter.cancel()
    if not waiting:
        return broken("the waiter did not wait")
    if isinstance(answer, Exception) or not answer.allowed:
        return broken(f"the other key's hit: {answer!r}")
    return (kept if took < 0.5 else broken)(f"the other key's hit took {took:.2f} s")
