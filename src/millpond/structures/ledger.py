"""The keys of one idempotency key, and what is asked of Redis about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millpond.core.lease import FENCE_TTL, release, renew
from millpond.core.scripts import Script
from millpond.structures.record import DIGEST

if TYPE_CHECKING:
    import asyncio

    from millpond.core.client import Client

__all__ = ["BEGUN", "DONE", "Ledger"]

_BEGIN = Script.load("millpond.structures", "begin")
_KEEP = Script.load("millpond.structures", "keep")

BEGUN = 1
DONE = 2


class Ledger:
    """One idempotency key in Redis.

    Attributes:
        client: The way to Redis.
        run: The key of the lease under which it is being done.
        result: The key of what was done.
    """

    __slots__ = ("_keys", "client", "result", "run")

    def __init__(self, client: Client, name: str) -> None:
        """Name the keys, which share a slot."""
        self.client = client
        self.result = f"{{{name}}}:result"
        self.run = f"{{{name}}}:run"
        self._keys = (self.run, f"{self.run}:fence", self.result)

    def begin(self, mark: str, ms: int) -> asyncio.Future[list[Any]]:
        """Begin, unless it was done or is being done: a number that says which, and more.

        Redis: one EVALSHA.
        """
        return self.client.run(_BEGIN, keys=self._keys, args=(mark, ms, ms + FENCE_TTL, DIGEST))

    def keep(self, mark: str, fence: int, record: bytes, ttl: int) -> asyncio.Future[int]:
        """Keep what a run left behind, and end it: 1, or 0 if another has begun since.

        Redis: one EVALSHA.
        """
        args = (mark, fence, record, ttl, FENCE_TTL)
        return self.client.run(_KEEP, keys=self._keys, args=args)

    def renew(self, mark: str, ms: int) -> asyncio.Future[int]:
        """Prolong the lease of a run: 1, or 0 if it is not ours any more.

        Redis: one EVALSHA.
        """
        return renew(self.client, self._keys, mark, ms)

    def give_up(self, mark: str) -> asyncio.Future[int]:
        """End a run that leaves nothing behind: 1, or 0 if it was not ours any more.

        Redis: one EVALSHA.
        """
        return release(self.client, self.run, mark)
