"""No stretch of the period admits more than the limit.

The limit is 20 in 2 s, for what the documentation calls a sliding or moving window. In turns of 2 s
of the server's clock: one hit at 5 % of a turn, 25 tries at 95 %, 25 at 10 % of the next, and 25 at
85 % of that. Two counters, and windows that begin with the first hit, are weakest there. The times
are taken around each call, and only what certainly lies within 2 s is counted.

Kept if no such stretch holds more than 20 admitted hits.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.contract import NotApplicable, Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"
_PER = 2
_LIMIT = 20
_PLAN = ((0.05, 1), (0.95, 25), (1.10, 25), (1.85, 25))
_INSTEAD = {
    "fixed": "documents a fixed window: twice the limit may pass at its turn",
    "bucket": "documents a bucket: burst and flow together may pass in one period",
}


async def run(arena: Arena) -> Verdict:
    """Hit at the weakest moments."""
    admitted: list[tuple[float, float]] = []
    async with arena.peer() as peer:
        if peer.shape in _INSTEAD:
            raise NotApplicable(_INSTEAD[peer.shape])
        meter = await peer.meter(Quota(_LIMIT, per=_PER, burst=_LIMIT))
        await meter.hit("warm")
        began = time.monotonic() + _PER - arena.behind.now() % _PER
        for turn, tries in _PLAN:
            await asyncio.sleep(began + turn * _PER - time.monotonic())
            for _ in range(tries):
                sent = time.monotonic()
                if (await meter.hit("k")).allowed:
                    admitted.append((sent, time.monotonic()))
    most = max(
        sum(1 for begun, ended in admitted if begun >= start and ended <= start + _PER)
        for start, _ in admitted
    )
    found = f"at most {most} of {_LIMIT} in one stretch of {_PER} s, {len(admitted)} in all"
    return (kept if most <= _LIMIT else broken)(found)
