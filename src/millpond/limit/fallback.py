"""The limiter that stands in while Redis is out of reach: the same policies, in this process.

It knows nothing of other processes, so each gets a share of the limits. What it counts is not
brought back to Redis after the outage, and not forgotten when the next one comes. As in Redis, what
is counted belongs to the key and the policy's label, and each call brings its own limit.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.limit.policies import Policy

__all__ = ["Answer", "Clock", "Local", "States", "portion"]

Answer = tuple[int, int, list[int]]
"""As the script's: why, amount, and remaining and reset of every policy."""

_MOST_KEYS = 10_000


class Clock:
    """Microseconds since 1970 that never go back, however this machine's clock is set.

    A clock that was set back would leave hits in the future, and lock out whoever made them.
    """

    def __init__(self) -> None:
        """Agree with the machine's clock."""
        self._ahead = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        """Tell the time."""
        return (time.monotonic_ns() + self._ahead) // 1000

    def adjust(self) -> None:
        """Agree with the machine's clock again, if it is ahead."""
        self._ahead = max(self._ahead, time.time_ns() - time.monotonic_ns())


class _State(Protocol):
    """One policy's count for one key; times in microseconds."""

    def room(self, now: int, limit: int, most: int) -> int:
        """How much would be admitted now; below 0 where a lowered limit is exceeded."""
        ...

    def wait(self, now: int, cost: int, limit: int, most: int) -> int:
        """How long until `cost`, at most the limit, would be admitted."""
        ...

    def take(self, now: int, cost: int, limit: int) -> None:
        """Count."""
        ...

    def give(self, now: int, cost: int, when: int, limit: int) -> None:
        """Undo what was taken then."""
        ...

    def reset(self, now: int, limit: int) -> int:
        """How long until everything is forgotten."""
        ...


class _Window:
    """The exact window: every hit until it has left."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._hits: deque[list[int]] = deque()  # when, how much
        self._used = 0

    def room(self, now: int, limit: int, most: int) -> int:  # noqa: ARG002
        while self._hits and self._hits[0][0] <= now - self._period:
            self._used -= self._hits.popleft()[1]
        return limit - self._used

    def wait(self, now: int, cost: int, limit: int, most: int) -> int:
        missing = cost - self.room(now, limit, most)
        for when, much in self._hits:
            missing -= much
            if missing <= 0:
                return when + self._period - now
        return 0

    def take(self, now: int, cost: int, limit: int) -> None:  # noqa: ARG002
        if self._hits and self._hits[-1][0] == now:
            self._hits[-1][1] += cost
        else:
            self._hits.append([now, cost])
        self._used += cost

    def give(self, now: int, cost: int, when: int, limit: int) -> None:  # noqa: ARG002
        for hit in self._hits:
            if hit[0] == when:
                given = min(cost, hit[1])
                hit[1] -= given
                self._used -= given

    def reset(self, now: int, limit: int) -> int:  # noqa: ARG002
        last = next((when for when, much in reversed(self._hits) if much), 0)
        return max(0, last + self._period - now) if last else 0


class _Bucket:
    """The token bucket: what was taken and has not flowed back yet."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._debt = 0
        self._at = 0
        self._since = 0  # when it was last full

    def _flow(self, now: int, limit: int) -> None:
        self._debt = max(0, self._debt - (now - self._at) * limit)
        self._at = now
        if not self._debt:
            self._since = now

    def room(self, now: int, limit: int, most: int) -> int:
        self._flow(now, limit)
        return (most * self._period - self._debt) // self._period

    def wait(self, now: int, cost: int, limit: int, most: int) -> int:
        self._flow(now, limit)
        return -(-(self._debt + (cost - most) * self._period) // limit)

    def take(self, now: int, cost: int, limit: int) -> None:
        self._flow(now, limit)
        self._debt += cost * self._period

    def give(self, now: int, cost: int, when: int, limit: int) -> None:
        self._flow(now, limit)
        if when >= self._since:
            self._debt = max(0, self._debt - cost * self._period)

    def reset(self, now: int, limit: int) -> int:
        self._flow(now, limit)
        return -(-self._debt // limit)


class _Fixed:
    """The fixed window: a count that begins anew at every multiple of the period."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._start = 0
        self._count = 0
        self._since = 0  # when the first of them was counted

    def _turn(self, now: int) -> None:
        start = now - now % self._period
        if start != self._start:
            self._start, self._count = start, 0

    def room(self, now: int, limit: int, most: int) -> int:  # noqa: ARG002
        self._turn(now)
        return limit - self._count

    def wait(self, now: int, cost: int, limit: int, most: int) -> int:  # noqa: ARG002
        return self._start + self._period - now

    def take(self, now: int, cost: int, limit: int) -> None:  # noqa: ARG002
        self._turn(now)
        if not self._count:
            self._since = now
        self._count += cost

    def give(self, now: int, cost: int, when: int, limit: int) -> None:  # noqa: ARG002
        self._turn(now)
        if when >= max(self._start, self._since):
            self._count = max(0, self._count - cost)

    def reset(self, now: int, limit: int) -> int:  # noqa: ARG002
        self._turn(now)
        return self._start + self._period - now if self._count else 0


_KINDS: dict[str, type[_Window | _Bucket | _Fixed]] = {"w": _Window, "b": _Bucket, "f": _Fixed}


class States:
    """What was counted, by key and by policy; a bounded number of keys."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._keys: dict[str, dict[str, _State]] = {}

    def of(self, key: str, policies: Sequence[tuple[str, Policy]]) -> list[_State]:
        """Return the states of a key, one for each policy."""
        mine = self._keys.get(key)
        if mine is None:
            if len(self._keys) >= _MOST_KEYS:
                del self._keys[next(iter(self._keys))]  # at once, whatever a flood brings
            mine = self._keys[key] = {}
        for label, policy in policies:
            if label not in mine:
                mine[label] = _KINDS[policy.kind](policy.period_us)
        return [mine[label] for label, _ in policies]

    def known(self, key: str) -> dict[str, _State]:
        """Return what there is of a key, by label."""
        return self._keys.get(key, {})

    def forget(self, key: str, labels: Sequence[str]) -> None:
        """Forget what policies have counted for a key."""
        mine = self._keys.get(key)
        if mine is None:
            return
        for label in labels:
            mine.pop(label, None)
        if not mine:
            del self._keys[key]


def portion(limit: int, share: float) -> int:
    """Return the share of a limit, 1 at least."""
    # Never one too few for want of a digit: 100 * 0.29 is 28.999999999999996.
    return max(1, math.floor(limit * share + 1e-6))


class Local:
    """One limiter's policies at a share of their limits, for many keys."""

    def __init__(self, policies: tuple[Policy, ...], share: float, states: States) -> None:
        """Scale the limits down, to 1 at least; count in `states`."""
        self._policies = [(policy.label, policy) for policy in policies]
        self._labels = tuple(label for label, _ in self._policies)
        self._numbers = [
            (portion(policy.limit, share), portion(policy.most, share)) for policy in policies
        ]
        self._states = states

    def decide(self, key: str, cost: int, now: int, mode: str = "hit") -> Answer:
        """Decide one hit, as the script would.

        Args:
            key: Any name of what is limited.
            cost: What is asked for.
            now: Microseconds, by a clock that never goes back.
            mode: `"hit"`, `"upto"` or `"peek"`.
        """
        both = list(zip(self._states.of(key, self._policies), self._numbers, strict=True))
        rooms = [state.room(now, limit, most) for state, (limit, most) in both]
        if mode == "upto":
            cost = max(1, min(cost, *rooms))
        why, amount = 0, cost
        for place, (room, (state, (limit, most))) in enumerate(
            zip(rooms, both, strict=True), start=1
        ):
            if cost > room:
                wait = -1 if cost > most else state.wait(now, cost, limit, most)
                if why == 0 or (amount != -1 and (wait == -1 or wait > amount)):
                    why, amount = place, wait
        if why == 0 and mode != "peek":
            for state, (limit, _) in both:
                state.take(now, cost, limit)
        figures = [
            n
            for state, (limit, most) in both
            for n in (max(0, state.room(now, limit, most)), state.reset(now, limit))
        ]
        return why, amount, figures

    def give_back(self, key: str, cost: int, when: int, now: int) -> None:
        """Undo a hit that was counted then."""
        known = self._states.known(key)
        for label, (limit, _) in zip(self._labels, self._numbers, strict=True):
            if label in known:
                known[label].give(now, cost, when, limit)

    def forget(self, key: str) -> None:
        """Forget what these policies have counted for a key."""
        self._states.forget(key, self._labels)
