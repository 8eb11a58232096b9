"""A loader whose process is killed does not keep others from loading for long.

A process begins to load and is killed with SIGKILL while it does. Another asks for the key.

Kept if its own loader is called within 5 s; it is waited for 12 s. Entries live 60 s.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Kill a loader."""
    asked = asyncio.Event()

    async def load() -> str:
        asked.set()
        return "v"

    async with arena.peer() as peer:
        async with arena.member() as member:
            member.order(key="k", value="never", seconds=3600, fail=False, callers=1)
            await member.answer()
            await member.kill()
        began = time.monotonic()
        caller = asyncio.create_task(peer.get_or_compute("k", load))
        try:
            await asyncio.wait_for(asked.wait(), 12)
        except TimeoutError:
            return broken("no load had begun 12 s after the kill")
        finally:
            took = time.monotonic() - began
            caller.cancel()
    return (kept if took < 5 else broken)(f"the next load began {took:.1f} s after the kill")
