"""Copies in the process are dropped when the connection was lost.

A value is copied. Every connection of the reader is cut, and new ones are refused; meanwhile the
value is changed from elsewhere; then connections are accepted again. Errors on the way are not
counted.

Kept if a read gives the new value within 5 s.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.peers.arena import elapsed
from tests.peers.cases.near_flushed import copied
from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "near"


async def run(arena: Arena) -> Verdict:
    """Cut the reader off."""
    async with arena.tap() as tap, arena.peer(tap.url) as reader, arena.peer() as writer:
        await writer.set("k", "old")
        await copied(arena, reader, "k")
        await tap.refuse()
        await writer.set("k", "new")
        await asyncio.sleep(0.3)
        await tap.accept()
        began = time.monotonic()
        outcome: object = None
        while time.monotonic() - began < 5:
            _, outcome = await elapsed(reader.get("k"), 5)
            if outcome == "new":
                return kept(f"the new value, {time.monotonic() - began:.2f} s after the way back")
            await asyncio.sleep(0.05)
    shown = type(outcome).__name__ if isinstance(outcome, Exception) else repr(outcome)
    return broken(f"{shown} 5 s after the way back")
