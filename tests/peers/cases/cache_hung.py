"""A server that hangs costs one timeout, not one for each call, and callers are served.

After a first use the server is stopped (SIGSTOP): it accepts bytes and answers nothing. Three keys
are asked for in turn; their loaders return at once.

Kept if all three are given the loaded value, and the second and third within 0.25 s. A call is
waited for 12 s; once the promise is broken, no call is made after the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.arena import elapsed
from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena
    from tests.peers.contract import CachePeer

KIND = "cache"
_PATIENCE = 12


async def run(arena: Arena) -> Verdict:
    """Stop the server."""
    async with arena.peer() as peer:
        await peer.get_or_compute("warm", load)
        arena.behind.pause()
        try:
            return await judge(peer, first=_PATIENCE)
        finally:
            arena.behind.resume()


async def load() -> str:
    """Return at once."""
    return "v"


async def judge(peer: CachePeer, *, first: float) -> Verdict:
    """Ask three times, the first for so long."""
    told: list[str] = []
    well = True
    for number in range(3):
        took, outcome = await elapsed(peer.get_or_compute(f"k{number}", load), _PATIENCE)
        if outcome == "v":
            told.append(f"{took:.2f} s")
        elif took >= _PATIENCE:
            told.append(f"nothing in {took:.0f} s")
        else:
            told.append(f"{type(outcome).__name__} after {took:.2f} s")
        well = well and outcome == "v" and took < (0.25 if number else first)
        if not well and (number == 1 or took >= _PATIENCE):
            break
    return (kept if well else broken)(f"calls in turn: {', '.join(told)}")
