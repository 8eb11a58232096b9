"""How a cache behaves where there is a choice: one frozen struct, checked when it is made."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Literal

import msgspec

from millpond.core.durations import seconds
from millpond.errors import ConfigError

__all__ = ["CachePolicy"]

Duration = float | timedelta


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Choices that a cache makes for all its keys; durations in seconds or as `timedelta`.

    Attributes:
        jitter: An entry lives up to this much shorter than its TTL, at random, so that entries
            stored together do not expire together. Default 0: none.
        none_ttl: How long a None lives. Default None: as long as any value.
        error_ttl: How long a loader's failure is remembered and raised as `RemoteLoadError`
            without loading again. Default 0: only those who were waiting for that load see it,
            and the next caller loads.
        load_timeout: How long a loader may run before it is cancelled and `LoadTimeout` raised.
            Default 30 s, the patience of a reverse proxy; it cannot be switched off, for a load
            that never ends would hold its key for ever.
        lease_ttl: How long a load whose process dies keeps others from loading. Default 3 s; it
            is renewed at half while the loader runs, so it does not limit the load. A process
            that stalls for longer loses its lease.
        wait_timeout: How long callers wait for a load elsewhere before they load for themselves,
            storing nothing. Default 30 s, as `load_timeout`.
        write_timeout: How long the mark of a `writing()` outlives its process, or its way to Redis:
            it is renewed at a third, so two thirds of it must be more than a commit may take in
            the database once it was sent. Default 30 s. It does not limit the block. After a
            writer was killed, readers load past the cache for that long.
        on_unavailable: What reads do while Redis is out of reach. `"load"` (default): call the
            loader, one load per key and process at a time; `get` finds nothing. `"raise"`:
            raise `BackendUnavailable` or `BackendTimeout`.
        on_unconfirmed: What deletes do that Redis has not acknowledged. They are kept and sent
            again in any case. `"journal"` (default): return False. `"raise"`: raise
            `InvalidationPending`.
        restart: What a server that was restarted or replaced means for what it kept. `"keep"`
            (default): it is served; from a snapshot it may be old, and deletes of its last moments
            may be undone, but for this process's own, which are sent again. `"clear"`: nothing
            stored under another run id is served; the namespace begins empty.
    """

    jitter: Duration = 0.0
    none_ttl: Duration | None = None
    error_ttl: Duration = 0.0
    load_timeout: Duration = 30.0
    lease_ttl: Duration = 3.0
    wait_timeout: Duration = 30.0
    write_timeout: Duration = 30.0
    on_unavailable: Literal["load", "raise"] = "load"
    on_unconfirmed: Literal["journal", "raise"] = "journal"
    restart: Literal["keep", "clear"] = "keep"

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: Naming the option and the fix.
        """
        for name in ("load_timeout", "lease_ttl", "wait_timeout", "write_timeout"):
            seconds(getattr(self, name), name)
        if self.none_ttl is not None:
            seconds(self.none_ttl, "none_ttl")
        for name in ("jitter", "error_ttl"):
            zero_or_seconds(getattr(self, name), name)
        if seconds(self.lease_ttl, "lease_ttl") < _SHORTEST_LEASE:
            raise ConfigError(
                f"lease_ttl={self.lease_ttl} is shorter than {_SHORTEST_LEASE} s, less than a "
                "busy event loop may stall; it does not limit loads, which renew it"
            )
        if seconds(self.write_timeout, "write_timeout") < _SHORTEST_LEASE:
            raise ConfigError(
                f"write_timeout={self.write_timeout} is shorter than {_SHORTEST_LEASE} s; two "
                "thirds of it must be more than a commit may take"
            )
        if self.on_unavailable not in ("load", "raise"):
            raise ConfigError(
                f"on_unavailable must be 'load' or 'raise', not {self.on_unavailable!r}"
            )
        if self.on_unconfirmed not in ("journal", "raise"):
            raise ConfigError(
                f"on_unconfirmed must be 'journal' or 'raise', not {self.on_unconfirmed!r}"
            )
        if self.restart not in ("keep", "clear"):
            raise ConfigError(f"restart must be 'keep' or 'clear', not {self.restart!r}")


_SHORTEST_LEASE = 0.1


def zero_or_seconds(value: Duration, name: str) -> float:
    """Check a duration that may be 0.

    Raises:
        ConfigError: It is negative, NaN, infinite or no duration.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if not isinstance(value, bool) and isinstance(value, int | float) and value == 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        return 0.0
    if isinstance(value, float) and math.isnan(value):
        raise ConfigError(f"{name} must be 0 or a number of seconds, not NaN")
    return seconds(value, name)
