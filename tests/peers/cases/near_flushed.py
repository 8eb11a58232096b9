"""Copies in the process are dropped when the server is emptied.

A value is read twice, the second time without a command. Then FLUSHALL, from elsewhere.

Kept if a read finds nothing within 2 s. Not applicable if the second read asks the server.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.contract import NotApplicable, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena
    from tests.peers.contract import NearPeer

KIND = "near"


async def run(arena: Arena) -> Verdict:
    """Empty the server."""
    async with arena.peer() as reader, arena.peer() as writer:
        await writer.set("k", "old")
        await copied(arena, reader, "k")
        arena.behind.execute("FLUSHALL")
        began = time.monotonic()
        while time.monotonic() - began < 2:
            if await reader.get("k") is None:
                return kept(f"gone after {time.monotonic() - began:.2f} s")
            await asyncio.sleep(0.02)
    return broken("still read from the copy 2 s after FLUSHALL")


async def copied(arena: Arena, reader: NearPeer, key: str) -> None:
    """Read until it takes no command."""
    for _ in range(20):
        await reader.get(key)
        before = arena.behind.commands()
        await reader.get(key)
        if arena.behind.commands() == before:
            return
        await asyncio.sleep(0.05)
    raise NotApplicable("keeps no copy: every read asked the server")
