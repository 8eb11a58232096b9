"""One caller's cancellation does not reach the others.

Three callers of one instance ask for one key, whose loader is held. Twice: the one who came first
is cancelled, then one of those who came later. The loader, or whatever loader is called then, is
let go.

Kept if both times the two others are given the value.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Cancel each in turn."""
    told: list[str] = []
    harmed = False
    async with arena.peer() as peer:
        for victim, who in ((0, "first"), (1, "second")):
            reading, gate = asyncio.Event(), asyncio.Event()

            async def load(reading: asyncio.Event = reading, gate: asyncio.Event = gate) -> str:
                reading.set()
                await gate.wait()
                return "value"

            callers = [asyncio.create_task(peer.get_or_compute(who, load)) for _ in range(1)]
            await reading.wait()
            callers += [asyncio.create_task(peer.get_or_compute(who, load)) for _ in range(2)]
            await asyncio.sleep(0.1)  # all have missed, and wait or load
            callers[victim].cancel()
            await asyncio.wait({callers[victim]}, timeout=1)
            gate.set()
            others = [one for number, one in enumerate(callers) if number != victim]
            await asyncio.wait(others, timeout=3)
            fates = [_fate(one) for one in others]
            harmed = harmed or fates != ["value", "value"]
            told.append(f"{who} caller cancelled: the others had {', '.join(fates)}")
            for one in callers:
                one.cancel()
    return (broken if harmed else kept)("; ".join(told))


def _fate(task: asyncio.Task[str]) -> str:
    if not task.done():
        return "nothing within 3 s"
    if task.cancelled():
        return "CancelledError"
    error = task.exception()
    return task.result() if error is None else type(error).__name__
