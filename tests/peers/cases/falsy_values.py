"""Every value is a hit, and comes back as it was: 0, -1, 1.5, "", "7", [], false, {"a": [null]}.

Each is loaded under a key of its own and read by another instance.

Kept if no second load is needed, and value and type are those that were loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from tests.peers.arena import Arena

KIND = "cache"
_VALUES: tuple[Any, ...] = (0, -1, 1.5, "", "7", [], False, {"a": [None]})


async def run(arena: Arena) -> Verdict:
    """Load and read each."""
    wrong: list[str] = []
    async with arena.peer() as one, arena.peer() as other:
        for number, value in enumerate(_VALUES):
            loads: list[Any] = []

            async def load(value: Any = value, loads: list[Any] = loads) -> Any:
                loads.append(value)
                return value

            await one.get_or_compute(f"k{number}", load)
            read = await other.get_or_compute(f"k{number}", load)
            if len(loads) != 1:
                wrong.append(f"{value!r} was loaded {len(loads)} times")
            elif read != value or type(read) is not type(value):
                wrong.append(f"{value!r} came back as {read!r}")
    return broken("; ".join(wrong)) if wrong else kept(f"{len(_VALUES)} values, one load each")
