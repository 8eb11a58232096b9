"""Keys are limited apart.

The limit is 2 a minute. Alice hits three times, then Bob and Carol once.

Kept if Alice's third is denied and all others are admitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.contract import Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """Hit for three."""
    names = ("alice", "alice", "alice", "bob", "carol")
    async with arena.peer() as peer:
        meter = await peer.meter(Quota(2, per=60, burst=2))
        allowed = [(await meter.hit(name)).allowed for name in names]
    words = ", ".join(
        f"{name} {'admitted' if one else 'denied'}"
        for name, one in zip(names, allowed, strict=True)
    )
    return (kept if allowed == [True, True, False, True, True] else broken)(words)
