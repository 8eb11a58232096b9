"""What is denied for its cost uses nothing up.

The limit is 10 a minute. One key: a hit of 11 is denied, then one of 1 is asked for. Another: 6 is
admitted, 6 more are denied, then four single ones are asked for.

Kept if all single ones are admitted. Not applicable without costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.contract import Meter, Quota, Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "limit"


async def run(arena: Arena) -> Verdict:
    """Ask for too much, then for little."""
    async with arena.peer() as peer:
        meter = await peer.meter(Quota(10, per=60, burst=10))
        above = await _allowed(meter, "a", 11)
        single = await _allowed(meter, "a", 1)
        first = await _allowed(meter, "b", 6)
        second = await _allowed(meter, "b", 6)
        singles = sum([await _allowed(meter, "b", 1) for _ in range(4)])
    found = (
        f"11 of 10 {_word(above)}, then 1 {_word(single)}; 6 {_word(first)}, 6 more "
        f"{_word(second)}, then {singles} of 4 admitted"
    )
    right = not above and single and first and not second and singles == 4
    return (kept if right else broken)(found)


async def _allowed(meter: Meter, key: str, cost: int) -> bool:
    try:
        return (await meter.hit(key, cost)).allowed
    except ValueError:  # how some deny what can never be admitted
        return False


def _word(allowed: bool) -> str:
    return "admitted" if allowed else "denied"
