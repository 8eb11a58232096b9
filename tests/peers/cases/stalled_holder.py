"""A holder that stalled past its lease is stopped before its next step.

The lease is 1 s. In the block the event loop stalls for 2 s (`time.sleep`), while a rival in a
thread and loop of its own acquires. Then the block awaits 50 ms, and writes.

Kept if the block is stopped before it writes; told on leaving, it has written beside the rival.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "lock"


async def run(arena: Arena) -> Verdict:
    """Stall."""
    rival = _Rival(arena)
    wrote = False

    async def use() -> None:
        nonlocal wrote
        async with arena.peer() as peer:
            async with peer.lock("n", lease=1, wait=1):
                rival.start()
                time.sleep(2)
                await asyncio.sleep(0.05)
                wrote = True

    user = asyncio.create_task(use())
    await asyncio.wait({user}, timeout=8)
    rival.leave.set()
    rival.join(5)
    if user.cancelled():
        told = "cancelled"
    elif user.done() and user.exception() is not None:
        told = type(user.exception()).__name__
    else:
        told = "nothing"
    if not rival.entered.is_set():
        return broken(f"the rival never had the lock: it is locked beyond its lease; told: {told}")
    if wrote:
        return broken(
            f"the rival was inside, and the stalled holder wrote; told on leaving: {told}"
        )
    return kept(f"the rival was inside; the stalled holder was stopped: {told}")


class _Rival(threading.Thread):
    """Acquires as soon as it can, and stays until it is told to leave."""

    def __init__(self, arena: Arena) -> None:
        super().__init__(daemon=True)
        self.entered, self.leave = threading.Event(), threading.Event()
        self._arena = arena

    def run(self) -> None:
        asyncio.run(self._acquire())

    async def _acquire(self) -> None:
        async with self._arena.peer() as peer, peer.lock("n", lease=10, wait=6):
            self.entered.set()
            await asyncio.to_thread(self.leave.wait)
