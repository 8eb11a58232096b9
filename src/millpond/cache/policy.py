"""How a cache behaves where there is a choice: one frozen struct, checked when it is made."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Literal

import msgspec

from millpond.cache.bounds import NearCache
from millpond.core.compression import require_zstd
from millpond.core.durations import seconds
from millpond.errors import ConfigError

__all__ = ["CachePolicy"]

Duration = float | timedelta


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Choices that a cache makes for all its keys; durations in seconds or as `timedelta`.

    Attributes:
        jitter: An entry lives up to this much shorter than its TTL, at random, so that entries
            stored together do not expire together. Default 0: none.
        stale_while_revalidate: For how long after its TTL a value is still served, at once, while
            one caller's load in the background replaces it. Default 0: not at all.
        stale_if_error: For how long after its TTL a value is still served when it cannot be loaded:
            the loader raised or took too long, here or elsewhere. Callers wait for that load, as on
            a miss. Default 0: not at all. A value is kept for the longer of the two.
        stale_retry: After a load that failed, how long the stale value is served without another
            try, in the whole fleet. Default None: 1 s, where stale values are served at all.
        stale_after: A caller who waits for a load longer than this is given the stale value, where
            `stale_if_error` would; the load goes on. Default None: as long as the load may take.
        early_refresh: XFetch's beta: a value that took long to load is refreshed in the background
            before its TTL ends, at random, typically by beta times the load's time. 1.0 is what
            the paper calls optimal. Default None: only when it is stale.
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
        compress_over: Bytes of an encoded value beyond which it is compressed with Zstandard,
            where that makes it smaller. Default None: nothing is, for a compressed hit costs the
            time to decompress it; 2,000 is a good beginning where memory or the network is what
            is short. Needs `millpond[zstd]` in every process that reads the cache: one without
            it takes what is compressed for a miss.
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
        near: A `NearCache`: copies in this process's memory, which Redis says when to forget. A
            read may then be older than a write elsewhere by the delay of a push, or by the
            `heartbeat` if this process is cut off. Default None.
    """

    jitter: Duration = 0.0
    stale_while_revalidate: Duration = 0.0
    stale_if_error: Duration = 0.0
    stale_retry: Duration | None = None
    stale_after: Duration | None = None
    early_refresh: float | None = None
    none_ttl: Duration | None = None
    error_ttl: Duration = 0.0
    load_timeout: Duration = 30.0
    lease_ttl: Duration = 3.0
    wait_timeout: Duration = 30.0
    write_timeout: Duration = 30.0
    compress_over: int | None = None
    on_unavailable: Literal["load", "raise"] = "load"
    on_unconfirmed: Literal["journal", "raise"] = "journal"
    restart: Literal["keep", "clear"] = "keep"
    near: NearCache | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: Naming the option and the fix.
        """
        for name in ("load_timeout", "lease_ttl", "wait_timeout", "write_timeout"):
            seconds(getattr(self, name), name)
        if self.none_ttl is not None:
            seconds(self.none_ttl, "none_ttl")
        for name in ("jitter", "error_ttl", "stale_while_revalidate", "stale_if_error"):
            zero_or_seconds(getattr(self, name), name)
        self._check_staleness()
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
        if self.compress_over is not None:
            if type(self.compress_over) is not int or self.compress_over < 0:
                raise ConfigError(
                    f"compress_over must be a number of bytes, such as 2000, or None, not "
                    f"{self.compress_over!r}"
                )
            require_zstd("compress_over")
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
        if not isinstance(self.near, NearCache | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"near must be a NearCache(...), not {self.near!r}")

    def _check_staleness(self) -> None:
        revalidates = zero_or_seconds(self.stale_while_revalidate, "stale_while_revalidate") > 0
        on_error = zero_or_seconds(self.stale_if_error, "stale_if_error") > 0
        if self.stale_retry is not None:
            seconds(self.stale_retry, "stale_retry")
            if not (revalidates or on_error):
                raise ConfigError(
                    f"stale_retry={self.stale_retry} has nothing to serve between two tries; say "
                    "with stale_if_error how long a value may be served that cannot be loaded"
                )
        if self.stale_after is not None:
            patience, limit = seconds(self.stale_after, "stale_after"), self.load_timeout
            if not on_error:
                raise ConfigError(
                    f"stale_after={self.stale_after} has nothing to serve; say with stale_if_error "
                    "how long a value may be served that cannot be loaded in time"
                )
            if patience >= seconds(limit, "load_timeout"):
                raise ConfigError(
                    f"stale_after={self.stale_after} is not below load_timeout={limit}, after "
                    "which the stale value is served in any case; lower it, or leave it out"
                )
        beta = self.early_refresh
        if beta is not None and (
            isinstance(beta, bool)
            or not isinstance(beta, int | float)  # pyright: ignore[reportUnnecessaryIsInstance]
            or not 0 < beta <= _LARGEST_BETA
        ):
            raise ConfigError(
                f"early_refresh must be above 0 and at most {_LARGEST_BETA}, or None for no early "
                f"refresh, not {beta!r}; 1.0 is a good choice"
            )


_SHORTEST_LEASE = 0.1
_LARGEST_BETA = 100


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
