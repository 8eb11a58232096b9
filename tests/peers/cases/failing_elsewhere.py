"""A failing loader fails everybody who waits for it at once, in all processes.

Three processes ask for one key, 50 ms after each other; each loader takes 0.5 s and raises.

Kept if the last has failed within one and a half load times: not one after another.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena, Member

KIND = "cache"
_LOAD = 0.5


async def run(arena: Arena) -> Verdict:
    """Fail three processes."""
    async with contextlib.AsyncExitStack() as stack:
        members = [await stack.enter_async_context(arena.member()) for _ in range(3)]
        began = time.monotonic()
        for member in members:
            member.order(key="k", value="v", seconds=_LOAD, fail=True, callers=1)
            await asyncio.sleep(0.05)
        ends = await asyncio.gather(*(_end(member) for member in members))
        took = time.monotonic() - began - 0.1  # the last began 0.1 s after the first
    loads = sum(loads for loads, _ in ends)
    found = f"the last of 3 processes had failed after {took:.1f} s, in {loads} loads of {_LOAD} s"
    failed = all(errors for _, errors in ends)
    return (kept if failed and took < 1.5 * _LOAD else broken)(found)


async def _end(member: Member) -> tuple[int, list[str]]:
    while True:
        said = await member.answer()
        if "loads" in said:
            return said["loads"], said["errors"]
