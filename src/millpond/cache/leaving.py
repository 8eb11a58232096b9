"""Tracked reads that have not left yet, for whoever asks for the same key meanwhile.

What a near cache has no copy of, a herd asks for at once. One read answers all who call for the key
in one turn of the loop, by the rule by which the connection joins GETs (`core/exchange.py`, 4):

1. Nobody joins a read that has left:
       A reads; the server reads v1; B deletes, is answered; C reads and must not be given A's v1.
2. Nobody joins over a command of anybody else's:
       A reads; B's SET is queued behind it; C, who called for it, reads and must find B's value.
   A connection does not say what was queued, only how much. So whatever it was ends the joining,
   but for further reads that are counted here.
3. Each caller waits on his own, so that one who is cancelled takes nothing from the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncio

    from millpond.core.link import Lane

__all__ = ["Callers", "Leaving", "answer"]

Callers: TypeAlias = "list[asyncio.Future[bytes | None]]"


class Leaving:
    """The reads of one near cache in the batch that is being made."""

    __slots__ = ("_lane", "_queued", "_reads", "_turn")

    def __init__(self) -> None:
        """Know of none."""
        self._lane: Lane | None = None
        self._turn = 0
        self._queued = 0
        self._reads: dict[str, Callers] = {}

    def callers(self, lane: Lane, name: str) -> Callers | None:
        """Return who waits for a read that may be joined now."""
        if lane is not self._lane or lane.batches != self._turn or lane.queued != self._queued:
            self._reads.clear()
            return None
        return self._reads.get(name)

    def add(self, lane: Lane, name: str, callers: Callers) -> None:
        """Let others join a read that has just been queued, `callers` having found none."""
        queued = lane.queued
        if queued < 0:  # it waits for room, or was refused
            self._lane = None
        else:
            self._lane, self._turn, self._queued = lane, lane.batches, queued
            self._reads[name] = callers


def answer(callers: Callers, raw: bytes | None) -> None:
    """Give everybody what was read, who has not gone."""
    for caller in callers:
        if not caller.done():
            caller.set_result(raw)
