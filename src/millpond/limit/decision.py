"""What a limiter answers, and how it is told to HTTP clients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from millpond.limit.limiter import Limiter
    from millpond.limit.namespace import Namespace
    from millpond.limit.policies import Policy

__all__ = ["BLOCKED", "Decision", "Quota", "Rules", "Source"]

Source = Literal["redis", "near", "local", "unavailable"]

BLOCKED = -1
"""Stands where otherwise the number of a policy would: `block()` was called."""


class Rules:
    """What all decisions of one limiter share.

    Attributes:
        policies: In order.
        labels: What they are called.
        states: The Redis keys, where several limiters decided together.
        subjects: Where denials of such a key are remembered.
        header: The policies as `RateLimit-Policy` says them.
        raw_header: The same, as ASGI has it.
    """

    __slots__ = ("header", "labels", "policies", "raw_header", "states", "subjects")

    def __init__(
        self,
        policies: tuple[Policy, ...],
        labels: tuple[str, ...],
        states: tuple[str, ...] = (),
        subjects: tuple[tuple[Namespace, str], ...] = (),
    ) -> None:
        """Take note of them."""
        self.policies = policies
        self.labels = labels
        self.states = states
        self.subjects = subjects
        # A bucket is told as what it holds and the time in which that flows back: the same rate,
        # and nobody is told that more remains than there ever was.
        self.header = ", ".join(
            f'"{label}";q={policy.most};w={math.ceil(policy.filled_us / 1e6)}'
            for policy, label in zip(policies, labels, strict=True)
        )
        self.raw_header = (b"ratelimit-policy", self.header.encode())


class Quota(msgspec.Struct, frozen=True):
    """How one policy stands after a decision."""

    policy: Policy
    label: str
    remaining: int  # what it would still admit at once
    reset_after: float  # seconds until all of its limit is there again


class Decision(msgspec.Struct, frozen=True, eq=False):
    """What a limiter decided about one hit.

    Attributes:
        allowed: Whether to go on. With `shadow=True` always.
        retry_after: Seconds until the same hit would be admitted, if nobody else hits; 0 when it
            was admitted, None when it never will be: its cost is above a limit.
        granted: How much the caller may have: the cost, or 0; anything between for `hit_up_to`.
            With `shadow=True` always the cost.
        cost: What was asked for.
        source: Who decided: `"redis"`; `"near"`, this process from an earlier denial;
            `"local"`, the limiter of this process that stands in during an outage;
            `"unavailable"`, nobody: `on_unavailable` is `"allow"` or `"deny"`.
        key: The limiter's key for it, as `limiter.key(...)`.
        shadowed: Whether it would have been denied, or cut, were the limiter not a shadow.
        at: When, in microseconds of the server's clock.
        counted: How much was counted: what `refund` gives back.
        refunded: Whether `refund` was called for it, in this process.
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
    counted: int
    age: float = 0.0  # seconds that the figures are old
    parts: tuple[tuple[Limiter, Decision], ...] = ()  # of `hit_all`, where each decided alone
    refunded: bool = False

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
        return self.rules.policies[self._place]

    @property
    def label(self) -> str:
        """What that policy is called in headers; `"block"` while blocked."""
        return "block" if self.culprit == BLOCKED else self.rules.labels[self._place]

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """How every policy stands."""
        left, resets = self.figures[::2], self.figures[1::2]
        rows = zip(self.rules.policies, self.rules.labels, left, resets, strict=True)
        return tuple(
            Quota(policy, label, remaining, max(0.0, reset / 1e6 - self.age))
            for policy, label, remaining, reset in rows
        )

    @property
    def violated(self) -> tuple[str, ...]:
        """What would have to give way for the hit to be admitted, by label; none if it was."""
        if not self.culprit:
            return ()
        if self.culprit == BLOCKED:
            return ("block",)
        both = zip(self.rules.labels, self.figures[::2], strict=True)
        return tuple(label for label, left in both if left < self.cost) or (self.label,)

    @property
    def _place(self) -> int:
        """Where in the rules the policy is that matters most."""
        if self.culprit > 0:
            return self.culprit - 1
        remaining = self.figures[::2]
        return remaining.index(min(remaining))

    def headers(self, *, legacy: bool = False) -> dict[str, str]:
        """Say it in HTTP.

        Args:
            legacy: Add `X-RateLimit-Limit`, `-Remaining` and `-Reset` (in seconds) of the policy
                that matters most.

        Returns:
            `RateLimit-Policy` and `RateLimit` (IETF draft-ietf-httpapi-ratelimit-headers), and for
            a denial `Retry-After`, rounded up: who obeys it is admitted, unless others hit too.
        """
        headers = {"RateLimit-Policy": self.rules.header, "RateLimit": self.quota_header()}
        if not self.allowed and self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if legacy:
            place, figures = self._place, self._told()
            headers["X-RateLimit-Limit"] = str(self.rules.policies[place].most)
            headers["X-RateLimit-Remaining"] = str(figures[2 * place])
            headers["X-RateLimit-Reset"] = str(self._seconds(figures[2 * place + 1]))
        return headers

    def quota_header(self) -> str:
        """Return the value of `RateLimit` alone."""
        figures, labels = self._told(), self.rules.labels
        if len(labels) == 1:
            return f'"{labels[0]}";r={figures[0]};t={self._seconds(figures[1])}'
        return ", ".join(
            [
                f'"{label}";r={figures[2 * i]};t={self._seconds(figures[2 * i + 1])}'
                for i, label in enumerate(labels)
            ]
        )

    def _told(self) -> tuple[int, ...] | list[int]:
        """Return the figures that headers tell: nothing is left while blocked."""
        if self.culprit != BLOCKED:
            return self.figures
        wait = math.ceil(((self.retry_after or 0.0) + self.age) * 1e6)
        return [n for reset in self.figures[1::2] for n in (0, max(reset, wait))]

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
