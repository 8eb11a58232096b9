"""Two tasks that share a lock object cannot release each other's lock.

Task A holds the lock; its lease ends early in Redis (FLUSHALL stands for it). Task B acquires
through the same lock object, or, where there is none to share, through the same factory. A leaves.

Kept if B's lock is still there: a third, elsewhere, cannot have it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.arena import settles
from tests.peers.contract import Verdict, broken, kept
from tests.peers.taking import LEASE, can_take

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.peers.arena import Arena

KIND = "lock"


async def run(arena: Arena) -> Verdict:
    """Let A leave while B is inside."""
    async with arena.peer() as peer, arena.peer() as elsewhere:
        first = peer.lock("n", lease=LEASE, wait=3)
        second = first if peer.shares_objects else peer.lock("n", lease=LEASE, wait=3)
        a, b = _Task(first), _Task(second)
        a.start()
        await a.inside.wait()
        arena.behind.execute("FLUSHALL")
        b.start()
        await settles(b.inside.is_set, 1)
        a.leave.set()
        await asyncio.wait({a.task}, timeout=3)
        if not await settles(b.inside.is_set, 3):
            return broken("B could not acquire")
        stolen = await can_take(elsewhere, "n", 0)
        b.leave.set()
        await asyncio.wait({b.task}, timeout=3)
        ends = f"A's block: {a.fate()}; B's: {b.fate()}"
    if stolen:
        return broken(f"A's leaving released B's lock: a third was let in. {ends}")
    return kept(f"a third was kept out while B was inside. {ends}")


class _Task:
    """A task that enters a block, and leaves when it is told."""

    task: asyncio.Task[None]

    def __init__(self, block: AbstractAsyncContextManager[object]) -> None:
        self.inside, self.leave = asyncio.Event(), asyncio.Event()
        self._block = block

    def start(self) -> None:
        self.task = asyncio.create_task(self._use())

    async def _use(self) -> None:
        async with self._block:
            self.inside.set()
            await self.leave.wait()

    def fate(self) -> str:
        if not self.task.done():
            return "not ended"
        if self.task.cancelled():
            return "cancelled"
        error = self.task.exception()
        return "no error" if error is None else type(error).__name__
