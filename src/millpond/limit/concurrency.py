"""How many at once: slots that are leased, so that a process that dies gives its own back.

Whoever is inside holds a slot under a token of its own and renews it at a third of its lease, by
the server's clock. What must stay true:

1. At most `limit` tokens hold an unexpired lease.
2. Every way out gives the slot back: the release is queued before anything is awaited, so that no
   cancellation stops it, and it stands behind the take on the same connection:
       a caller is cancelled while its take is on its way  ->  release, queued behind it, undoes it.
   A release that Redis does not confirm is sent again until the slot's own time is over.
3. A slot that ran out (a stalled process, an outage) is not taken again: `slot.lost` says so, by
   this process's own clock, without asking. The body goes on: a limit is no lock.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from millpond.core.durations import milliseconds, seconds
from millpond.core.lease import give_back
from millpond.core.leased_slots import release_slot, renew_slot, slots_keys, take_slot
from millpond.errors import BackendError, ClosedError, ConfigError, LimitExceeded
from millpond.events import LimitShadowed
from millpond.limit.fallback import portion

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from types import TracebackType

    from millpond.core.supervisor import Supervisor
    from millpond.limit.desk import Desk

__all__ = ["Concurrency", "Full", "Slot"]

_MOST_SLOTS = 10_000
_SHORTEST_LEASE = 1.0  # seconds: a busy event loop may stall for less


class Full(msgspec.Struct, frozen=True):
    """Why nobody may come in now: what `LimitExceeded.decision` is for a concurrency limit."""

    key: str
    limit: int
    retry_after: float  # seconds until the first slot may be free, if nobody leaves before
    violated: tuple[str, ...] = ("concurrency",)

    def headers(self, *, legacy: bool = False) -> dict[str, str]:  # noqa: ARG002
        """Return `Retry-After`; the drafts have no words for what is not a quota."""
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))}


class Slot:
    """A place inside.

    Attributes:
        source: `"redis"`; `"local"` or `"unavailable"`: taken without it, during an outage.
        shadowed: Whether there was none, and the limiter is a shadow.
        until: When its lease ends, by the monotonic clock, unless it is renewed before.
    """

    __slots__ = ("shadowed", "source", "until")

    def __init__(
        self,
        source: Literal["redis", "local", "unavailable"],
        *,
        until: float = math.inf,
        shadowed: bool = False,
    ) -> None:
        """Take note of who gave it."""
        self.source = source
        self.until = until
        self.shadowed = shadowed

    @property
    def lost(self) -> bool:
        """Whether its lease ran out, so that another may be inside instead."""
        return time.monotonic() >= self.until


class Concurrency:
    """A place among so many, from `Limiter.concurrency`: enter it once, with `async with`."""

    def __init__(
        self,
        desk: Desk,
        key: str,
        limit: int,
        *,
        lease: float | timedelta,
        wait: float | timedelta | None,
    ) -> None:
        """Check the numbers; nothing is taken yet.

        Raises:
            ConfigError: One that cannot be.
        """
        if type(limit) is not int or not 1 <= limit <= _MOST_SLOTS:
            raise ConfigError(
                f"a concurrency limit must be an int from 1 to {_MOST_SLOTS:,}, not {limit!r}"
            )
        if seconds(lease, "lease") < _SHORTEST_LEASE:
            raise ConfigError(f"lease must be at least {_SHORTEST_LEASE:g} s, not {lease!r}")
        self._desk = desk
        self._client = desk.client
        self._key = key
        self._keys = slots_keys(key)
        self._limit = limit
        self._ms = milliseconds(lease, "lease")
        self._wait = 0.0 if wait is None else seconds(wait, "wait")
        self._token = ""
        self._renewing: asyncio.Task[None] | None = None
        self._entered = False
        self._asked = 0.0

    async def __aenter__(self) -> Slot:
        """Take a slot.

        Raises:
            LimitExceeded: None was free, at once or within `wait`. A shadow lets it pass, and does
                not wait.
            ConfigError: It was entered before.
            BackendError: With `on_unavailable="raise"`.

        Redis: one EVALSHA, and one for each time that somebody leaves while this waits.
        """
        if self._entered:
            raise ConfigError("a concurrency slot is entered once; ask the limiter for another")
        self._entered = True
        self._token = os.urandom(12).hex()
        try:
            left = await self._take()
            if left is not None and self._wait and not self._desk.shadow:
                left = await self._queue()
        except BackendError as error:
            self._release()  # it may have been taken all the same
            slot = self._without(error)
        except BaseException:
            self._release()
            raise
        else:
            if left is not None:
                slot = self._denied("redis", left)
            else:
                slot = Slot("redis", until=self._asked + self._ms / 1000)
                supervisor: Supervisor = self._client.supervisor
                self._renewing = supervisor.start(self._renew(slot), name="millpond slot")
        active = self._desk.space.active
        active[self._key] = active.get(self._key, 0) + 1
        return slot

    def _denied(self, source: Literal["redis", "local", "unavailable"], left: float) -> Slot:
        """Deny; or, in a shadow, say so and let it pass.

        Raises:
            LimitExceeded: The limiter is no shadow.
        """
        full = Full(f"{{{self._key}}}", self._limit, left)
        if not self._desk.shadow:
            raise LimitExceeded(full)
        self._client.emit(LimitShadowed(key=full.key, policy=full.violated[0]))
        return Slot(source, shadowed=True)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back: queued at once, then waited for, so that the next to ask finds it free."""
        active = self._desk.space.active
        active[self._key] -= 1
        if not active[self._key]:
            del active[self._key]
        if self._renewing is not None:
            self._renewing.cancel()
            released = self._release()
            if released is not None:
                await asyncio.wait([released])  # at most a command's timeout

    async def _take(self) -> float | None:
        """Try once; give the seconds until one may be free, or None: it is ours."""
        self._asked = time.monotonic()
        taken = await take_slot(self._client, self._keys, self._token, self._ms, self._limit)
        return None if taken == 1 else max(0.001, -taken / 1000)

    async def _queue(self) -> float | None:
        """Try again whenever somebody has left, or a slot has run out."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait
        async with self._client.watch(self._keys[1]) as watch:
            while True:
                left = await self._take()  # behind the watch's read: no release goes unseen
                patience = deadline - loop.time()
                if left is None or patience <= 0:
                    return left
                # the refusal has set the key, so that none is a change
                await watch.changed(min(left, patience), since=watch.value or b"refused")

    async def _renew(self, slot: Slot) -> None:
        while True:
            await asyncio.sleep(self._ms / 3000)
            asked = time.monotonic()
            try:
                held = await renew_slot(self._client, self._keys, self._token, self._ms)
            except BackendError:
                continue  # the next one may get through before the lease ends
            if not held:
                slot.until = 0.0
                return
            slot.until = asked + self._ms / 1000

    def _release(self) -> asyncio.Future[int] | None:
        again = partial(release_slot, self._client, self._keys, self._token)
        try:
            future = again()
        except (BackendError, ClosedError, ConfigError):
            return None  # nobody to tell; the lease ends by itself
        future.add_done_callback(partial(_repeat, again, self._ms / 1000))
        return future

    def _without(self, error: BackendError) -> Slot:
        """Decide without Redis: in this process, or as the limiter was told."""
        desk = self._desk
        desk.refused(error)
        desk.counters.fallback += 1
        share = portion(self._limit, desk.share)
        inside = desk.space.active.get(self._key, 0)
        source: Literal["local", "unavailable"]
        source = "local" if desk.instead == "local" else "unavailable"
        if desk.instead == "deny" or (desk.instead == "local" and inside >= share):
            return self._denied(source, 1.0)
        return Slot(source)


def _repeat(
    again: Callable[[], asyncio.Future[int]], seconds: float, future: asyncio.Future[int]
) -> None:
    if not future.cancelled() and isinstance(future.exception(), BackendError):
        give_back(again, seconds)
