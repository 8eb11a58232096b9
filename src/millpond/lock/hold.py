"""The blocks: `async with locks.hold(...)` and `locks.try_hold(...)`."""

from __future__ import annotations

import asyncio
import math
import time
from asyncio import current_task, get_running_loop
from typing import TYPE_CHECKING, Any

from millpond.core.lease import new_token
from millpond.errors import BackendError, ConfigError, LockTimeout
from millpond.lock.held import Grip, Held
from millpond.lock.line import Line
from millpond.lock.ticket import Ticket

if TYPE_CHECKING:
    from types import TracebackType

    from millpond.lock.kinds import Kind
    from millpond.lock.store import LockStore

__all__ = ["Hold", "TryHold"]


class Hold:
    """Acquire on entering, release on leaving; one `async with` each."""

    __slots__ = ("_entered", "_held", "_kinds", "_max_hold", "_ms", "_names", "_store", "_wait")

    def __init__(
        self,
        store: LockStore,
        names: tuple[Any, ...],
        kinds: tuple[Kind, ...],
        *,
        ms: int,
        wait: float | None,
        max_hold: float,
    ) -> None:
        """Prepare; everything was checked.

        Args:
            store: What the locks of one `Locks` share.
            names: As the user gave them.
            kinds: What they stand for, in the same order, all different.
            ms: The lease.
            wait: Seconds; None: for ever.
            max_hold: Seconds; infinite: no limit.
        """
        self._store = store
        self._names = names
        self._kinds = kinds
        self._ms = ms
        self._wait = wait
        self._max_hold = max_hold
        self._entered = False
        self._held: Held | None = None

    async def __aenter__(self) -> Held:
        """Wait for the lock.

        Raises:
            LockTimeout: Not within `wait`.
            LockLost: Of several, one was lost while another was waited for.
            ConfigError: This task holds it already, or the block was entered before.
            BackendError: Redis is out of reach, or refuses.
        """
        if self._entered:
            raise ConfigError("a hold() is entered once; call locks.hold(...) for each block")
        self._entered = True
        store, wait = self._store, self._wait
        store.examination.begin()
        store.waiting += 1
        began = time.monotonic()
        try:
            if wait:
                async with asyncio.timeout(wait):
                    self._held = await self._acquire()
            elif len(self._kinds) == 1:  # the common case, without a coroutine more
                self._held = Held(self._names, (await self._grip(self._kinds[0]),))
            else:
                self._held = await self._acquire()
        except TimeoutError as error:
            if isinstance(error, BackendError):
                raise
            store.timeouts += wait != 0
            raise LockTimeout(_blocked(error, self._kinds), time.monotonic() - began) from None
        finally:
            store.waiting -= 1
        return self._held

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release.

        Raises:
            LockLost: The lock ended before the block did; what the block raised is its cause.
        """
        held, self._held = self._held, None
        if held is None:
            return
        try:
            await held.finish()
        finally:
            lost = held.resolve(error)
        if lost:
            raise held.failure() from error

    async def _acquire(self) -> Held:
        """Acquire every key, in one order for everybody, so that no two wait for each other."""
        kinds = self._kinds
        if len(kinds) == 1:
            return Held(self._names, (await self._grip(kinds[0]),))
        grips: dict[str, Grip] = {}
        try:
            for kind in sorted(kinds, key=_by_key):
                grips[kind.key] = await self._grip(kind)
            # The first may be lost while the last is waited for: then there are not all.
            for grip in grips.values():
                grip.begin(self._limit())
            return Held(self._names, [grips[kind.key] for kind in kinds])
        except BaseException:
            for grip in grips.values():
                grip.let_go()
            raise

    async def _grip(self, kind: Kind) -> Grip:
        store = self._store
        # Asked once: up to Python 3.11 every question for the running loop is a system call.
        loop = get_running_loop()
        task = current_task(loop)
        if kind.group and (kind.group, task) in store.owners:
            raise ConfigError(
                f"this task holds the lock {kind.key!r} already: waiting for it would never end; "
                "pass the outer block's `held` to what needs it"
            )
        ticket = Ticket(new_token(), self._ms)
        at_once = self._wait == 0
        line = store.lines.get(kind.place)
        first = line is None or line.loop is not loop
        if line is None or first:
            line = store.lines[kind.place] = Line(store, kind, loop)
        elif at_once and not kind.shared and not line.failing:
            raise LockTimeout(kind.key, 0.0)
        elif at_once:  # there may be enough for both; or it is for Redis to say, which it cannot
            line, first = Line(store, kind, loop), True
        await line.enter(ticket, first=first, at_once=at_once)
        store.acquired += 1
        store.held += 1
        # Of several the block begins with the last.
        limit = self._limit() if self._max_hold < math.inf and len(self._kinds) == 1 else math.inf
        return Grip(store, line, ticket, task, limit)

    def _limit(self) -> float:
        """Tell until when a block that begins now may last."""
        return time.monotonic() + self._max_hold if self._max_hold < math.inf else math.inf


class TryHold:
    """Acquire on entering if that can be done at once; gives None if it cannot."""

    __slots__ = ("_hold",)

    def __init__(self, hold: Hold) -> None:
        """Wrap a hold that does not wait."""
        self._hold = hold

    async def __aenter__(self) -> Held | None:
        """Acquire, or give None.

        Raises:
            ConfigError: This task holds it already, or the block was entered before.
            BackendError: Redis is out of reach, or refuses.
        """
        try:
            return await self._hold.__aenter__()
        except LockTimeout:
            return None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release, if there is anything to be released.

        Raises:
            LockLost: As for `hold`.
        """
        await self._hold.__aexit__(kind, error, trace)


def _blocked(error: TimeoutError, kinds: tuple[Kind, ...]) -> str:
    if isinstance(error, LockTimeout):
        return error.key
    return ", ".join([kind.key for kind in kinds])


def _by_key(kind: Kind) -> str:
    return kind.key
