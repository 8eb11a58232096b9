"""`Held`: one acquisition, from the moment the lock is ours to the moment it is not.

It is a value of its own for every acquisition, never state on something shared: two tasks that
use one `Locks`, or one name, cannot touch each other's tokens.

Losing a lock cancels the task that entered the block, as `asyncio.timeout` does. Our
cancellation is taken back when the block is left, and a cancellation from outside is not: then the
block is left by `CancelledError`, not by `LockLost`.
A task is never cancelled by itself (from `ensure_held`): it would be struck at its next await,
after the block was left.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from millpond.core.cancelling import take_back
from millpond.core.lease import Lease, lease_seconds
from millpond.errors import ConfigError, LockError, LockLost
from millpond.events import LockFailed

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from datetime import timedelta

    from millpond.lock.line import Line
    from millpond.lock.store import LockStore
    from millpond.lock.ticket import Ticket

__all__ = ["Grip", "Held"]


class Grip(Lease):
    """One key that is ours: its token, its fence, and its lease, which is being renewed.

    Attributes:
        task: Who acquired it.
    """

    __slots__ = ("_gone", "_held", "_line", "_store", "_ticket", "task")

    def __init__(
        self,
        store: LockStore,
        line: Line,
        ticket: Ticket,
        task: asyncio.Task[Any] | None,
        limit: float,
    ) -> None:
        """Begin to renew for `task`, until `limit` by the monotonic clock."""
        self._store = store
        self._line = line
        self._ticket = ticket
        self._gone = False
        self._held: Held | None = None
        kind = line.kind
        self.task = task
        if kind.group:
            store.owners.add((kind.group, task))
        super().__init__(
            seconds=ticket.ms / 1000,
            sent=ticket.sent,
            limit=limit,
            trust=kind.trust,
            loop=line.loop,
            shared=store.timer(line.loop, ticket.ms),
        )

    def begin(self, limit: float) -> None:
        """Take note that the block begins, and must end by `limit`.

        Raises:
            LockLost: It has been lost already.
        """
        self.end_by(limit)
        ended = self.check()
        if ended:
            raise LockLost(self.key, self.fence, ended)

    def belong_to(self, held: Held) -> None:
        """Say whom to tell of the loss; one that came before is told at once."""
        self._held = held
        if self.ended:
            held.lose(self, self.ended)

    @property
    def key(self) -> str:
        """The Redis key."""
        return self._line.kind.key

    @property
    def fence(self) -> int:
        """Of this acquisition; 0: there is none."""
        return self._ticket.fence if self._line.kind.fenced else 0

    @property
    def longest(self) -> float:
        """Seconds that a lease of this lock may last."""
        return self._line.kind.longest

    def let_go(self) -> asyncio.Future[bool | None] | None:
        """Release, or do nothing if that was done when it was lost; the command is queued now.

        Returns:
            Whether it was still ours: None, if Redis did not say.
        """
        if not self._finished():
            return None
        confirm: asyncio.Future[bool | None] = self._line.loop.create_future()
        self._line.hand_on(self._ticket, confirm)
        return confirm

    def release(self) -> Coroutine[Any, Any, bool | None] | None:
        """Do as `let_go`, once it is awaited, which is to be now; cheaper where nobody is next."""
        return self._line.leave(self._ticket) if self._finished() else None

    def _finished(self) -> bool:
        """Renew no more; tells whether the token is still to be given up."""
        late = "" if self.ended else self.stop()
        if late:  # the clock says so before any timer did
            self._report(late)
            if self._held is not None:
                self._held.lose(self, late)
        self._held = None  # each knew the other: let go by hand, they need no garbage collection
        return self._surrendered()

    def _surrendered(self) -> bool:
        if self._gone:
            return False
        self._gone = True
        self._store.held -= 1
        self._store.owners.discard((self._line.kind.group, self.task))
        return True

    def gone(self) -> None:
        """Take note that the release found it gone."""
        self.ended = "gone"
        self._report("gone")

    def renew(self, ms: int) -> asyncio.Future[int]:
        """Ask Redis."""
        return self._line.kind.renew(self._ticket.token, ms)

    def lost(self, reason: str) -> None:
        """Tell whoever holds it."""
        self._report(reason)
        # Others need not wait for what the block does yet. By the token, this harms nobody.
        if reason != "max_hold" and self._surrendered():
            self._line.hand_on(self._ticket)
        if self._held is not None:
            self._held.lose(self, reason)

    def _report(self, reason: str) -> None:
        self._store.lost += 1
        held = time.monotonic() - self._ticket.sent
        self._store.client.emit(
            LockFailed(key=self.key, fence=self.fence, reason=reason, held=held)
        )


class Held:
    """A lock, or several taken together, while the block runs.

    Attributes:
        names: As they were given.
    """

    __slots__ = (
        "_before",
        "_cancelled",
        "_event",
        "_failure",
        "_grips",
        "_released",
        "_task",
        "names",
    )

    def __init__(self, names: tuple[Any, ...], grips: Sequence[Grip]) -> None:
        """Take over what the running task acquired."""
        self.names = names
        self._grips = grips
        self._task = grips[0].task
        self._before = 0 if self._task is None else self._task.cancelling()
        self._event: asyncio.Event | None = None
        self._failure: tuple[Grip, str] | None = None
        self._cancelled = False
        self._released = False
        for grip in grips:
            grip.belong_to(self)

    @property
    def fence(self) -> int:
        """A number higher than that of every earlier holder of this lock.

        Hand it to what the lock protects, and let that refuse lower ones.

        Raises:
            ConfigError: Several locks are held; each has its own in `fences`. Or a permit, or a
                lock for reading, which have none.
        """
        if len(self._grips) != 1:
            raise ConfigError("several locks are held: each has its own fence, in held.fences")
        fence = self._grips[0].fence
        if not fence:
            raise ConfigError(
                "what several may hold at once has no fence: none of them comes after the other"
            )
        return fence

    @property
    def fences(self) -> dict[Any, int]:
        """The fence of each name."""
        return {name: grip.fence for name, grip in zip(self.names, self._grips, strict=True)}

    @property
    def lost(self) -> asyncio.Event:
        """Set when the lock has ended before it was released."""
        if self._event is None:
            self._event = asyncio.Event()
            if self._failure is not None:
                self._event.set()
        return self._event

    def remaining(self) -> float:
        """Tell for how many seconds the lock is surely ours, if no renewal succeeds; 0: it is not.

        By this process's monotonic clock, counted from before the last confirmed request left.
        """
        if self._released:
            return 0.0
        return min([grip.remaining() for grip in self._grips])

    def ensure_held(self) -> None:
        """Return if the lock is ours now; to be called right before a side effect.

        It asks the clock, not Redis, so it costs nothing; what it cannot see is a lock that was
        deleted or evicted since the last renewal. It sees an event loop that stalled.

        Raises:
            LockLost: It is not ours any more.
            LockError: It was released.
        """
        if self._released:
            raise LockError(self._grips[0].key, f"{self!r} was released; acquire it again")
        for grip in self._grips:
            grip.check()
        if self._failure is not None:
            raise self.failure()

    async def extend(self, lease: float | timedelta | None = None) -> None:
        """Renew now instead of at the next third, perhaps by another lease from now on.

        Args:
            lease: Seconds or timedelta, from now; None: as long as it was taken for.

        Raises:
            LockLost: It is not ours any more.
            LockError: It was released.
            BackendError: Redis did not confirm; the earlier deadline stands.
            ConfigError: A lease that cannot be.

        Redis:
            One EVALSHA for each lock.
        """
        span = None if lease is None else lease_seconds(lease)
        for grip in self._grips:
            if span is not None and span > grip.longest:
                raise ConfigError(
                    f"lease={lease} is longer than that of Locks(...), {grip.longest:g} s: a node "
                    "that was restarted is kept out for no longer than that; raise it there"
                )
        self.ensure_held()
        for grip in self._grips:
            await grip.extend(span)
        self.ensure_held()

    async def release(self) -> None:
        """Release before the block ends.

        Raises:
            LockLost: It was not ours any more.
            LockError: It was released already.
        """
        if self._released:
            raise LockError(self._grips[0].key, f"{self!r} was released already")
        await self.finish()
        if self._failure is not None:
            raise self.failure()

    # -- for the block ------------------------------------------------------------------------

    def lose(self, grip: Grip, reason: str) -> None:
        """Take note of a loss: cancel the block."""
        if self._failure is not None:
            return
        self._failure = grip, reason
        if self._event is not None:
            self._event.set()
        task = self._task
        if not self._released and task is not None and task is not asyncio.current_task():
            self._cancelled = True
            task.cancel(f"the lock {grip.key!r} was lost")

    def failure(self) -> LockLost:
        """Make the error for what was lost."""
        if self._failure is None:
            raise AssertionError("nothing was lost")
        grip, reason = self._failure
        return LockLost(grip.key, grip.fence, reason)

    async def finish(self) -> None:
        """Release everything; only the first time counts.

        Every command is queued before anything is awaited, so nothing that ends this call keeps
        a lock from being released.
        """
        if self._released:
            return
        grips = self._grips
        if len(grips) == 1:
            leaving = grips[0].release()
            self._released = True
            if leaving is not None and await leaving is False:
                self._missed(grips[0])
            return
        pending = [grip.let_go() for grip in grips]
        self._released = True
        for grip, confirm in zip(grips, pending, strict=True):
            if confirm is not None and await confirm is False:
                self._missed(grip)

    def _missed(self, grip: Grip) -> None:
        """Take note that the release found something not ours any more."""
        if not _over(grip):
            grip.gone()
            self.lose(grip, "gone")

    def resolve(self, error: BaseException | None) -> bool:
        """Take our cancellation back.

        Returns:
            Whether the block is to raise `LockLost`: not for a cancellation from outside, nor
            when the block raises it already.
        """
        if self._failure is None:
            return False
        if self._cancelled and self._task is not None:
            self._cancelled = False
            outside = take_back(self._task, self._before, error)
        else:
            outside = isinstance(error, asyncio.CancelledError)
        if outside:
            return False
        return not (isinstance(error, LockLost) and error.key in {g.key for g in self._grips})

    def __repr__(self) -> str:
        """Show the names and the state."""
        state = "released" if self._released else "lost" if self._failure else "held"
        return f"<millpond.Held {', '.join(map(repr, self.names))} {state}>"


def _over(grip: Grip) -> bool:
    """Tell whether its end is known already."""
    return grip.ended not in {"", "released"}
