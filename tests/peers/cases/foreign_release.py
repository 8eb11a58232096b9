"""Who leaves too late does not release the next holder's lock.

A holds the lock; its lease ends early in Redis (FLUSHALL stands for it). B, elsewhere, acquires. A
leaves.

Kept if B's lock is still there: a third cannot have it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept
from tests.peers.taking import LEASE, can_take

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "lock"


async def run(arena: Arena) -> Verdict:
    """Let A leave while B holds."""
    async with arena.peer() as a, arena.peer() as b, arena.peer() as third:
        late = contextlib.AsyncExitStack()
        await late.enter_async_context(a.lock("n", lease=LEASE, wait=1))
        arena.behind.execute("FLUSHALL")
        async with contextlib.AsyncExitStack() as holding:
            await holding.enter_async_context(b.lock("n", lease=LEASE, wait=1))
            try:
                await late.aclose()
            except Exception as error:  # noqa: BLE001 - the evidence
                told = f"A was told {type(error).__name__}"
            else:
                told = "A was told nothing"
            stolen = await can_take(third, "n", 0)
            with contextlib.suppress(Exception):
                await holding.aclose()
    where = "B's lock was released" if stolen else "B's lock stood"
    return (broken if stolen else kept)(f"{where}; {told}")
