"""A value that was loaded before a delete is not stored after it.

Reader and writer are two instances. The reader misses; its loader has read the old value and is
held. The writer changes the source and deletes; the delete returns. The loader is let go.

Kept if half a second later (a copy in the process may lag behind) both are given the new value.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Hold a load across a delete."""
    reading, gate = asyncio.Event(), asyncio.Event()

    async def load_old() -> str:
        reading.set()
        await gate.wait()
        return "old"

    async def load_new() -> str:
        return "new"

    async with arena.peer() as reader, arena.peer() as writer:
        first = asyncio.create_task(reader.get_or_compute("k", load_old))
        await reading.wait()
        await writer.delete("k")
        gate.set()
        await first
        await asyncio.sleep(0.5)
        seen = [await peer.get_or_compute("k", load_new) for peer in (writer, reader)]
    if seen == ["new", "new"]:
        return kept("both read the new value")
    return broken(f"0.5 s after it writer and reader were given {seen[0]!r} and {seen[1]!r}")
