"""Rate limits by brute force: what every policy must answer, computed from the whole history.

The models keep every hit that can matter and look at all of them, in exact arithmetic. They share
nothing with the scripts but the words of the policies' promises.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from millpond.core.scripts import Script
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket

if TYPE_CHECKING:
    from millpond.limit.limiter import Limiter
    from millpond.limit.policies import Policy

__all__ = ["CLOCK", "Model", "decide", "fake_time", "model_of", "most_in_any_window", "state_of"]

CLOCK = "clock"
"""The key from which scripts with a fake clock read seconds and microseconds."""


def fake_time(script: Script) -> Script:
    """Let a script read its clock from a key, `"seconds microseconds"`.

    Keys then live for ten minutes, since the server expires them by its own clock.
    """
    source = script.source
    for real, fake in (
        ("call('TIME')", "{ string.match(redis.call('GET', 'clock'), '^(%d+) (%d+)$') }"),
        ("return whole(ceil(us / 1000) + 2)", "return '600000'"),
    ):
        assert source.count(real) == 1
        source = source.replace(real, fake)
    return Script(source, name=script.name)


class Model(Protocol):
    """One policy's history for one key."""

    def admits(self, now: int, cost: int, policy: Any) -> bool: ...
    def remaining(self, now: int, policy: Any) -> int: ...
    def reset(self, now: int, policy: Any) -> int: ...
    def instants(self, now: int, cost: int, policy: Any) -> list[int]: ...
    def take(self, now: int, cost: int, policy: Any) -> None: ...
    def refund(self, now: int, when: int, cost: int, policy: Any) -> bool: ...
    def clear(self) -> None: ...


class WindowModel:
    """Every hit, one entry for each unit of cost."""

    def __init__(self) -> None:
        self.log: list[int] = []

    def _live(self, now: int, policy: SlidingWindow) -> list[int]:
        return [when for when in self.log if now - policy.period_us < when]

    def admits(self, now: int, cost: int, policy: SlidingWindow) -> bool:
        return len(self._live(now, policy)) + cost <= policy.limit

    def remaining(self, now: int, policy: SlidingWindow) -> int:
        return max(0, policy.limit - len(self._live(now, policy)))

    def reset(self, now: int, policy: SlidingWindow) -> int:
        return max((when + policy.period_us - now for when in self._live(now, policy)), default=0)

    def instants(self, now: int, cost: int, policy: SlidingWindow) -> list[int]:
        return sorted({when + policy.period_us for when in self._live(now, policy)})

    def take(self, now: int, cost: int, policy: SlidingWindow) -> None:
        self.log = [when for when in self.log if now - 2 * policy.period_us < when] + [now] * cost

    def refund(self, now: int, when: int, cost: int, policy: SlidingWindow) -> bool:
        found = min(cost, self._live(now, policy).count(when))
        for _ in range(found):
            self.log.remove(when)
        return found > 0

    def clear(self) -> None:
        self.log.clear()


class BucketModel:
    """Tokens, as an exact fraction."""

    def __init__(self) -> None:
        self.used = Fraction(0)  # tokens taken that have not flowed back
        self.at = 0
        self.full = 0  # when it was last full

    def _used(self, now: int, policy: TokenBucket) -> Fraction:
        flowed = Fraction((now - self.at) * policy.limit, policy.period_us)
        return max(Fraction(0), self.used - flowed)

    def admits(self, now: int, cost: int, policy: TokenBucket) -> bool:
        return self._used(now, policy) + cost <= policy.most

    def remaining(self, now: int, policy: TokenBucket) -> int:
        return max(0, math.floor(policy.most - self._used(now, policy)))

    def reset(self, now: int, policy: TokenBucket) -> int:
        return math.ceil(self._used(now, policy) * policy.period_us / policy.limit)

    def instants(self, now: int, cost: int, policy: TokenBucket) -> list[int]:
        over = self._used(now, policy) + cost - policy.most
        return [now + math.ceil(over * policy.period_us / policy.limit)]

    def take(self, now: int, cost: int, policy: TokenBucket) -> None:
        used = self._used(now, policy)
        if not used:
            self.full = now
        self.used = used + cost
        self.at = now

    def refund(self, now: int, when: int, cost: int, policy: TokenBucket) -> bool:
        used = self._used(now, policy)
        if not used or when < self.full:
            return False
        self.used, self.at = max(Fraction(0), used - cost), now
        return True

    def clear(self) -> None:
        self.used = Fraction(0)


class FixedModel:
    """A count for every window there ever was."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.first = 0  # when the first that still counts was counted

    def _count(self, now: int, policy: FixedWindow) -> int:
        return self.counts.get(now // policy.period_us, 0)

    def admits(self, now: int, cost: int, policy: FixedWindow) -> bool:
        return self._count(now, policy) + cost <= policy.limit

    def remaining(self, now: int, policy: FixedWindow) -> int:
        return max(0, policy.limit - self._count(now, policy))

    def reset(self, now: int, policy: FixedWindow) -> int:
        return policy.period_us - now % policy.period_us if self._count(now, policy) else 0

    def instants(self, now: int, cost: int, policy: FixedWindow) -> list[int]:
        return [(now // policy.period_us + 1) * policy.period_us]

    def take(self, now: int, cost: int, policy: FixedWindow) -> None:
        window = now // policy.period_us
        if not self.counts.get(window, 0):
            self.first = now
        self.counts[window] = self.counts.get(window, 0) + cost

    def refund(self, now: int, when: int, cost: int, policy: FixedWindow) -> bool:
        window = now // policy.period_us
        if when // policy.period_us != window or not self.counts.get(window, 0):
            return False
        if when < self.first:
            return False
        self.counts[window] = max(0, self.counts[window] - cost)
        return True

    def clear(self) -> None:
        self.counts.clear()


def model_of(policy: Policy) -> Model:
    """Begin a policy's history."""
    if isinstance(policy, SlidingWindow):
        return WindowModel()
    return BucketModel() if isinstance(policy, TokenBucket) else FixedModel()


def decide(
    models: list[Model], policies: tuple[Policy, ...], now: int, cost: int, mode: str
) -> list[int]:
    """Answer as the script must: why, amount, and remaining and reset of every policy."""
    both = list(zip(models, policies, strict=True))
    if mode == "upto":
        cost = max(1, min(cost, *(model.remaining(now, policy) for model, policy in both)))
    waits = [_wait(model, policy, now, cost) for model, policy in both]
    why, amount = 0, cost
    if any(waits):
        never = -1 in waits
        amount = -1 if never else max(waits)
        why = waits.index(amount) + 1
    elif mode != "peek":
        for model, policy in both:
            model.take(now, cost, policy)
    figures = [n for m, p in both for n in (m.remaining(now, p), m.reset(now, p))]
    return [why, amount, *figures]


def _wait(model: Model, policy: Policy, now: int, cost: int) -> int:
    """Find the first moment that admits the cost, and make sure that the one before does not."""
    if cost > policy.most:
        return -1
    if model.admits(now, cost, policy):
        return 0
    first = next(t for t in model.instants(now, cost, policy) if model.admits(t, cost, policy))
    assert not model.admits(first - 1, cost, policy)
    return first - now


def most_in_any_window(hits: list[int], period: int) -> int:
    """Count the most hits in any stretch of `period`, over every stretch there is."""
    hits = sorted(hits)
    most = first = 0
    for last, when in enumerate(hits):
        while hits[first] <= when - period:
            first += 1
        most = max(most, last - first + 1)
    return most


async def state_of(limiter: Limiter, key: Any = "ann") -> list[bytes | None]:
    """Everything that Redis holds for a key."""
    name = limiter.key(key)
    keys = [f"{name}:block", *(f"{name}:{policy.label}" for policy in limiter.policies)]
    return await limiter.client.call("MGET", *keys)
