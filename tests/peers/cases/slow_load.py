"""One load, also when it takes longer than the lease or lock that protects it.

As "one load", with two processes, ten callers in each, and a load that takes 4 s.

Kept if the source was asked once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.cases.one_load import count

if TYPE_CHECKING:
    from tests.peers.arena import Arena
    from tests.peers.contract import Verdict

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Count the loads."""
    return await count(arena, seconds=4, callers=10, processes=2)
