"""A server that is gone costs nothing, and callers are served.

After a first use the server is killed: connections are refused. Three keys are asked for in turn;
their loaders return at once.

Kept if all three are given the loaded value within 0.25 s. A call is waited for 6 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.cases.cache_hung import judge, load

if TYPE_CHECKING:
    from tests.peers.arena import Arena
    from tests.peers.contract import Verdict

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Kill the server."""
    async with arena.peer() as peer:
        await peer.get_or_compute("warm", load)
        arena.behind.kill()
        return await judge(peer, first=0.25)
