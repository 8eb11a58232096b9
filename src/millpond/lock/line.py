"""The line of one lock in this process: its tasks in order, and one of them at Redis' door.

However many tasks of a process want a lock, one contends for it in Redis; the others stand in
line behind it. What must stay true:

1. A token belongs to one acquisition. Whoever leaves, for whatever reason, gives up its token in
   the same turn, by a command that is queued: it leaves even if the caller is cancelled again. One
   that was awaited, and whose caller was cancelled, is sent once more.
       acquire sent; the task is cancelled; release queued: on one connection the server runs both
       in this order, so the key is absent, whatever became of the replies.
2. The release of a holder with successors in its own process and the acquisition of the next are
   one script: under the next one's own token and with a fence of its own. The reply may find that
   the next has left: then the lock is its to give up, and it is handed on in its name.
3. No process starves another. Contenders mark themselves in Redis while they wait; a process that
   has passed the lock on among its own for `_TURN` and finds a mark releases instead, and lets one
   push arrive before it contends again. So does whoever comes back, in a new line, right after a
   release that found a mark.
       P releases and contends in one breath; Q's push is still on its way; P has it again. Without
       this a sketch gave one process 2,196 acquisitions and the other none.
4. Nobody polls. The contender watches the key; the timer at the holder's deadline is the net, for
   expiries are pushed late. It asks again at least every `bell.REMARK`, so that its mark stays.
       A refusal may be older than what the watch has read: the key free at the read, taken at the
       asking, free again since. So where the key shows the holder, every refusal is followed by a
       read of its own. Where it shows that somebody was refused, the read comes before the asking:
       W is refused, readers have it; the last reader leaves and deletes the key; a reader is
       refused, for W waits, and sets it; W reads it, and nobody is left who would delete it.
5. An answer that took longer than the lease says nothing: it is asked again, with the same token.
6. Redis out of reach: a call that finds it so fails at once. One whose connection breaks while it
   waits asks on for `_GRACE`, for a restart or a lost reply; then it fails as well.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from millpond.core.lease import give_back
from millpond.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ClosedError,
    ConfigError,
    LockTimeout,
    NoQuorum,
)
from millpond.lock.bell import Bell
from millpond.lock.heart import Heart
from millpond.lock.ticket import Gift, Ticket

if TYPE_CHECKING:
    from millpond.lock.kinds import Kind
    from millpond.lock.store import LockStore

__all__ = ["Line"]

_TURN = 0.005  # seconds for which a process may pass a wanted lock on among its own
_PUSH = 0.005  # seconds in which a push reaches a rival, and its command comes back
_GRACE = 2.0  # seconds without an answer after which a wait is given up
_RETRY = 0.03  # seconds between tries while there is no connection
_GHOST = 600.0  # seconds for which a place in a fair line that may still be ours is given back
_UNREACHED = (BackendError, ClosedError, ConfigError, NoQuorum)
_NOBODY = "-"  # in place of a token, where only a mark is given up


class Line:
    """Those in this process who want one lock. It exists while there are any.

    Attributes:
        kind: The lock.
        loop: On which it stands.
    """

    __slots__ = (
        "_began",
        "_failing",
        "_heart",
        "_marked",
        "_queue",
        "_store",
        "kind",
        "loop",
    )

    def __init__(self, store: LockStore, kind: Kind, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with whoever makes it, on the running loop, as the contender."""
        self._store = store
        self.kind = kind
        self._queue: deque[Ticket] | None = None  # most lines are never longer than one
        self._marked = False
        self._began = 0.0  # when Redis gave the lock to this process
        self._failing: float | None = None  # since when Redis is out of reach
        self._heart: Heart | None = None
        self.loop = loop

    @property
    def failing(self) -> bool:
        """Whether whoever contends here does not reach Redis, so that nobody knows of a holder."""
        return self._failing is not None

    # -- joining ------------------------------------------------------------------------------

    async def enter(self, ticket: Ticket, *, first: bool, at_once: bool) -> None:
        """Get the lock; the ticket says what that brought.

        Cancelled at any point, it leaves the lock to others.

        Args:
            ticket: Ours.
            first: Whether this call made the line, and so contends.
            at_once: Do not wait for another holder.

        Raises:
            LockTimeout: It is taken, and we are not to wait.
            BackendError: Redis is out of reach, or refuses.
        """
        yielded = first and not at_once and bool(self._store.wanted) and self._is_wanted()
        until: float | None = None  # when a refusal is over by itself
        bell: Bell | None = None
        try:
            if not first:
                outcome = await self._stand(ticket)
                if outcome is None and self._lasts(ticket):
                    self._store.passed += 1
                    return
                yielded = bool(outcome)
            while True:
                try:
                    if yielded:
                        yielded = False
                        await self._let_through()
                    elif bell is not None and until is not None:
                        await bell.wait(until)
                    ticket.sent = time.monotonic()
                    reply = await self._ask(ticket, waits=not at_once)
                except (BackendUnavailable, BackendTimeout, NoQuorum):
                    if not ticket.began or self._failing_for() > _GRACE:
                        raise
                    await asyncio.sleep(random.uniform(_RETRY / 2, _RETRY))  # noqa: S311
                    continue
                self._failing = None
                if reply > 0:
                    self._marked = False
                    if self._lasts(ticket):
                        break
                    until = None  # the answer took longer than the lease
                    continue
                until = self._refused(ticket, reply, at_once=at_once)
                if bell is None:
                    self._store.waits += ticket.future is None
                    bell = Bell(self._store.client, self.kind)
        except BaseException:
            self._leave(ticket)
            raise
        finally:
            if bell is not None:
                bell.close()
        ticket.fence = reply
        self._began = time.monotonic()
        if self.kind.shared:
            self._promote(yielded=False)  # there may be more for the next

    async def _stand(self, ticket: Ticket) -> bool | None:
        self._store.waits += 1
        ticket.began = True
        ticket.asked = self.kind.queues
        ticket.future = self.loop.create_future()
        if self._queue is None:
            self._queue = deque()
        self._queue.append(ticket)
        if self.kind.queues:
            if self._heart is None:
                contender = self._store.contender
                self._heart = Heart(self.kind, self._queue, contender, self.loop)
            self._heart.take(ticket)
        return await ticket.future

    def _leave(self, ticket: Ticket) -> None:
        """Give up a place, whatever stage it has reached."""
        if ticket.place is not None:
            # Else, should the server not know the script, it would be sent again, behind our
            # leaving, and take a place that nobody gives up.
            ticket.place.cancel()
        future = ticket.future
        if future is not None and (not future.done() or future.cancelled()):
            future.cancel()  # still in line: it is skipped when its turn comes, or its pass returns
            if self.kind.queues:
                self._forget(ticket.token, unmark=False)
        elif ticket.asked or (future is not None and future.result() is None):
            self.hand_on(ticket)
            if self.kind.shared:
                self._promote(yielded=False)
        else:
            self._promote(yielded=False)

    # -- contending ---------------------------------------------------------------------------

    def _ask(self, ticket: Ticket, *, waits: bool) -> asyncio.Future[int]:
        marked = self._marked
        contender = self._store.contender if waits or marked else ""
        future = self.kind.acquire(ticket.token, ticket.ms, contender, marked=marked)
        if self._heart is not None:
            self._heart.heard()
        if not future.done():  # the connection took it: what fails from here began just now
            ticket.asked = ticket.began = True
            self._marked = waits or marked
        return future

    def _refused(self, ticket: Ticket, reply: int, *, at_once: bool) -> float:
        """Take note of a refusal; gives the time at which it is over by itself."""
        ticket.asked = self.kind.queues  # a place is to be given up, too
        if at_once:
            raise LockTimeout(self.kind.key, 0.0)
        return time.monotonic() - reply / 1000 if reply else math.inf

    def _lasts(self, ticket: Ticket) -> bool:
        """Tell whether what was just acquired is still ours, for all that the clock says."""
        trust, lease = self.kind.trust, ticket.ms / 1000
        return time.monotonic() - ticket.sent < (lease if trust is None else trust(lease))

    def _failing_for(self) -> float:
        """Take note that Redis is out of reach; gives the seconds since that began."""
        now = time.monotonic()
        if self._failing is None:
            self._failing = now
        return now - self._failing

    def _is_wanted(self) -> bool:
        """Tell whether it was left just now, while others waited for it."""
        return self._store.wanted.get(self.kind.place, 0.0) > time.monotonic()

    async def _let_through(self) -> None:
        """Give a rival the time that it needs to hear of our release."""
        async with self._store.client.watch(self.kind.signal) as watch:
            if watch.value is None:
                await watch.changed(_PUSH)

    # -- giving up ----------------------------------------------------------------------------

    async def leave(self, ticket: Ticket) -> bool | None:
        """Give up a token as `hand_on` does, and wait for the answer.

        Returns:
            Whether it was still ours: None, if Redis did not say.
        """
        if self.kind.shared or self._queue:
            confirm: asyncio.Future[bool | None] = self.loop.create_future()
            self.hand_on(ticket, confirm)
            return await confirm
        self._close()
        try:
            reply = await self._release(ticket.token, unmark=True)
        except asyncio.CancelledError:
            # Nobody hears the answer any more, and a NOSCRIPT would be dropped with it. By the
            # token it may be given up twice.
            self.hand_on(ticket)
            raise
        except _UNREACHED as error:
            self._store.unconfirmed(self.kind, ticket, error)
            return None
        if reply == 2 and self.kind.shows_holder:
            wanted, place = self._store.wanted, self.kind.place
            wanted[place] = time.monotonic() + _PUSH
            self.loop.call_later(_PUSH, wanted.pop, place, None)
        return reply >= 1

    def hand_on(self, ticket: Ticket, confirm: asyncio.Future[bool | None] | None = None) -> None:
        """Give up a token, to the next in line or to everybody; the command is queued now.

        Args:
            ticket: Whose token is given up if Redis has it, and otherwise without effect.
            confirm: Told whether it was still ours; None: Redis did not say.
        """
        following = None if self.kind.shared else self._following()
        sent = time.monotonic()
        passed = False
        try:
            if following is None:
                if not self.kind.shared:
                    self._close()
                future = self._release(ticket.token, unmark=not self.kind.shared)
            else:
                over = sent - self._began > _TURN
                future = self.kind.pass_on(ticket.token, following.token, following.ms, over=over)
                following.asked = passed = future is not None
                future = future or self._release(ticket.token, unmark=False)
        except _UNREACHED as error:
            future = self.loop.create_future()
            future.set_exception(error)
        gift = Gift(ticket, following, passed, sent)
        future.add_done_callback(partial(self._handed, gift, confirm))

    def _release(self, token: str, *, unmark: bool) -> asyncio.Future[int]:
        contender = self._store.contender if unmark and self._marked else ""
        self._marked = self._marked and not unmark
        return self.kind.release(token, contender)

    def _handed(
        self,
        gift: Gift,
        confirm: asyncio.Future[bool | None] | None,
        future: asyncio.Future[int],
    ) -> None:
        lost = future.cancelled()
        error = None if lost else future.exception()
        reply = None if lost or error is not None else future.result()
        following = gift.to
        if reply is None:
            self._failing_for()
            self._store.unconfirmed(self.kind, gift.ticket, error)
        else:
            self._failing = None
        if confirm is not None and not confirm.done():
            confirm.set_result(None if reply is None else reply >= (0 if gift.passed else 1))
        if following is None:
            return
        unsure = gift.passed and reply is None  # the next one may have it
        following.asked = self.kind.queues or unsure
        if gift.passed and reply is not None and reply > 0:
            if following.gone:
                self.hand_on(following)
            else:
                following.fence, following.sent = reply, gift.sent
                self._tell(following, None)
            return
        yielded = reply == (0 if gift.passed else 2)
        if not following.gone:
            self._tell(following, yielded)
            return
        if unsure:
            self._store.unconfirmed(self.kind, following, error)
        self._promote(yielded=yielded)

    def _promote(self, *, yielded: bool) -> None:
        """Let the next in line contend; end the line if there is none."""
        following = self._following()
        if following is not None:
            self._tell(following, yielded)
            return
        self._close()
        if self._marked:  # nobody waits here any more: no releasing rival need make way for us
            self._forget(_NOBODY, unmark=True)

    def _forget(self, token: str, *, unmark: bool) -> None:
        """Give up a place in Redis, or a mark, for whoever waits no longer."""
        try:
            future = self._release(token, unmark=unmark)
        except (BackendError, ClosedError, ConfigError):
            return
        future.add_done_callback(partial(self._forgotten, token))

    def _forgotten(self, token: str, future: asyncio.Future[Any]) -> None:
        lost = future.cancelled() or isinstance(future.exception(), BackendError)
        if lost and self.kind.queues:  # or it would bar others for as long as this process waits
            give_back(partial(self.kind.release, token, ""), _GHOST)

    @staticmethod
    def _tell(ticket: Ticket, outcome: bool | None) -> None:
        if ticket.future is not None:
            ticket.future.set_result(outcome)

    def _following(self) -> Ticket | None:
        queue = self._queue
        while queue:
            ticket = queue.popleft()
            if not ticket.gone:
                return ticket
        return None

    def _close(self) -> None:
        if self._heart is not None:
            self._heart.stop()
            self._heart = None
        lines = self._store.lines
        if lines.get(self.kind.place) is self:
            del lines[self.kind.place]
