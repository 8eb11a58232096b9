"""What happened, as frozen structs, and the `Hook` that is told.

Hooks are given to the client, `Client.from_url(url, hooks=[log, metrics])`, and called in order,
synchronously, on the event loop: a hook must be quick and must not await. One that raises is
logged and otherwise ignored. Events never carry a value; keys appear for logs and must not
become metric labels. What happens on every hit is counted by `statistics()`, not told here.
"""

from __future__ import annotations

import logging
from typing import Protocol

import msgspec

__all__ = [
    "DeleteUnconfirmed",
    "EntryUnreadable",
    "Event",
    "EvictionPossible",
    "FillRefused",
    "Hook",
    "InvalidationsDropped",
    "InvalidationsLeft",
    "InvalidationsReplayed",
    "LimitRestored",
    "LimitShadowed",
    "LimitUnavailable",
    "LoadFailed",
    "LoadFinished",
    "LoadUnleased",
    "LockFailed",
    "MarkRemoved",
    "RefreshFailed",
    "ReleaseUnconfirmed",
    "ResponseNotKept",
    "ResultUnconfirmed",
    "ServerLimited",
    "WireDown",
    "WireUp",
    "WriteUnconfirmed",
    "log_events",
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all events."""


class WireUp(Event, frozen=True, kw_only=True):
    """The connection is ready for commands; after a hang, once it has answered one."""

    address: str
    server: str  # "valkey 9.1.2"
    reconnects: int  # 0 for the first connection since the client was opened


class WireDown(Event, frozen=True, kw_only=True):
    """The connection was lost, or could not be made; calls fail at once until `WireUp`."""

    address: str
    reason: str


class ServerLimited(Event, frozen=True, kw_only=True):
    """The server or its ACL lacks something; said once per connection and subject."""

    address: str
    subject: str  # what is missing: "push", "kill", ...
    consequence: str


class EntryUnreadable(Event, frozen=True, kw_only=True):
    """Bytes under a cache key that are no entry of this cache: treated as a miss."""

    key: str
    reason: str


class LoadFinished(Event, frozen=True, kw_only=True):
    """A loader returned and its value was stored."""

    key: str
    seconds: float


class LoadFailed(Event, frozen=True, kw_only=True):
    """A loader raised, or ran past `load_timeout`."""

    key: str
    seconds: float
    type_name: str


class RefreshFailed(Event, frozen=True, kw_only=True):
    """A load failed, and the value that it should have replaced stays, to be served stale.

    Or Redis refused to let it be claimed: then the next reader tries again.
    """

    key: str
    type_name: str
    retry_after: float  # seconds in which nobody in the fleet tries again


class LoadUnleased(Event, frozen=True, kw_only=True):
    """A value was loaded without the fleet's lease, and will not be stored."""

    key: str
    reason: str  # "unavailable", "wait_timeout", "being written", "foreign type", "newer version"


class FillRefused(Event, frozen=True, kw_only=True):
    """The key no longer carried the load's lease, or a writer's mark alone: nothing was stored."""

    key: str
    reason: str  # "revoked": deleted, replaced, evicted or expired; "unavailable": unknown;
    # "overlapped": others wrote beside a `writing()`, or may have; "invalidated": a tag was
    # deleted, or the namespace cleared, while it was loaded


class ResponseNotKept(Event, frozen=True, kw_only=True):
    """A response that a `ResponseCache` was asked for went to who asked for it, and to nobody else.

    For a while nobody waits for others there, and it is said again then.
    """

    key: str
    reason: str  # in words: what about it is not to be kept, and what would help


class DeleteUnconfirmed(Event, frozen=True, kw_only=True):
    """Redis did not acknowledge a delete: readers may see the old value until it is replayed."""

    keys: tuple[str, ...]
    reason: str


class WriteUnconfirmed(Event, frozen=True, kw_only=True):
    """Redis did not acknowledge the end of a `writing()`: its mark ends by itself.

    The keys are deleted as soon as Redis can be told; until then readers load past the cache.
    """

    keys: tuple[str, ...]
    reason: str


class MarkRemoved(Event, frozen=True, kw_only=True):
    """A delete met a write mark, and the server had no memory to note it there: it removed both.

    The writer marks the key again with its next renewal, and removes what is there when it ends;
    should its process be killed before, an old value may be stored until its TTL ends.
    """

    key: str


class InvalidationsReplayed(Event, frozen=True, kw_only=True):
    """Redis has acknowledged deletes that it owed us, or that it may have forgotten."""

    count: int


class InvalidationsDropped(Event, frozen=True, kw_only=True):
    """So many unconfirmed deletes are kept that the oldest were given up.

    Said at 1, 2, 4, ..., and after a delete of very many with the whole number.

    Readers may see the old values until their TTL ends.
    """

    count: int  # since the client was made


class InvalidationsLeft(Event, frozen=True, kw_only=True):
    """The client was closed while deletes were unconfirmed: only their TTL ends the old values."""

    count: int


class LockFailed(Event, frozen=True, kw_only=True):
    """A lock ended while it was held: its block is cancelled and raises `LockLost`."""

    key: str
    fence: int
    reason: str  # "expired", "gone", "max_hold"
    held: float  # seconds from the acquisition


class ReleaseUnconfirmed(Event, frozen=True, kw_only=True):
    """Redis did not acknowledge a release: it is sent again until the lease is over."""

    key: str
    reason: str


class ResultUnconfirmed(Event, frozen=True, kw_only=True):
    """Redis did not acknowledge the result of a run: it is sent again for ten minutes."""

    key: str
    reason: str


class EvictionPossible(Event, frozen=True, kw_only=True):
    """The server may evict locks, or results of runs, when its memory is full.

    Said once for each `Locks` and `Idempotency`.
    """

    policy: str  # "volatile-lru", ...
    fix: str


class LimitUnavailable(Event, frozen=True, kw_only=True):
    """A limiter cannot ask Redis; until `LimitRestored` it decides by `on_unavailable`."""

    namespace: str
    instead: str  # "local", "allow", "deny", "raise"
    reason: str


class LimitRestored(Event, frozen=True, kw_only=True):
    """A limiter has asked Redis again, and was answered."""

    namespace: str


class LimitShadowed(Event, frozen=True, kw_only=True):
    """A limiter with `shadow=True` let pass what it would have denied."""

    key: str
    policy: str  # the label of the policy that would have denied; "block"


class Hook(Protocol):
    """Anything that can be called with an event."""

    def __call__(self, event: Event, /) -> None:
        """Take note of the event, quickly; an exception is logged and goes no further."""
        ...


_log = logging.getLogger("millpond")
_WARNINGS = (
    WireDown,
    ServerLimited,
    EntryUnreadable,
    DeleteUnconfirmed,
    WriteUnconfirmed,
    MarkRemoved,
    InvalidationsDropped,
    InvalidationsLeft,
    LockFailed,
    ReleaseUnconfirmed,
    ResultUnconfirmed,
    EvictionPossible,
)
_LINE = 2000  # characters
_INFO = (WireUp, InvalidationsReplayed, LimitRestored)


def log_events(event: Event, /) -> None:
    """Log changes of state at INFO or WARNING and the rest at DEBUG; the default hook."""
    if isinstance(event, _WARNINGS):
        level = logging.WARNING
    elif isinstance(event, _INFO):
        level = logging.INFO
    else:
        level = logging.DEBUG
    if _log.isEnabledFor(level):
        text = str(event)  # of a delete of thousands it would fill pages
        _log.log(level, "%s", text if len(text) <= _LINE else f"{text[:_LINE]}...")
