"""A server that hangs costs one timeout, not one for each call.

After a first use the server is stopped (SIGSTOP): it accepts bytes and answers nothing. Three hits
follow one another; whether they are admitted, denied or an error is the library's choice.

Kept if the second and third are answered within 0.25 s. A call is waited for 12 s; once the promise
is broken, no further call is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.arena import elapsed
from tests.peers.contract import Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"
_PATIENCE = 12


async def run(arena: Arena) -> Verdict:
    """Stop the server."""
    well = True
    told: list[str] = []
    async with arena.peer() as peer:
        meter = await peer.meter(Quota(10, per=60, burst=10))
        await meter.hit("k")
        arena.behind.pause()
        try:
            for number in range(3):
                took, outcome = await elapsed(meter.hit(f"k{number}"), _PATIENCE)
                if took >= _PATIENCE:
                    told.append(f"nothing in {took:.0f} s")
                elif isinstance(outcome, Exception):
                    told.append(f"{type(outcome).__name__} after {took:.2f} s")
                else:
                    told.append(f"{'admitted' if outcome.allowed else 'denied'} in {took:.2f} s")
                well = took < (0.25 if number else _PATIENCE)
                if not well:
                    break
        finally:
            arena.behind.resume()
    return (kept if well else broken)(f"hits in turn: {', '.join(told)}")
