"""What a limiter may allow: three kinds of policy, each one frozen struct.

Which one? `SlidingWindow` keeps its word exactly: never more than `limit` in any stretch of `per`
seconds, wherever that begins. It pays six bytes for each hit. `TokenBucket` keeps one number,
smooths the flow and lets a burst through first, so a stretch of `per` seconds may see the burst
and the flow together, `burst + limit`. `FixedWindow` counts by the clock, like an invoice; at the
turn of its window twice the limit may pass within a moment.

A policy's state belongs to the limiter's namespace, the key, and the policy's `label`: its kind,
its period and its name. The numbers are no part of it, so a limit may change from one call to the
next, with a tier or with a deployment, and what was counted stays counted.
"""

from __future__ import annotations

import re
from datetime import timedelta  # noqa: TC003  (msgspec reads it)
from typing import ClassVar

import msgspec

from millpond.core.durations import seconds
from millpond.errors import ConfigError

__all__ = ["MOST_HITS", "FixedWindow", "Policy", "SlidingWindow", "TokenBucket", "check_policies"]

MOST_HITS = 100_000
"""Hits that an exact window may hold: 600 kB of stamps."""

SHORTEST = 0.001
"""Seconds of the shortest period: Redis expires keys by the millisecond."""

LONGEST = 366 * 86_400.0
"""Seconds of the longest period."""

_EXACT = 2**53  # beyond, a Lua number is no whole number any more
_LARGEST = 10**9
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class _Limit(msgspec.Struct, frozen=True):
    """The one number that every policy has, and the only one given by position."""

    limit: int


class _Policy(_Limit, frozen=True, kw_only=True):
    """What every policy has."""

    per: float | timedelta
    name: str = ""
    kind: ClassVar[str] = ""  # the scripts' letter for it
    word: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: Naming the option and the fix.
        """
        _count(self.limit, "limit", type(self).__name__)
        _period(self.per)
        if not isinstance(self.name, str) or (self.name and not _NAME.fullmatch(self.name)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                "a policy's name must be letters, digits, '_', '-' and '.', 64 at most, "
                f"not {self.name!r}"
            )

    @property
    def most(self) -> int:
        """What can be had at once."""
        return self.limit

    @property
    def period_us(self) -> int:
        """The period in microseconds."""
        return _period(self.per)

    @property
    def filled_us(self) -> int:
        """Microseconds in which all that can be had at once comes back."""
        return self.period_us

    @property
    def label(self) -> str:
        """What its state and its header are called, such as `window-60s`."""
        period = f"{self.period_us / 1e6:.6f}".rstrip("0").rstrip(".")
        return "-".join(filter(None, (self.word, f"{period}s", self.name)))

    @property
    def numbers(self) -> tuple[str, int, int, int]:
        """What the scripts are told: kind, limit, period in microseconds, burst."""
        return self.kind, self.limit, self.period_us, self.most


class SlidingWindow(_Policy, frozen=True, kw_only=True):
    """At most `limit` in any stretch of `per` seconds: exact, to the microsecond.

    Attributes:
        limit: Hits, or units of cost; at most 100,000.
        per: The window's length, seconds or `timedelta`; a millisecond to a year.
        name: Set it to tell two policies of one period apart.
    """

    kind: ClassVar[str] = "w"
    word: ClassVar[str] = "window"

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: Naming the option and the fix.
        """
        super().__post_init__()
        if self.limit > MOST_HITS:
            raise ConfigError(
                f"SlidingWindow keeps every hit, {MOST_HITS:,} at most, not {self.limit:,}; use "
                f"TokenBucket({self.limit}, per=...) for larger limits: it keeps one number"
            )


class TokenBucket(_Policy, frozen=True, kw_only=True):
    """`limit` per `per` seconds on average, and up to `burst` at once.

    The generic cell rate algorithm (GCRA) in whole numbers. A stretch of `w` seconds admits
    `burst + limit * w / per` at most. To admit no more than L in any stretch of `per` seconds,
    choose `limit + burst = L`.

    Attributes:
        limit: Tokens that flow back in `per` seconds.
        per: Seconds or `timedelta`; a millisecond to a year.
        name: As for `SlidingWindow`.
        burst: The bucket's size. Default: `limit`.
    """

    burst: int | None = None
    kind: ClassVar[str] = "b"
    word: ClassVar[str] = "bucket"

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: Naming the option and the fix.
        """
        super().__post_init__()
        if self.burst is not None:
            _count(self.burst, "burst", "TokenBucket")
        if self.most * self.period_us > _EXACT:
            raise ConfigError(
                f"TokenBucket: burst {self.most:,} times per={self.period_us / 1e6:g} s is beyond "
                f"{_EXACT // 10**6:,}, where counting is exact; write the same rate with a shorter "
                "period"
            )

    @property
    def most(self) -> int:
        """What can be had at once."""
        return self.limit if self.burst is None else self.burst

    @property
    def filled_us(self) -> int:
        """Microseconds in which all that can be had at once comes back."""
        return -(-self.most * self.period_us // self.limit)


class FixedWindow(_Policy, frozen=True, kw_only=True):
    """At most `limit` between one multiple of `per` and the next, by the server's clock in UTC.

    Attributes:
        limit: Hits, or units of cost.
        per: Seconds or `timedelta`; a millisecond to a year. 3600 begins at every full hour.
        name: As for `SlidingWindow`.
    """

    kind: ClassVar[str] = "f"
    word: ClassVar[str] = "fixed"


Policy = SlidingWindow | TokenBucket | FixedWindow


def check_policies(policies: tuple[object, ...]) -> tuple[Policy, ...]:
    """Accept the policies of one limiter.

    Raises:
        ConfigError: There is none, something else, or two whose states would be one.
    """
    if not policies:
        raise ConfigError("a Limiter needs at least one policy, such as SlidingWindow(100, per=60)")
    labels: set[str] = set()
    checked: list[Policy] = []
    for policy in policies:
        if not isinstance(policy, Policy):
            raise ConfigError(
                "a policy is a SlidingWindow, a TokenBucket or a FixedWindow, "
                f"not {policy!r}; write for example SlidingWindow(100, per=60)"
            )
        if policy.label in labels:
            raise ConfigError(
                f"two policies of one limiter are both called {policy.label!r}; give one of them a "
                "name: SlidingWindow(5, per=60, name='writes')"
            )
        labels.add(policy.label)
        checked.append(policy)
    return tuple(checked)


def _count(value: object, option: str, owner: str) -> None:
    if type(value) is not int or not 1 <= value <= _LARGEST:
        raise ConfigError(
            f"{owner}: {option} must be a whole number from 1 to {_LARGEST:,}, not {value!r}; to "
            "let nothing through, use limiter.block(key, seconds)"
        )


def _period(value: float | timedelta) -> int:
    number = seconds(value, "per")
    if not SHORTEST <= number <= LONGEST:
        raise ConfigError(
            f"per must be from {SHORTEST:g} to {LONGEST:.0f} seconds (a year), not {number:g}; "
            "for more hits in less time, raise the limit and the period together"
        )
    return round(number * 1_000_000)
