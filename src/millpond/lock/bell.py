"""What wakes the one task of a process that contends for a lock in Redis."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millpond.core.client import Client
    from millpond.core.watch import Watch
    from millpond.lock.kinds import Kind

__all__ = ["REMARK", "Bell"]

REMARK = 10.0  # seconds; below MARK_TTL of the leases
_LATE = 0.002  # seconds past a deadline before asking: Redis' own clock must have passed it
_PAUSE = 0.08  # seconds at most between asking where nothing can be watched
_SET = b"set, and gone again before it was read"


class Bell:
    """Rings when a lock that was refused is worth asking for again."""

    __slots__ = ("_client", "_kind", "_watch")

    def __init__(self, client: Client, kind: Kind) -> None:
        """Prepare; nothing is read before the first wait."""
        self._client = client
        self._kind = kind
        self._watch: Watch | None = None

    def close(self) -> None:
        """Stop listening, if it ever began."""
        if self._watch is not None:
            self._watch.close()

    async def wait(self, until: float) -> None:
        """Return when the lock is worth asking for; at the latest when `until` or `REMARK` is past.

        Args:
            until: When the refusal is over by itself, by the monotonic clock.

        Raises:
            BackendError: Redis is out of reach.
        """
        ask_by = time.monotonic() + REMARK
        until = min(until, ask_by)
        if not self._kind.signal:
            await asyncio.sleep(random.uniform(_PAUSE / 4, _PAUSE))  # noqa: S311
        elif self._kind.shows_holder:
            await self._holder_gone(until, ask_by)
        else:
            await self._somebody_left(until)

    async def _holder_gone(self, until: float, ask_by: float) -> None:
        async with self._client.watch(self._kind.signal) as watch:
            while watch.value is not None:
                if watch.expires is not None:
                    left = watch.expires - asyncio.get_running_loop().time()
                    until = min(time.monotonic() + left, ask_by)
                pause = until + _LATE - time.monotonic()
                if pause <= 0 or not await watch.changed(pause):
                    return

    async def _somebody_left(self, until: float) -> None:
        """The first time only listen, and have it asked again: see the fourth rule of a line."""
        if self._watch is None:
            watch = self._client.watch(self._kind.signal)
            await watch.__aenter__()
            self._watch = watch
            return
        pause = until + _LATE - time.monotonic()
        if pause > 0:  # whoever was refused has set the key, so that none is a change
            await self._watch.changed(pause, since=self._watch.value or _SET)
