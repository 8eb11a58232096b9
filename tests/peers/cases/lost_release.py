"""Releasing survives a lost reply.

The server has run the releasing command; the connection is cut before its reply is passed on.

Kept if the lock is free for another within a second and the block ends without an error.
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
    async with arena.tap() as tap, arena.peer(tap.url) as one, arena.peer() as other:

        async def use() -> None:
            async with one.lock("lost-name", lease=LEASE, wait=3):
                tap.arm(b"lost-name", "lose reply")

        await can_take(one, "warm", 1)
        user = asyncio.create_task(use())
        await asyncio.wait({user}, timeout=6)
        if not user.done():
            user.cancel()
            return broken("the block had not ended after 6 s")
        error = user.exception()
        free = await can_take(other, "lost-name", 1)
    told = "no error" if error is None else f"the block raised {type(error).__name__}"
    found = f"{told}; the lock was {'free' if free else 'not free'}"
    return (kept if free and error is None else broken)(found)
