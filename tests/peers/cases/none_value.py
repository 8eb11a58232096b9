"""None is a value: what was loaded as None is not loaded again.

One key is asked for twice; the loader returns None.

Kept if it was called once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Load None."""
    loads: list[None] = []

    async def load() -> None:
        loads.append(None)

    async with arena.peer() as peer:
        for _ in range(2):
            await peer.get_or_compute("k", load)
    return (kept if len(loads) == 1 else broken)(f"two calls, {len(loads)} loads")
