"""A copy in the process follows a change made elsewhere.

A value is read twice, the second time without a command; then it is changed from elsewhere. Nothing
is held, nothing breaks.

Kept if a read gives the new value within 2 s. Not applicable if the second read asks the server.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.cases.near_flushed import copied
from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "near"


async def run(arena: Arena) -> Verdict:
    """Change it elsewhere."""
    async with arena.peer() as reader, arena.peer() as writer:
        await writer.set("k", "old")
        await copied(arena, reader, "k")
        await writer.set("k", "new")
        began = time.monotonic()
        while time.monotonic() - began < 2:
            if await reader.get("k") == "new":
                return kept(f"the new value {time.monotonic() - began:.2f} s later")
            await asyncio.sleep(0.02)
    return broken("still the old value 2 s later")
