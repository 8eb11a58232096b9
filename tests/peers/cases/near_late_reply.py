"""A reply that is overtaken by its invalidation is not kept as a copy.

A value is read; the server has answered, and the answer is held on its way. The value is changed
from elsewhere, and the invalidation is not held. 0.3 s later the answer is let go.

Kept if a read gives the new value within 2 s.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "near"


async def run(arena: Arena) -> Verdict:
    """Hold a reply."""
    async with arena.tap() as tap, arena.peer(tap.url) as reader, arena.peer() as writer:
        await reader.get("warm")
        await writer.set("late-key", "old")
        tap.arm(b"late-key", "hold reply")
        reading = asyncio.create_task(reader.get("late-key"))
        await asyncio.wait_for(tap.caught.wait(), 3)
        await writer.set("late-key", "new")
        await asyncio.sleep(0.3)
        tap.release()
        await asyncio.wait({reading}, timeout=3)
        began = time.monotonic()
        value = None
        while time.monotonic() - began < 2:
            value = await reader.get("late-key")
            if value == "new":
                return kept(f"the new value {time.monotonic() - began:.2f} s later")
            await asyncio.sleep(0.02)
    return broken(f"still {value!r} 2 s later")
