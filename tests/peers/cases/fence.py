"""Each holder has a higher fencing token than the one before.

Four holders in turn, by two instances; before the fourth the server is emptied.

Kept if their tokens rise. Not applicable where there is none: a resource cannot tell a holder that
is late from one that is not.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept
from tests.peers.taking import LEASE

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "lock"


async def run(arena: Arena) -> Verdict:
    """Compare tokens."""
    fences: list[int] = []
    async with arena.peer() as one, arena.peer() as other:
        for number, peer in enumerate((one, other, one, other)):
            if number == 3:
                arena.behind.execute("FLUSHALL")
            async with peer.lock("n", lease=LEASE, wait=1) as held:
                fences.append(peer.fence(held))
    rising = fences == sorted(set(fences))
    steps = ", ".join(f"{after - before:+d}" for before, after in itertools.pairwise(fences))
    return (kept if rising else broken)(f"steps {steps}")
