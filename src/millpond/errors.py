"""Every exception millpond raises, one shallow tree under `MillpondError`.

Errors carry data (a key, how long, which nodes), and `status_hint`: the HTTP status that an
application would most likely answer with. It is a plain number; no HTTP type is involved.
Exceptions of your own loaders reach you unwrapped and are not listed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BackendError",
    "BackendTimeout",
    "BackendUnavailable",
    "ClosedError",
    "CodecError",
    "ConfigError",
    "FingerprintMismatch",
    "InvalidationPending",
    "LimitExceeded",
    "LoadDeadlock",
    "LoadManyFailed",
    "LoadTimeout",
    "LockError",
    "LockLost",
    "LockTimeout",
    "MillpondError",
    "NoQuorum",
    "RemoteLoadError",
    "ReplyError",
    "RunInProgress",
]


class MillpondError(Exception):
    """Anything millpond raises on its own account."""

    status_hint: int = 500


class ConfigError(MillpondError, ValueError):
    """An argument, option, key or URL that cannot work; the message names the fix."""


class ClosedError(MillpondError):
    """The client is not open: enter `async with client:` first, or it has been closed."""

    status_hint = 503


class BackendError(MillpondError):
    """Redis did not do what was asked."""

    status_hint = 503


class BackendUnavailable(BackendError):
    """Redis cannot be reached, or cannot serve now; whether a command ran may be unknown."""


class BackendTimeout(BackendError, TimeoutError):
    """Redis answered nothing for `command_timeout`; whether the command ran is unknown."""


class ReplyError(BackendError):
    """Redis answered with an error.

    Attributes:
        code: The first word of the reply, such as `WRONGTYPE` or `NOPERM`.
    """

    status_hint = 500

    def __init__(self, message: str) -> None:
        """Take the reply's text; its first word becomes `code`."""
        super().__init__(message)
        self.code = message.split(" ", 1)[0]


class CodecError(MillpondError):
    """A value that cannot be encoded for its cache's type."""


class LoadTimeout(MillpondError, TimeoutError):
    """A loader ran past `load_timeout` and was cancelled.

    Attributes:
        key: The Redis key that was being loaded.
        seconds: The limit that was passed.
    """

    status_hint = 504

    def __init__(self, key: str, seconds: float) -> None:
        """Name the key and the limit."""
        super().__init__(
            f"the loader for {key!r} ran longer than load_timeout={seconds:g} s and was "
            "cancelled; raise CachePolicy(load_timeout=...) if that is its normal time"
        )
        self.key = key
        self.seconds = seconds


class LoadDeadlock(MillpondError):
    """A loader waits, directly or through other loads, for the load it is part of.

    Attributes:
        key: The Redis key that was asked for inside its own load.
    """

    def __init__(self, key: str) -> None:
        """Name the key."""
        super().__init__(
            f"the loader for {key!r} asked the cache for a value that can only come from this "
            "same load; call the source directly inside the loader"
        )
        self.key = key


class LoadManyFailed(MillpondError):
    """Some of many keys have no value because their loads failed; the others do.

    Attributes:
        values: What there is, by the keys as they were given.
        errors: Why there is no more, by key; the first is the cause of this.
    """

    status_hint = 502

    def __init__(self, values: Mapping[Any, Any], errors: Mapping[Any, Exception]) -> None:
        """Keep both."""
        key, error = next(iter(errors.items()))
        super().__init__(
            f"{len(errors)} of {len(values) + len(errors)} keys failed, first {key!r} with "
            f"{type(error).__name__}; the others' values are in .values, each reason in .errors"
        )
        self.values = values
        self.errors = errors


class RemoteLoadError(MillpondError):
    """The loader failed in another process while this one waited for its result.

    Attributes:
        key: The Redis key that was being loaded.
        type_name: The exception's class name over there; its message stays there.
    """

    status_hint = 502

    def __init__(self, key: str, type_name: str) -> None:
        """Name the key and the exception's class."""
        super().__init__(f"the loader for {key!r} failed in another process with {type_name}")
        self.key = key
        self.type_name = type_name


class InvalidationPending(MillpondError):
    """Redis has not acknowledged a delete, with `on_unconfirmed="raise"`.

    It is kept and sent again before this process reads through the cache again; until then other
    processes may read the old values.

    Attributes:
        keys: The Redis keys.
    """

    status_hint = 503

    def __init__(self, keys: tuple[str, ...], reason: str) -> None:
        """Name the keys and what Redis said."""
        shown = ", ".join(repr(key) for key in keys[:3]) + (", ..." if len(keys) > 3 else "")
        super().__init__(
            f"Redis has not acknowledged the delete of {shown} ({reason}); it is kept and will be "
            "sent again, and until then readers may see old values"
        )
        self.keys = keys


class LockError(MillpondError):
    """A lock that is not, or no longer, what the call needs it to be.

    Attributes:
        key: The Redis key of the lock, as `locks.key(name)` gives it.
    """

    status_hint = 503

    def __init__(self, key: str, message: str) -> None:
        """Name the lock and say what is wrong."""
        super().__init__(message)
        self.key = key


class LockTimeout(LockError, TimeoutError):
    """The lock was not free within `wait`.

    Attributes:
        waited: Seconds.
    """

    def __init__(self, key: str, waited: float) -> None:
        """Name the lock and the time."""
        super().__init__(key, f"the lock {key!r} is held by another after {waited:g} s of waiting")
        self.waited = waited


class LockLost(LockError):
    """The lock ended before its block did; what the block did since then may have had a rival.

    What the block raised itself, if anything, is the `__cause__`.

    Attributes:
        fence: The fence of the acquisition that was lost.
        reason: `"expired"` (no renewal was confirmed in time: Redis out of reach, or the event
            loop stalled), `"gone"` (deleted, evicted, or the server lost its data), `"max_hold"`.
    """

    def __init__(self, key: str, fence: int, reason: str) -> None:
        """Name the lock, its fence, and why it ended."""
        super().__init__(
            key,
            f"the lock {key!r} (fence {fence}) was lost while it was held: {_LOST[reason]}",
        )
        self.fence = fence
        self.reason = reason


class NoQuorum(LockError):
    """Too few of the nodes of a quorum answered for the lock to be had, or refused.

    Attributes:
        nodes: What each said: `"granted"`, `"taken"`, `"no answer in time"`, or its error.
    """

    def __init__(self, key: str, nodes: dict[str, str]) -> None:
        """Name the lock and quote the nodes."""
        said = "; ".join([f"{name}: {words}" for name, words in nodes.items()])
        super().__init__(key, f"no majority for the lock {key!r}: {said}")
        self.nodes = nodes


_LOST = {
    "expired": "its lease ran out, since no renewal was confirmed in time",
    "gone": "Redis no longer has it (deleted, evicted, or its data was lost)",
    "max_hold": "it was held for as long as max_hold allows",
}


class Denial(Protocol):
    """What `LimitExceeded` carries: the `Decision` of a limiter."""

    @property
    def key(self) -> str:
        """The limiter's key."""
        ...

    @property
    def retry_after(self) -> float | None:
        """Seconds until the same hit would be admitted; None: never."""
        ...

    def headers(self, *, legacy: bool = False) -> dict[str, str]:
        """Return what to answer an HTTP client with."""
        ...


class LimitExceeded(MillpondError):
    """A rate limit denied a hit.

    Attributes:
        decision: The denial: `decision.retry_after`, `decision.headers()`.
        key: The limiter's key.
        retry_after: Seconds until the same hit would be admitted; None: never, since its cost is
            above the limit.
    """

    status_hint = 429

    def __init__(self, decision: Denial) -> None:
        """Name the key and what was decided."""
        key, wait = decision.key, decision.retry_after
        when = "its cost is above the limit" if wait is None else f"try again in {wait:.3f} s"
        super().__init__(f"the limit of {key!r} is used up: {when}")
        self.key = key
        self.decision = decision
        self.retry_after = wait


class RunInProgress(MillpondError):
    """Another call with the same idempotency key is being carried out, here or elsewhere.

    Attributes:
        key: The Redis key of the result that is to come.
        retry_after: Seconds after which another may begin, should that call's process have died;
            while it lives, it may take longer, or be over sooner.
    """

    status_hint = 409

    def __init__(self, key: str, retry_after: float) -> None:
        """Name the key and the time."""
        super().__init__(
            f"what {key!r} stands for is being done by another call; ask again for its result, or "
            "pass wait= to run_once"
        )
        self.key = key
        self.retry_after = retry_after


class FingerprintMismatch(MillpondError):
    """An idempotency key that was used before, for something else.

    Attributes:
        key: The Redis key of the result.
    """

    status_hint = 422

    def __init__(self, key: str) -> None:
        """Name the key."""
        super().__init__(
            f"{key!r} was used before with another fingerprint: each request needs a key of its "
            "own, and the same one only when it is sent again unchanged"
        )
        self.key = key
