"""A failing loader fails everybody who waits for it at once, in one process.

Ten callers of one instance ask for one key at once; each loader takes 0.5 s and raises.

Kept if all have failed within one and a half load times: not one after another, and not in waves.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"
_LOAD = 0.5


async def run(arena: Arena) -> Verdict:
    """Fail ten callers."""
    loads = 0

    async def load() -> str:
        nonlocal loads
        loads += 1
        await asyncio.sleep(_LOAD)
        raise ValueError("the source of truth failed")

    async with arena.peer() as peer:
        began = time.monotonic()
        callers = [asyncio.create_task(peer.get_or_compute("k", load)) for _ in range(10)]
        await asyncio.wait(callers, timeout=10 * _LOAD + 2)
        took = time.monotonic() - began
        waiting = [one for one in callers if not one.done()]
        for one in waiting:
            one.cancel()
    found = f"the last of 10 callers had failed after {took:.1f} s, in {loads} loads of {_LOAD} s"
    return (kept if not waiting and took < 1.5 * _LOAD else broken)(found)
