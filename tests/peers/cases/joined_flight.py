"""Who asks after a delete is not given a load that began before it, in the same process.

A first caller's loader has read the old value and is held. The key is deleted, which returns; then
a second caller of the same instance asks. It has a second to call its own loader; then the first
loader is let go.

Kept if the second caller is given the new value.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena
    from tests.peers.contract import CachePeer

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Join after a delete."""
    async with arena.peer() as peer:
        return await join(peer, peer)


async def join(early: CachePeer, late: CachePeer) -> Verdict:
    """Ask early, delete, ask late."""
    reading, gate, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def load_old() -> str:
        reading.set()
        await gate.wait()
        return "old"

    async def load_new() -> str:
        asked.set()
        return "new"

    first = asyncio.create_task(early.get_or_compute("k", load_old))
    await reading.wait()
    await late.delete("k")
    second = asyncio.create_task(late.get_or_compute("k", load_new))
    own = asyncio.create_task(asked.wait())
    await asyncio.wait({second, own}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    own.cancel()
    waited = not asked.is_set()
    gate.set()
    value = await second
    await first
    how = "it waited for that load to end" if waited else "it loaded by itself, at once"
    return (kept if value == "new" else broken)(f"the later caller was given {value!r}; {how}")
