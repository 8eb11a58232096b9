"""Who asks after a delete is not given a load that began before it, in another process.

As "in the same process", with two instances: one loads, the other deletes and then asks.

Kept if the later caller is given the new value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.cases.joined_flight import join

if TYPE_CHECKING:
    from tests.peers.arena import Arena
    from tests.peers.contract import Verdict

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Join after a delete, elsewhere."""
    async with arena.peer() as early, arena.peer() as late:
        return await join(early, late)
