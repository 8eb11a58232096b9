"""Leases: something under a key that is ours until a deadline, and says so itself.

A lease is a token under a key with a time to live. What must stay true:

1. Ours by *our* clock implies ours by the server's. The local deadline is counted from before
   the request left, on the monotonic clock; the server counts from when it ran the request,
   which is later. So we stop first, if the two clocks run at the same rate.
2. A renewal never makes a lease again: it prolongs what carries our token, or tells that it is
   gone. Were it to make it again, a lease that was lost and taken and released by another would
   come back under a fence that is no longer the highest.
3. Only a confirmed renewal moves the deadline:
       renewal sent, swallowed by the network; the server's lease ends; a rival takes it; had the
       deadline moved when the renewal was *sent*, we would go on beside the rival.
4. Nothing waits for a socket to learn that a lease has ended. The timer at the deadline decides,
   and where the event loop stalled past it, the clock does, asked before anything is sent.
5. Taking and giving back are idempotent, by the token: either may be sent again after a lost
   reply. A lease given back without an answer is given back again until its time is over.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Any

from millpond.core import durations
from millpond.core.scripts import Script
from millpond.errors import BackendError, ClosedError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from millpond.core.client import Client
    from millpond.core.shared_timer import SharedTimer

__all__ = [
    "ACQUIRE",
    "FENCE_TTL",
    "MARK_TTL",
    "RELEASE",
    "SHORTEST",
    "Lease",
    "acquire",
    "give_back",
    "lease_keys",
    "lease_seconds",
    "new_token",
    "release",
    "renew",
]

FENCE_TTL = 86_400_000
"""Milliseconds that a fence outlives the lease that it was minted for: a day."""

MARK_TTL = 15_000
"""Milliseconds for which a contender is known to wait, unless it asks again."""

SHORTEST = 0.05
"""Seconds. A shorter lease is over before a renewal has come back from a busy server."""

ACQUIRE = Script.load(
    "millpond.core",
    "lease_acquire",
    constants={"FENCE_TTL": FENCE_TTL, "MARK_TTL": MARK_TTL},
)
"""Takes a lease, and marks who waits for it; `acquire` is for those who do not wait."""

RELEASE = Script.load("millpond.core", "lease_release")
"""Gives up a lease, and a mark."""

_RENEW = Script.load("millpond.core", "lease_renew")

_AGAIN = 0.05  # seconds between tries to give back what Redis did not confirm
_SOONEST = 0.02  # seconds between renewals that fail


def new_token() -> str:
    """Make a token for one acquisition: 24 characters, from the system's randomness."""
    return urandom(12).hex()


def lease_keys(key: str) -> tuple[str, str, str]:
    """Name the keys of a lease, which share a slot: the lease, its fence, its contenders."""
    return f"{{{key}}}", f"{{{key}}}:fence", f"{{{key}}}:waiting"


def lease_seconds(value: float | timedelta) -> float:
    """Check a lease's time.

    Raises:
        ConfigError: It is no duration, or too short to be renewed.
    """
    checked = durations.seconds(value, "lease")
    if checked < SHORTEST:
        raise ConfigError(
            f"lease must be at least {SHORTEST:g} s, not {checked:g}: a shorter one is over before "
            "a renewal comes back; it is renewed while the block runs, so longer costs nothing"
        )
    return checked


def acquire(
    client: Client,
    keys: tuple[str, str, str],
    token: str,
    ms: int,
) -> asyncio.Future[int]:
    """Take a lease: free, or ours already.

    Args:
        client: The way to Redis.
        keys: As `lease_keys` names them.
        token: Of this acquisition; the same again after a lost reply.
        ms: The lease, milliseconds.

    Returns:
        A future: the fence when positive; else the holder's milliseconds, negated, 0 for no end.

    Redis:
        One EVALSHA.
    """
    return client.run(ACQUIRE, keys, (token, ms))


def renew(client: Client, keys: Sequence[str], token: str, ms: int) -> asyncio.Future[int]:
    """Prolong a lease that is ours, and its fence: 1, or 0 if it is not any more.

    Args:
        client: The way to Redis.
        keys: The lease, its fence; more are ignored.
        token: Ours.
        ms: The lease from now, milliseconds.

    Redis: one EVALSHA.
    """
    return client.run(_RENEW, keys[:2], (token, ms, ms + FENCE_TTL))


def release(client: Client, key: str, token: str) -> asyncio.Future[int]:
    """Give up a lease that is ours: 1, or 0 if it was not any more.

    Args:
        client: The way to Redis.
        key: The lease.
        token: Ours.

    Redis: one EVALSHA.
    """
    return client.run(RELEASE, (key,), (token,))


def give_back(
    send: Callable[[], asyncio.Future[Any]], seconds: float, *, longest: float = _AGAIN
) -> None:
    """Give up again, until Redis confirms it or the lease is over by itself.

    Timers, no task: it survives its caller, and dies with the loop, as the lease will.

    Args:
        send: Sends the release, or something else that may be sent again.
        seconds: How long the lease may last.
        longest: Seconds to which the pauses between the tries grow, by and by.
    """
    loop = asyncio.get_running_loop()
    ends = time.monotonic() + seconds
    pause = _AGAIN

    def again() -> None:
        if time.monotonic() >= ends:
            return
        try:
            future = send()
        except (ClosedError, ConfigError):
            return  # the client was closed: the lease's own end is what remains
        future.add_done_callback(told)

    def told(future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and isinstance(future.exception(), BackendError):
            later()

    def later() -> None:
        nonlocal pause
        loop.call_later(random.uniform(pause / 2, pause), again)  # noqa: S311
        pause = min(longest, pause * 1.5)

    later()


class Lease:
    """Renew something at a third of its time, and tell when it may no longer be ours.

    It knows nothing of what is leased: a lock, a permit, a quorum; whoever does says in a subclass
    how to `renew` it and what to do when it is `lost`. All its work is timers and callbacks, so it
    has no task that could be cancelled.

    Attributes:
        deadline: When it ends, by the clock, unless a renewal is confirmed before.
        ended: Why it is not ours any more; `""` while it is. `"expired"`: no renewal was
            confirmed in time; `"gone"`: the server no longer has it; `"max_hold"`: it was held as
            long as it may be; `"released"`.
    """

    __slots__ = (
        "_clock",
        "_limit",
        "_loop",
        "_next",
        "_shared",
        "_span",
        "_timer",
        "_trust",
        "deadline",
        "ended",
    )

    def __init__(
        self,
        *,
        seconds: float,
        sent: float,
        limit: float = math.inf,
        trust: Callable[[float], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        loop: asyncio.AbstractEventLoop | None = None,
        shared: SharedTimer | None = None,
    ) -> None:
        """Start the clock.

        Args:
            seconds: What was taken.
            sent: When the request that took it left, by `clock`.
            limit: When to renew no more, and to end, by `clock`.
            trust: How many of so many leased seconds may be relied on; None: all.
            clock: Monotonic seconds.
            loop: The running loop, where it is known.
            shared: Rings for the first renewal in place of a timer of our own, if it can; only
                with leases of one length.
        """
        self._trust = trust
        self._span = seconds
        self._limit = limit
        self._clock = clock
        self._loop = loop or asyncio.get_running_loop()
        self._next = due = sent + seconds / 3
        self.deadline = deadline = sent + (seconds if trust is None else trust(seconds))
        if limit < deadline:
            self.deadline = deadline = limit
        self.ended = ""
        self._shared = shared
        self._timer: asyncio.TimerHandle | None = None
        if shared is None or due > deadline or not shared.add(self, due):
            self._arm()

    def renew(self, ms: int) -> asyncio.Future[Any]:
        """Ask for so many milliseconds from now: true when confirmed, false when it is gone."""
        raise NotImplementedError

    def lost(self, reason: str) -> None:
        """Take note that it has ended before it was released; called once."""
        raise NotImplementedError

    def remaining(self) -> float:
        """Tell how many seconds it is surely ours; 0 once it is not."""
        return 0.0 if self.ended else max(0.0, self.deadline - self._clock())

    def end_by(self, limit: float) -> None:
        """End at `limit`, by the clock, even if it could be renewed."""
        self._limit = limit
        if limit < self.deadline:
            self.deadline = limit
            self._arm()

    def check(self) -> str:
        """Ask the clock; gives `ended`, of which `lost` was told if this call found it out."""
        if not self.ended and self._clock() >= self.deadline:
            self._end(self._over())
        return self.ended

    def stop(self) -> str:
        """Renew no more.

        Returns:
            `""`, or why it had ended before. `lost` is not called from here on.
        """
        if self.ended:
            return self.ended
        clock = self._clock
        late = self._over() if clock() >= self.deadline else ""
        self.ended = late or "released"
        self._disarm()
        return late

    async def extend(self, seconds: float | None = None) -> None:
        """Renew now, and from now on by so much.

        Args:
            seconds: From the moment at which this is called; None: as before.

        Raises:
            BackendError: Not confirmed; the earlier deadline stands, and renewing goes on.
        """
        if self.check():
            return
        sent = self._clock()
        if seconds is not None:
            self._span = seconds
            # The server may obey although its answer is lost: a shorter lease counts at once.
            self.deadline = min(self.deadline, self._trusted(sent, seconds))
        span = self._span
        try:
            confirmed = await self.renew(_milliseconds(span))
        finally:
            self._next = self._clock() + _SOONEST
            self._arm()
        self._told(sent, span, bool(confirmed))

    # -- timers -------------------------------------------------------------------------------

    def _arm(self) -> None:
        if not self.ended:
            self._disarm()
            due = min(self._next, self.deadline) - self._clock()
            self._timer = self._loop.call_later(max(0.0, due), self.tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        elif self._shared is not None:
            self._shared.remove(self)

    def tick(self) -> None:
        """Renew, or end, whatever is due; called by the timer."""
        # Late by any amount, if the loop stalled: past the deadline nothing is sent any more.
        if self.check():
            return
        now = self._clock()
        if now >= self._next:
            self._next = math.inf  # until it is answered
            try:
                future = self.renew(_milliseconds(self._span))
            except (BackendError, ClosedError, ConfigError):
                self._next = now + self._pause()
            else:
                future.add_done_callback(partial(self._renewed, now, self._span))
        self._arm()

    def _renewed(self, sent: float, span: float, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            if not self.ended:
                self._next = self._clock() + self._pause()
                self._arm()
        else:
            self._told(sent, span, bool(future.result()))

    def _told(self, sent: float, span: float, confirmed: bool) -> None:
        # A confirmation proves, however late it is read, that the lease was never interrupted.
        if self.ended:
            return
        if not confirmed:
            self._end("gone")
        elif span == self._span:  # otherwise a later call of `extend` has changed it
            self.deadline = min(self._trusted(sent, span), self._limit)
            self._next = sent + span / 3
            self._arm()

    def _trusted(self, sent: float, span: float) -> float:
        return sent + (span if self._trust is None else self._trust(span))

    def _pause(self) -> float:
        return max(_SOONEST, self._span / 10) * random.uniform(0.5, 1)  # noqa: S311

    def _end(self, reason: str) -> None:
        self.ended = reason
        self._disarm()
        self.lost(reason)

    def _over(self) -> str:
        """Say why it is over, once its deadline has passed."""
        return "max_hold" if self.deadline >= self._limit else "expired"


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(round(seconds * 1000, 6)))
