"""The limiter that stands in while Redis is out of reach: the same policies, in this process.

It knows nothing of other processes, so each gets a share of the limits. What it counts is not
brought back to Redis after the outage, and not forgotten when the next one comes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from millpond.limit.policies import Policy

__all__ = ["Answer", "Local"]

Answer = tuple[int, int, list[int]]
"""As the script's: why, amount, and remaining and reset of every policy."""

_MOST_KEYS = 10_000


class _State(Protocol):
    """One policy's count for one key; times in microseconds."""

    def room(self, now: int) -> int:
        """How much would be admitted now."""
        ...

    def wait(self, now: int, cost: int) -> int:
        """How long until `cost`, at most the limit, would be admitted."""
        ...

    def take(self, now: int, cost: int) -> None:
        """Count."""
        ...

    def give(self, now: int, cost: int, when: int) -> None:
        """Undo what was taken then."""
        ...

    def reset(self, now: int) -> int:
        """How long until everything is forgotten."""
        ...


class _Window:
    """The exact window: every hit until it has left."""

    def __init__(self, limit: int, period: int) -> None:
        self._limit = limit
        self._period = period
        self._hits: deque[list[int]] = deque()  # when, how much
        self._used = 0

    def room(self, now: int) -> int:
        while self._hits and self._hits[0][0] <= now - self._period:
            self._used -= self._hits.popleft()[1]
        return max(0, self._limit - self._used)

    def wait(self, now: int, cost: int) -> int:
        missing = cost - self.room(now)
        for when, much in self._hits:
            missing -= much
            if missing <= 0:
                return when + self._period - now
        return 0

    def take(self, now: int, cost: int) -> None:
        if self._hits and self._hits[-1][0] == now:
            self._hits[-1][1] += cost
        else:
            self._hits.append([now, cost])
        self._used += cost

    def give(self, now: int, cost: int, when: int) -> None:  # noqa: ARG002
        for hit in self._hits:
            if hit[0] == when:
                given = min(cost, hit[1])
                hit[1] -= given
                self._used -= given

    def reset(self, now: int) -> int:
        return max(0, self._hits[-1][0] + self._period - now) if self._used else 0


class _Bucket:
    """The token bucket: what was taken and has not flowed back yet."""

    def __init__(self, limit: int, period: int, burst: int) -> None:
        self._limit = limit
        self._period = period
        self._burst = burst
        self._debt = 0
        self._at = 0

    def _flow(self, now: int) -> None:
        self._debt = max(0, self._debt - (now - self._at) * self._limit)
        self._at = now

    def room(self, now: int) -> int:
        self._flow(now)
        return max(0, (self._burst * self._period - self._debt) // self._period)

    def wait(self, now: int, cost: int) -> int:
        self._flow(now)
        return -(-(self._debt + (cost - self._burst) * self._period) // self._limit)

    def take(self, now: int, cost: int) -> None:
        self._flow(now)
        self._debt += cost * self._period

    def give(self, now: int, cost: int, when: int) -> None:  # noqa: ARG002
        self._flow(now)
        self._debt = max(0, self._debt - cost * self._period)

    def reset(self, now: int) -> int:
        self._flow(now)
        return -(-self._debt // self._limit)


class _Fixed:
    """The fixed window: a count that begins anew at every multiple of the period."""

    def __init__(self, limit: int, period: int) -> None:
        self._limit = limit
        self._period = period
        self._start = 0
        self._count = 0

    def room(self, now: int) -> int:
        start = now - now % self._period
        if start != self._start:
            self._start, self._count = start, 0
        return max(0, self._limit - self._count)

    def wait(self, now: int, cost: int) -> int:  # noqa: ARG002
        return self._start + self._period - now

    def take(self, now: int, cost: int) -> None:
        self.room(now)
        self._count += cost

    def give(self, now: int, cost: int, when: int) -> None:
        self.room(now)
        if when >= self._start:
            self._count = max(0, self._count - cost)

    def reset(self, now: int) -> int:
        self.room(now)
        return self._start + self._period - now if self._count else 0


class Local:
    """One limiter's policies at a share of their limits, for many keys."""

    def __init__(self, policies: tuple[Policy, ...], share: float) -> None:
        """Scale the limits down, to 1 at least."""
        self._numbers = [
            (
                policy.kind,
                max(1, int(policy.limit * share)),
                policy.period_us,
                max(1, int(policy.most * share)),
            )
            for policy in policies
        ]
        self._states: dict[str, list[_State]] = {}

    def decide(self, key: str, cost: int, now: int, mode: str = "hit") -> Answer:
        """Decide one hit, as the script would.

        Args:
            key: Any name of what is limited.
            cost: What is asked for.
            now: Microseconds, by a clock that never goes back.
            mode: `"hit"`, `"upto"` or `"peek"`.
        """
        states = self._states.get(key)
        if states is None:
            if len(self._states) >= _MOST_KEYS:
                del self._states[next(iter(self._states))]  # at once, whatever a flood brings
            states = self._states[key] = [_state(*numbers) for numbers in self._numbers]
        rooms = [state.room(now) for state in states]
        if mode == "upto":
            cost = max(1, min(cost, *rooms))
        why, amount = 0, cost
        for place, (room, state) in enumerate(zip(rooms, states, strict=True), start=1):
            if cost > room:
                wait = -1 if cost > self._numbers[place - 1][3] else state.wait(now, cost)
                if why == 0 or (amount != -1 and (wait == -1 or wait > amount)):
                    why, amount = place, wait
        if why == 0 and mode != "peek":
            for state in states:
                state.take(now, cost)
        figures = [n for state in states for n in (state.room(now), state.reset(now))]
        return why, amount, figures

    def give_back(self, key: str, cost: int, when: int, now: int) -> None:
        """Undo a hit that was counted then."""
        for state in self._states.get(key, ()):
            state.give(now, cost, when)

    def forget(self, key: str) -> None:
        """Forget a key."""
        self._states.pop(key, None)


def _state(kind: str, limit: int, period: int, burst: int) -> _State:
    if kind == "w":
        return _Window(limit, period)
    return _Bucket(limit, period, burst) if kind == "b" else _Fixed(limit, period)
