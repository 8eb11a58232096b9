"""Releasing survives a cancellation, also one that is delivered at every await.

Twice. First the block has ended and its task is cancelled while the releasing command is on its way
to the server; 50 ms later it is passed on. Then the task is cancelled again and again, in each turn
of the loop until it ends, as a cancelled anyio scope does (Starlette runs handlers in one).

Kept if both times the lock is free for another within 2 s; its lease is 10 s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept
from tests.peers.taking import LEASE, can_take

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "lock"


async def run(arena: Arena) -> Verdict:
    """Cancel once, then for good."""
    async with arena.tap() as tap, arena.peer(tap.url) as one, arena.peer() as other:
        inside, leave = asyncio.Event(), asyncio.Event()

        async def use(name: str) -> None:
            async with one.lock(name, lease=LEASE, wait=3):
                inside.set()
                await leave.wait()

        await can_take(one, "warm", 1)
        user = asyncio.create_task(use("once-name"))
        await inside.wait()
        tap.arm(b"once-name", "hold request")
        leave.set()
        await asyncio.wait_for(tap.caught.wait(), 3)
        user.cancel()
        await asyncio.sleep(0.05)
        tap.release()
        await asyncio.wait({user}, timeout=3)
        once = await can_take(other, "once-name", 2)

        inside.clear()
        leave.clear()
        user = asyncio.create_task(use("again-name"))
        await inside.wait()
        for _ in range(1000):
            if user.done():
                break
            user.cancel()
            await asyncio.sleep(0)
        again = await can_take(other, "again-name", 2)
    words = {True: "free", False: "locked until the lease is over"}
    found = f"cancelled once: {words[once]}; at every await: {words[again]}"
    return (kept if once and again else broken)(found)
