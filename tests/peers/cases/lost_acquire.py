"""Acquiring survives a lost reply.

The server has run the acquiring command; the connection is cut before its reply is passed on. The
caller waits for 3 s at most; the lease is 10 s.

Kept if the caller either holds the lock, or is told that it does not and the lock is free for
another within a second.
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
    """Lose the reply."""
    entered, leave = asyncio.Event(), asyncio.Event()
    async with arena.tap() as tap, arena.peer(tap.url) as one, arena.peer() as other:

        async def use() -> None:
            async with one.lock("lost-name", lease=LEASE, wait=3):
                entered.set()
                await leave.wait()

        await can_take(one, "warm", 1)
        tap.arm(b"lost-name", "lose reply")
        user = asyncio.create_task(use())
        await asyncio.wait_for(tap.caught.wait(), 3)
        inside = asyncio.create_task(entered.wait())
        await asyncio.wait({user, inside}, timeout=6, return_when=asyncio.FIRST_COMPLETED)
        inside.cancel()
        if entered.is_set():
            told = "the caller holds it"
            leave.set()
            await asyncio.wait({user}, timeout=3)
        elif user.done():
            told = f"the caller was told {type(user.exception()).__name__}"
        else:
            user.cancel()
            return broken("after 6 s the caller still waited, for itself")
        if await can_take(other, "lost-name", 1):
            return kept(f"{told}; then it was free")
        return broken(f"{told}, and the lock stays locked until its lease is over")
