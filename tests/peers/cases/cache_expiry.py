"""Every key in Redis has a TTL, while something is loaded and afterwards.

The keys without one are listed while a loader is held, and again when its value is stored.

Kept if there is none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """List the keys."""
    reading, gate = asyncio.Event(), asyncio.Event()

    async def load() -> str:
        reading.set()
        await gate.wait()
        return "v"

    async with arena.peer() as peer:
        caller = asyncio.create_task(peer.get_or_compute("k", load))
        await reading.wait()
        lasting = arena.behind.lasting()
        gate.set()
        await caller
        lasting += arena.behind.lasting()
    return broken(f"without a TTL: {', '.join(lasting)}") if lasting else kept("all keys expire")
