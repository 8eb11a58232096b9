"""What a limiter answers, and how it is told to HTTP clients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import msgspec

if TYPE_CHECKING:
    from millpond.limit.limiter import Limiter
    from millpond.limit.policies import Policy

__all__ = ["BLOCKED", "Decision", "Quota", "Rules", "Source"]

Source = Literal["redis", "near", "local", "unavailable"]

BLOCKED = -1
"""Stands where otherwise the number of a policy would: `block()` was called."""


class Rules(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """What all decisions of one limiter share."""

    policies: tuple[Policy, ...]
    labels: tuple[str, ...]
    states: tuple[str, ...] = ()  # the Redis keys, where several limiters decided together

    def header(self) -> str:
        """Say the policies as `RateLimit-Policy` does."""
        known = _headers.get(self)
        if known is None:
            both = zip(self.policies, self.labels, strict=True)
            known = _headers[self] = ", ".join(
                f'"{label}";q={policy.limit};w={-(-policy.period_us // 10**6)}'
                for policy, label in both
            )
        return known


_headers: WeakKeyDictionary[Rules, str] = WeakKeyDictionary()


class Quota(msgspec.Struct, frozen=True):
    """How one policy stands after a decision."""

    policy: Policy
    label: str
    remaining: int  # what it would still admit at once
    reset_after: float  # seconds until all of its limit is there again


class Decision(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """What a limiter decided about one hit.

    Attributes:
        allowed: Whether to go on. With `shadow=True` always.
        retry_after: Seconds until the same hit would be admitted, if nobody else hits; 0 when it
            was admitted, None when it never will be: its cost is above a limit.
        granted: How much was counted: the cost, or 0; anything between for `hit_up_to`.
        cost: What was asked for.
        source: Who decided: `"redis"`; `"near"`, this process from an earlier denial;
            `"local"`, the limiter of this process that stands in during an outage;
            `"unavailable"`, nobody: `on_unavailable` is `"allow"` or `"deny"`.
        key: The limiter's key for it, as `limiter.key(...)`.
        shadowed: Whether it would have been denied, were the limiter not a shadow.
        at: When, in microseconds of the server's clock.
    """

    allowed: bool
    retry_after: float | None
    granted: int
    cost: int
    source: Source
    key: str
    shadowed: bool
    at: int
    rules: Rules
    culprit: int  # 0: none; BLOCKED; or the number of the policy that denied, from 1
    figures: tuple[int, ...] | list[int]  # remaining and reset (microseconds) of each policy
    age: float = 0.0  # seconds that the figures are old
    parts: tuple[tuple[Limiter, Decision], ...] = ()  # of `hit_all`, where each decided alone

    @property
    def remaining(self) -> int:
        """What would still be admitted at once, by all policies; 0 while blocked."""
        return 0 if self.culprit == BLOCKED else min(self.figures[::2])

    @property
    def reset_after(self) -> float:
        """Seconds until all policies have forgotten everything."""
        return max(0.0, max(self.figures[1::2]) / 1e6 - self.age)

    @property
    def blocked(self) -> bool:
        """Whether `block()` was the reason for the denial."""
        return self.culprit == BLOCKED

    @property
    def policy(self) -> Policy:
        """The policy that matters most: the one that denied longest, or has least left."""
        if self.culprit > 0:
            return self.rules.policies[self.culprit - 1]
        remaining = self.figures[::2]
        return self.rules.policies[remaining.index(min(remaining))]

    @property
    def label(self) -> str:
        """What that policy is called in headers; `"block"` while blocked."""
        if self.culprit == BLOCKED:
            return "block"
        return self.rules.labels[self.rules.policies.index(self.policy)]

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """How every policy stands."""
        left, resets = self.figures[::2], self.figures[1::2]
        rows = zip(self.rules.policies, self.rules.labels, left, resets, strict=True)
        return tuple(
            Quota(policy, label, remaining, max(0.0, reset / 1e6 - self.age))
            for policy, label, remaining, reset in rows
        )

    def headers(self, *, legacy: bool = False) -> dict[str, str]:
        """Say it in HTTP.

        Args:
            legacy: Add `X-RateLimit-Limit`, `-Remaining` and `-Reset` (in seconds) of the policy
                that matters most.

        Returns:
            `RateLimit-Policy` and `RateLimit` (IETF draft-ietf-httpapi-ratelimit-headers), and for
            a denial `Retry-After`, rounded up: who obeys it is admitted, unless others hit too.
        """
        figures, labels = self.figures, self.rules.labels
        parts = [
            f'"{label}";r={figures[2 * i]};t={self._seconds(figures[2 * i + 1])}'
            for i, label in enumerate(labels)
        ]
        headers = {
            "RateLimit-Policy": self.rules.header(),
            "RateLimit": parts[0] if len(parts) == 1 else ", ".join(parts),
        }
        if not self.allowed and self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if legacy:
            policy = self.policy
            place = 2 * self.rules.policies.index(policy)
            headers["X-RateLimit-Limit"] = str(policy.most)
            headers["X-RateLimit-Remaining"] = str(figures[place])
            headers["X-RateLimit-Reset"] = str(self._seconds(figures[place + 1]))
        return headers

    def _seconds(self, us: int) -> int:
        """Turn a reset into whole seconds, rounded up."""
        return -(-us // 1_000_000) if not self.age else max(0, math.ceil(us / 1e6 - self.age))

    def __bool__(self) -> bool:
        """Whether it was allowed: `if await limiter.hit(key):` says what it means."""
        return self.allowed

    def __repr__(self) -> str:
        """Show what matters."""
        word = "allowed" if self.allowed else "denied"
        return (
            f"<Decision {word} by {self.source}: remaining={self.remaining}, "
            f"retry_after={self.retry_after}>"
        )
