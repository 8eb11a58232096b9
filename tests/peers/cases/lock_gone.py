"""No lock is granted that Redis did not confirm.

After a first use the server is killed. Two tasks of two instances try to enter, for 4 s.

Kept if neither is let in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import LockPeer, Verdict, broken, kept
from tests.peers.taking import LEASE, can_take

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "lock"


async def run(arena: Arena) -> Verdict:
    """Kill the server."""
    inside = most = 0

    async def use(peer: LockPeer) -> None:
        nonlocal inside, most
        async with peer.lock("n", lease=LEASE, wait=1):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(4)

    async with arena.peer() as one, arena.peer() as other:
        await can_take(one, "warm", 1)
        await can_take(other, "warm", 1)
        arena.behind.kill()
        users = [asyncio.create_task(use(peer)) for peer in (one, other)]
        await asyncio.wait(users, timeout=4)
        told = [
            type(user.exception()).__name__
            if user.done() and not user.cancelled() and user.exception() is not None
            else "nothing yet"
            for user in users
        ]
        for user in users:
            user.cancel()
    if most:
        return broken(f"{most} of 2 tasks held the lock at once without a server")
    return kept(f"none was let in; told: {', '.join(told)}")
