"""Bytes that cannot be decoded are a miss, never an error.

A value is cached; then every string in Redis is overwritten with bytes that no codec of the
library wrote, keeping its TTL. Another instance asks.

Kept if it is given what its loader returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.arena import elapsed
from tests.peers.contract import NotApplicable, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"
_FOREIGN = b"\x80\xff\x00 not what you wrote"


async def run(arena: Arena) -> Verdict:
    """Overwrite what is stored."""

    async def load_first() -> dict[str, str]:
        return {"name": "first"}

    async def load_second() -> dict[str, str]:
        return {"name": "second"}

    async with arena.peer() as one:
        await one.get_or_compute("k", load_first)
        changed = 0
        for key in arena.behind.stored():
            if arena.behind.execute("TYPE", key) == b"string":
                arena.behind.execute("SET", key, _FOREIGN, "KEEPTTL")
                changed += 1
        if not changed:
            raise NotApplicable("keeps no string in Redis")
        async with arena.peer() as other:
            took, outcome = await elapsed(other.get_or_compute("k", load_second), 15)
    if outcome == {"name": "second"}:
        return kept(f"it was loaded anew, {took:.2f} s after the call")
    if isinstance(outcome, BaseException):
        return broken(f"the caller was given {type(outcome).__name__}")
    return broken(f"the caller was given {outcome!r}")
