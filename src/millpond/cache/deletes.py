"""Deletes of one cache: what the journal is asked to have Redis forget, and who is told.

All of it is queued before the first suspension, and nobody can cancel it (`core/journal.py`).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from millpond.core.entry import new_generation
from millpond.core.journal import First, Invalidation
from millpond.core.scripts import Script
from millpond.errors import InvalidationPending
from millpond.events import DeleteUnconfirmed, MarkRemoved

if TYPE_CHECKING:
    from millpond.cache.near import Near
    from millpond.cache.statistics import Counters
    from millpond.core.client import Client

__all__ = ["DELETE", "Deletes"]

DELETE = Script.load("millpond.cache", "delete", after=("writers",))
_EXPIRE = Script.load("millpond.cache", "delete", after=("writers", "soft", "expire"))
_WITHOUT_MEMORY = 2  # what the delete script says


class Deletes:
    """The way in which one cache has things forgotten."""

    __slots__ = ("_client", "_counters", "_keeps", "_near", "_raises")

    def __init__(
        self,
        client: Client,
        near: Near[Any] | None,
        counters: Counters,
        *,
        keeps: bool,
        raises: bool,
    ) -> None:
        """Prepare.

        Args:
            client: The way to Redis.
            near: Forgets them, too.
            counters: Of the cache.
            keeps: Whether the cache keeps stale values, so that there is something to expire.
            raises: Whether what Redis has not acknowledged is an error to the caller.
        """
        self._client = client
        self._near = near
        self._counters = counters
        self._keeps = keeps
        self._raises = raises

    async def delete(self, names: list[str]) -> bool:
        """Remove what is under these keys; whether Redis has acknowledged it.

        Raises:
            InvalidationPending: It has not, and the policy wants that raised.

        Redis: one EVALSHA for each.
        """
        first = First(DELETE, (), self._deleted)
        return await self.change(
            names, [Invalidation(DELETE, (name,), (), first) for name in names]
        )

    async def expire(self, names: list[str]) -> bool:
        """Make what is under these keys stale, where stale values are kept; as `delete` otherwise.

        Raises:
            InvalidationPending: As `delete`.

        Redis: one EVALSHA for each.
        """
        if not self._keeps:
            return await self.delete(names)
        first = First(_EXPIRE, (new_generation,), self._deleted)
        return await self.change(
            names, [Invalidation(_EXPIRE, (name,), first.args, first) for name in names]
        )

    async def change(self, names: list[str], invalidations: list[Invalidation]) -> bool:
        """Have Redis forget things, keys or versions, and say if it has not acknowledged it.

        Args:
            names: What these are called when somebody is told.
            invalidations: What is sent.

        Raises:
            InvalidationPending: As `delete`.

        Redis: one EVALSHA for each.
        """
        answer = self._client.invalidate(invalidations)
        # In a callback, for the caller may be cancelled: the deletes go on all the same.
        if answer.done():
            self._told(names, answer)
        else:
            answer.add_done_callback(partial(self._told, names))
        reason = await asyncio.shield(answer)
        if reason and self._raises:
            raise InvalidationPending(tuple(names), reason)
        return not reason

    def _deleted(self, name: str, reply: int) -> None:
        if reply == _WITHOUT_MEMORY:
            self._client.emit(MarkRemoved(key=name))

    def _told(self, names: list[str], answer: asyncio.Future[str]) -> None:
        """Count and tell of a delete that Redis has not acknowledged."""
        if self._near is not None:
            self._near.changed([name.encode() for name in names])
        reason = answer.result()
        if reason:
            self._counters.unconfirmed_deletes += len(names)
            self._client.emit(DeleteUnconfirmed(keys=tuple(names), reason=reason))
