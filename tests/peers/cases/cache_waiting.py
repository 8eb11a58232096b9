"""Who waits for a load elsewhere does not poll.

One process loads, for 3 s; another asks for the same key. Once it had half a second to settle down,
the commands that the server runs are counted for a second.

Kept if there are at most ten, scripts' own included: a renewal of the lease may be among them. Not
applicable if the other does not wait but loads.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.peers.contract import NotApplicable, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Count the commands of a wait."""
    async with arena.member() as loading, arena.member() as waiting:
        loading.order(key="k", value="v", seconds=3, fail=False, callers=1)
        await loading.answer()
        waiting.order(key="k", value="v", seconds=3, fail=False, callers=1)
        await asyncio.sleep(0.5)
        before = arena.behind.commands()
        await asyncio.sleep(1.0)
        commands = arena.behind.commands() - before
        said = await waiting.answer()
    if said.get("loading"):
        raise NotApplicable("does not wait for another process: it loads by itself")
    return (kept if commands <= 10 else broken)(f"{commands} commands in a second of waiting")
