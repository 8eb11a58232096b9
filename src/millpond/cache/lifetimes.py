"""How long entries live: what the policy says in seconds, once, in the milliseconds of Redis."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from millpond.cache.policy import zero_or_seconds
from millpond.cache.staleness import Staleness
from millpond.core.durations import milliseconds
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from datetime import timedelta

    from millpond.cache.policy import CachePolicy

__all__ = ["Lifetimes"]

_LONGEST_SOFT = 2**32  # milliseconds: what the header has room for
_DEFAULT_RETRY = 1000  # milliseconds


class Lifetimes:
    """The durations of one cache.

    Attributes:
        ttl: Milliseconds, where a call names none.
        staleness: What is done with values past that.
        kept: Milliseconds for which they are kept past it.
        soft: Whether values carry a soft expiry at all.
        error: Milliseconds that errors are remembered; 0: for those who wait alone.
    """

    __slots__ = ("_jitter", "_none_ttl", "error", "kept", "soft", "staleness", "ttl")

    def __init__(self, ttl: int, policy: CachePolicy) -> None:
        """Convert the policy's durations, once.

        Args:
            ttl: Milliseconds.
            policy: Already checked in itself.

        Raises:
            ConfigError: The jitter is not below the TTL.
        """
        self.error = _milliseconds_or_zero(policy.error_ttl, "error_ttl")
        self._jitter = _milliseconds_or_zero(policy.jitter, "jitter")
        retry = policy.stale_retry
        self.staleness = Staleness(
            while_revalidate=_milliseconds_or_zero(
                policy.stale_while_revalidate, "stale_while_revalidate"
            ),
            if_error=_milliseconds_or_zero(policy.stale_if_error, "stale_if_error"),
            retry=_DEFAULT_RETRY if retry is None else milliseconds(retry, "stale_retry"),
            early=policy.early_refresh or 0.0,
        )
        self.soft = self.staleness.wanted
        self.kept = self.staleness.kept
        self.ttl = self.checked(ttl)
        none_ttl = policy.none_ttl
        self._none_ttl = (
            None if none_ttl is None else self.checked(milliseconds(none_ttl, "none_ttl"))
        )

    def checked(self, ttl: int) -> int:
        """Refuse a TTL (milliseconds) that the jitter would use up.

        Raises:
            ConfigError: Naming both.
        """
        if ttl <= self._jitter:
            raise ConfigError(
                f"jitter={self._jitter / 1000:g} s is not below the TTL of {ttl / 1000:g} s: "
                "entries would live for no time; lower CachePolicy(jitter=...)"
            )
        if self.soft and ttl + self.kept >= _LONGEST_SOFT:
            raise ConfigError(
                f"a TTL of {ttl / 1000:g} s and then {self.kept / 1000:g} s of staleness are more "
                "than 49 days, the longest that a value with both can live; lower one"
            )
        return ttl

    def given(self, ttl: float | timedelta | None) -> int | None:
        """Return a call's own TTL in milliseconds.

        Raises:
            ConfigError: One that cannot be.
        """
        return None if ttl is None else self.checked(milliseconds(ttl, "ttl"))

    def choose(self, payload: bytes | None, ttl: int | None) -> int:
        """Choose an entry's time to live in milliseconds: the call's, the policy's, the cache's."""
        if ttl is None and payload is None:
            ttl = self._none_ttl
        if ttl is None:
            ttl = self.ttl
        if self._jitter:
            ttl -= random.randint(0, self._jitter)  # noqa: S311
        return max(1, ttl)

    def longest(self, ttl: int | None) -> int:
        """Return for how many milliseconds an entry may be there at most, stale or not."""
        return (ttl or self.ttl) + self.kept


def _milliseconds_or_zero(value: Any, name: str) -> int:
    checked = zero_or_seconds(value, name)
    return milliseconds(checked, name) if checked else 0
