"""A limiter's counters."""

from __future__ import annotations

import msgspec

__all__ = ["Counters", "LimiterStatistics"]


class LimiterStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a limiter of this process has decided; every field counts since it was made."""

    allowed: int  # hits that were admitted, by whomever
    denied: int  # hits that were denied, by whomever; in a shadow: that would have been
    near: int  # denials that this process knew of, among them
    fallback: int  # decisions made without Redis
    calls: int  # scripts run to decide hits: less than hits where some were coalesced
    refunds: int  # decisions given back


class Counters:
    """The same, while counting."""

    __slots__ = ("allowed", "calls", "denied", "fallback", "near", "refunds")

    def __init__(self) -> None:
        """Start at nothing."""
        self.allowed = 0
        self.denied = 0
        self.near = 0
        self.fallback = 0
        self.calls = 0
        self.refunds = 0

    def frozen(self) -> LimiterStatistics:
        """Take a snapshot."""
        return LimiterStatistics(**{name: getattr(self, name) for name in self.__slots__})
