"""Acquiring survives a cancellation: it leaves no lock behind.

Twice, with the caller cancelled while its acquiring command is on its way to the server, and while
the reply is on its way back. 50 ms later what was held up is passed on. The lease is 10 s.

Kept if both times the lock is free for another within 2 s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept
from tests.peers.taking import LEASE, can_take

if TYPE_CHECKING:
    from tests.peers.arena import Arena
    from tests.peers.contract import LockPeer
    from tests.peers.tap import What

KIND = "lock"
_MOMENTS: tuple[tuple[What, str], ...] = (
    ("hold request", "on its way there"),
    ("hold reply", "on its way back"),
)


async def run(arena: Arena) -> Verdict:
    """Cancel at both moments."""
    told: list[str] = []
    stuck = False
    for what, words in _MOMENTS:
        name = what.replace(" ", "-")
        async with arena.tap() as tap, arena.peer(tap.url) as one, arena.peer() as other:

            async def use(name: str = name, one: LockPeer = one) -> None:
                async with one.lock(name, lease=LEASE, wait=3):
                    await asyncio.sleep(LEASE)

            await can_take(one, "warm", 1)
            tap.arm(name.encode(), what)
            user = asyncio.create_task(use())
            await asyncio.wait_for(tap.caught.wait(), 3)
            user.cancel()
            await asyncio.sleep(0.05)
            tap.release()
            await asyncio.wait({user}, timeout=3)
            free = await can_take(other, name, 2)
        stuck = stuck or not free
        told.append(f"{words}: {'free' if free else 'locked until the lease is over'}")
    return (broken if stuck else kept)("; ".join(told))
