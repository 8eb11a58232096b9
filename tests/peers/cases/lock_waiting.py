"""Who waits for a lock does not poll.

One instance holds the lock, another waits for it. Once it had 0.3 s to settle down, the commands
that the server runs are counted for a second; then the holder leaves.

Kept if there are at most five, and the waiter has the lock in the end.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept
from tests.peers.taking import LEASE, can_take

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "lock"


async def run(arena: Arena) -> Verdict:
    """Count the commands of a wait."""
    async with arena.peer() as holder, arena.peer() as waiter:
        async with holder.lock("n", lease=LEASE, wait=1):
            waiting = asyncio.create_task(can_take(waiter, "n", None))
            await asyncio.sleep(0.3)
            before = arena.behind.commands()
            await asyncio.sleep(1)
            commands = arena.behind.commands() - before
        began = time.monotonic()
        had_it = await asyncio.wait_for(waiting, 8)
        took = time.monotonic() - began
    found = f"{commands} commands in a second of waiting; served {took * 1000:.0f} ms after"
    return (kept if had_it and commands <= 5 else broken)(found)
