"""One load for a key and the fleet.

Three processes ask for one missing key, five callers in each; a load takes 0.7 s.

Kept if the source was asked once.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena, Member

KIND = "cache"


async def run(arena: Arena) -> Verdict:
    """Count the loads."""
    return await count(arena, seconds=0.7, callers=5, processes=3)


async def count(arena: Arena, *, seconds: float, callers: int, processes: int) -> Verdict:
    """Let so many processes ask at once, and count."""
    async with contextlib.AsyncExitStack() as stack:
        members = [await stack.enter_async_context(arena.member()) for _ in range(processes)]
        for member in members:
            member.order(key="k", value="v", seconds=seconds, fail=False, callers=callers)
        ends = await asyncio.gather(*(_end(member) for member in members))
    loads = sum(loads for loads, _ in ends)
    served = sum(values for _, values in ends)
    asked = processes * callers
    found = f"{loads} loads of {seconds} s for {asked} callers in {processes} processes"
    if served != asked:
        return broken(f"{found}; {asked - served} were given no value")
    return (kept if loads == 1 else broken)(found)


async def _end(member: Member) -> tuple[int, int]:
    while True:
        said = await member.answer()
        if "loads" in said:
            return said["loads"], len(said["values"])
