"""`Run`: doing something once, from the moment it is ours to do until it is known to be done.

What must stay true:

1. Of all that have the same key, one runs at a time while its lease lasts. By the local deadline,
   which is before Redis' own, the task that runs it is cancelled, and `LockLost` raised.
2. What was done is kept by compare-and-set: while the lease is ours or, should it have run out,
   while nobody has begun since.
       A stalls past its lease and has been paid all the same; B asks: it begins anew if A's result
       is not there yet. If B came first, A is told so; if A did, B is given A's result.
3. Once the function has returned, nothing throws its result away: neither a cancellation nor an
   answer that never came. Keeping is sent again, by the token, until Redis confirms it.
4. A function that raised has left nothing behind: its lease is given up, queued at once, and sent
   again until Redis confirms it or its time is over. Whoever comes next may run.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from millpond.core.cancelling import take_back
from millpond.core.futures import consumed
from millpond.core.lease import Lease, give_back
from millpond.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ClosedError,
    CodecError,
    ConfigError,
    LockError,
    LockLost,
)
from millpond.events import LockFailed, ReleaseUnconfirmed, ResultUnconfirmed
from millpond.structures.record import pack_result, pack_unkept

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from millpond.core.codec import Codec
    from millpond.structures.ledger import Ledger
    from millpond.structures.tally import Tally

__all__ = ["GRACE", "RETRY", "Run"]

T = TypeVar("T")

GRACE = 2.0
"""Seconds without an answer after which asking Redis again and again is given up."""

RETRY = 0.03
"""Seconds between tries while there is no connection."""

_KEEP_TRYING = 600.0  # seconds for which a result that Redis has not confirmed is sent again
_LONGEST_PAUSE = 1.0  # seconds between these tries, by and by


class _RunLease(Lease):
    """The lease of a run, apart from it: a run's users have no use for what a lease can do."""

    __slots__ = ("_renew", "_tell")

    def __init__(
        self,
        renew: Callable[[int], asyncio.Future[int]],
        tell: Callable[[str], None],
        *,
        seconds: float,
        sent: float,
    ) -> None:
        self._renew = renew
        self._tell = tell
        super().__init__(seconds=seconds, sent=sent)

    def renew(self, ms: int) -> asyncio.Future[int]:
        return self._renew(ms)

    def lost(self, reason: str) -> None:
        self._tell(reason)

    def stop(self) -> str:
        ended = super().stop()
        self._tell = _nobody  # it and its run knew each other: nothing is left to collect
        return ended


class Run:
    """What the function of `run_once` is given: that it is its turn, and for how long.

    Attributes:
        fence: A number higher than that of every earlier run of this key. Hand it to what the run
            writes to, and let that refuse lower ones.
    """

    __slots__ = (
        "_before",
        "_began",
        "_failure",
        "_lease",
        "_ledger",
        "_mark",
        "_returned",
        "_seconds",
        "_struck",
        "_tally",
        "_task",
        "fence",
    )

    def __init__(
        self, ledger: Ledger, mark: str, fence: int, *, seconds: float, sent: float, tally: Tally
    ) -> None:
        """Begin to renew, for the running task.

        Args:
            ledger: Where it is written.
            mark: `<fingerprint>:<token>` of this call.
            fence: Of this run.
            seconds: The lease.
            sent: When the request that began it left, by the monotonic clock.
            tally: Counts.
        """
        self._ledger = ledger
        self._mark = mark
        self._seconds = seconds
        self._began = sent
        self._tally = tally
        self._failure = ""
        self._returned = False
        self._struck = False
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling()
        self.fence = fence
        renew = partial(ledger.renew, mark)
        self._lease = _RunLease(renew, self._lost, seconds=seconds, sent=sent)

    def remaining(self) -> float:
        """Tell for how many seconds nobody else runs, if no renewal succeeds; 0: somebody may."""
        return self._lease.remaining()

    def ensure_held(self) -> None:
        """Return if nobody else may be running; to be called right before a side effect.

        It asks the clock, not Redis, so it costs nothing.

        Raises:
            LockLost: Another run may have begun.
            LockError: This one is over.
        """
        ended = self._lease.check()
        if ended == "released":
            raise LockError(self._ledger.run, "this run is over; call run_once for another")
        if ended:
            raise LockLost(self._ledger.run, self.fence, ended)

    # -- doing it -----------------------------------------------------------------------------

    async def perform(self, fn: Callable[[Run], Awaitable[T]], codec: Codec, ttl: int) -> T:
        """Call the function, and keep its result."""
        try:
            value = await fn(self)
        except BaseException as error:
            ended = await self._give_up(error)
            if ended:
                raise LockLost(self._ledger.run, self.fence, ended) from error
            raise
        self._returned = True  # from here on, nothing strikes
        self._take_back(None)
        unkept: CodecError | None = None
        try:
            record = pack_result(codec, self._mark, value)
        except CodecError as error:
            unkept, record = error, pack_unkept(codec, self._mark)
        if not await self._keep(record, ttl):
            ended = self._failure or "gone"
            self._report(ended)
            raise LockLost(self._ledger.run, self.fence, ended) from unkept
        if unkept is not None:
            raise CodecError(
                f"{self._ledger.result!r} was done, and will not be done again, but its result "
                f"cannot be kept: {unkept}"
            ) from unkept
        return value

    async def _keep(self, record: bytes, ttl: int) -> bool:
        """Write it down; False if another has begun since, or the server has forgotten us."""
        send = partial(self._ledger.keep, self._mark, self.fence, record, ttl)
        failing: float | None = None
        try:
            while True:
                try:
                    # Shielded: the answer to a cancelled call is dropped, and with it a NOSCRIPT.
                    future = send()
                    future.add_done_callback(consumed)
                    return bool(await asyncio.shield(future))
                except (BackendUnavailable, BackendTimeout) as error:
                    now = time.monotonic()
                    failing = now if failing is None else failing
                    reason: Exception = error
                    if now - failing > GRACE:
                        break
                except (BackendError, ClosedError) as error:
                    reason = error
                    break
                await asyncio.sleep(random.uniform(RETRY / 2, RETRY))  # noqa: S311
        except asyncio.CancelledError:
            # Sent, perhaps; answered or lost, nobody will hear. By the token, once more is no harm.
            give_back(send, _KEEP_TRYING, longest=_LONGEST_PAUSE)
            raise
        finally:
            self._lease.stop()
        self._tally.unconfirmed += 1
        client = self._ledger.client
        client.emit(ResultUnconfirmed(key=self._ledger.result, reason=str(reason)))
        if not isinstance(reason, ClosedError):
            give_back(send, _KEEP_TRYING, longest=_LONGEST_PAUSE)
        return True

    async def _give_up(self, error: BaseException) -> str:
        """Let others run; tell why ours had ended before, unless that is not what to raise."""
        late = self._lease.stop()
        if late and not self._failure:
            self._lost(late)  # the clock says so before any timer did
        outside = self._take_back(error)
        try:
            future = self._ledger.give_up(self._mark)
        except (BackendError, ClosedError, ConfigError):
            pass  # nobody to tell: the lease ends by itself
        else:
            future.add_done_callback(self._given_up)
            await asyncio.wait([future])  # at most a command's timeout
        told = isinstance(error, LockLost) and error.key == self._ledger.run
        return "" if outside or told else self._failure

    def _given_up(self, future: asyncio.Future[int]) -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, BackendError):
            client = self._ledger.client
            client.emit(ReleaseUnconfirmed(key=self._ledger.run, reason=str(error)))
            give_back(partial(self._ledger.give_up, self._mark), self._seconds)

    # -- losing it ----------------------------------------------------------------------------

    def _lost(self, reason: str) -> None:
        """Take note that others may run: cancel the function."""
        self._failure = reason
        if self._returned:
            return  # what it did is decided by whether anybody has begun since
        self._report(reason)
        task = self._task
        if task is not None and task is not asyncio.current_task():
            self._struck = True
            task.cancel(f"the run {self._ledger.run!r} was lost")

    def _report(self, reason: str) -> None:
        self._tally.lost += 1
        held = time.monotonic() - self._began
        client = self._ledger.client
        client.emit(LockFailed(key=self._ledger.run, fence=self.fence, reason=reason, held=held))

    def _take_back(self, error: BaseException | None) -> bool:
        """Take our cancellation back; tell whether `error` is one from outside."""
        if self._struck and self._task is not None:
            self._struck = False
            return take_back(self._task, self._before, error)
        return isinstance(error, asyncio.CancelledError)


def _nobody(reason: str) -> None:
    """Stand in for a run that is over."""
