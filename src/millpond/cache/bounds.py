"""`NearCache`: how much a near cache keeps, and for how long it is trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from millpond.core.durations import seconds
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["NearCache"]

_SHORTEST_HEARTBEAT = 0.05  # seconds


class NearCache(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a near cache: `CachePolicy(near=NearCache(max_entries=1000))`.

    Attributes:
        max_entries: Copies kept at most. Default 10,000.
        max_bytes: Their size at most: of the entries as Redis has them and their keys, and 250
            bytes for each. Default 64 MiB. What is larger by itself is not kept.
        ttl: Seconds or timedelta that a copy is kept at most. Default None: as long as its entry.
        heartbeat: Seconds or timedelta that copies are trusted after the last sign that pushes
            arrive; what a process that is cut off may serve too late. Default 1 s. With Redis in
            reach it is the delay of a push.
    """

    max_entries: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    ttl: float | timedelta | None = None
    heartbeat: float | timedelta = 1.0

    def __post_init__(self) -> None:
        """Refuse bounds that keep nothing.

        Raises:
            ConfigError: Naming the bound and the fix.
        """
        for name in ("max_entries", "max_bytes"):
            bound: object = getattr(self, name)
            if not isinstance(bound, int) or isinstance(bound, bool) or bound < 1:
                raise ConfigError(
                    f"{name} must be an int above 0, not {bound!r}; for no near cache leave out "
                    "CachePolicy(near=...)"
                )
        if self.ttl is not None:
            seconds(self.ttl, "near ttl")
        if seconds(self.heartbeat, "heartbeat") < _SHORTEST_HEARTBEAT:
            raise ConfigError(
                f"heartbeat={self.heartbeat} is shorter than {_SHORTEST_HEARTBEAT} s, less than a "
                "busy event loop may stall: nothing would be trusted"
            )
