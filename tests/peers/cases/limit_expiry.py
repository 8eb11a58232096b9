"""Every key in Redis has a TTL.

The limit is 2 in 2 s. One key is hit once, another until it is denied, and a third with a cost of 2
where there are costs.

Kept if no key is without a TTL then.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.peers.contract import NotApplicable, Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """List the keys."""
    async with arena.peer() as peer:
        meter = await peer.meter(Quota(2, per=2, burst=2))
        await meter.hit("once")
        for _ in range(3):
            await meter.hit("denied")
        with contextlib.suppress(NotApplicable):
            await meter.hit("costly", 2)
        lasting = arena.behind.lasting()
        keys = len(arena.behind.stored())
    if lasting:
        return broken(f"without a TTL: {', '.join(sorted(lasting))}")
    return kept(f"{keys} keys, and all expire")
