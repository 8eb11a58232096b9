"""Different keys never share an entry.

Two arguments make a key by the library's own means: first ("x:y", "z"), then ("x", "y:z"); then
("x", "") and ("", "x"), and what escaping could confuse: ("a%3Ab", "c") and ("a:b", "c").

Kept if each is given its own value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"
_KEYS = (("x:y", "z"), ("x", "y:z"), ("x", ""), ("", "x"), ("a%3Ab", "c"), ("a:b", "c"))


async def run(arena: Arena) -> Verdict:
    """Ask for all, twice."""
    wrong: list[str] = []
    async with arena.peer() as peer:
        for key in _KEYS:

            async def load(key: tuple[str, str] = key) -> list[str]:
                return list(key)

            value = await peer.get_or_compute(key, load)
            if list(value) != list(key):
                wrong.append(f"{key!r} was given the value of {tuple(value)!r}")
    return broken("; ".join(wrong)) if wrong else kept(f"{len(_KEYS)} keys, each its own value")
