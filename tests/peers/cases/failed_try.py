"""A task that fails to acquire does not harm the holder.

Task A holds the lock. Task B tries for 0.3 s through the same lock object, or, where there is none
to share, through the same factory, and fails. A leaves.

Kept if A's block ends without an error and the lock is free for another within a second.
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
    """Let B fail while A holds."""
    async with arena.peer() as peer, arena.peer() as elsewhere:
        first = peer.lock("n", lease=LEASE, wait=0.3)
        second = first if peer.shares_objects else peer.lock("n", lease=LEASE, wait=0.3)
        error: Exception | None = None
        of_b = "was let in beside A"

        async def try_it() -> None:
            nonlocal of_b
            try:
                async with second:
                    pass
            except Exception as raised:  # noqa: BLE001 - the evidence
                of_b = type(raised).__name__

        try:
            async with first:
                await asyncio.create_task(try_it())
        except Exception as raised:  # noqa: BLE001 - the evidence
            error = raised
        free = await can_take(elsewhere, "n", 1)
    told = "no error" if error is None else type(error).__name__
    left = "free" if free else "locked until its lease is over"
    well = free and error is None and "let in" not in of_b
    return (kept if well else broken)(f"B: {of_b}; A's block: {told}; then the lock was {left}")
