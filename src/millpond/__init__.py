"""millpond: async-native caching, locking and rate limiting on Redis."""

from __future__ import annotations

from millpond.cache.bounds import NearCache
from millpond.cache.cache import Cache
from millpond.cache.cached import Cached
from millpond.cache.cached_many import CachedMany
from millpond.cache.context import CacheMode, cache_mode
from millpond.cache.entry import Entry
from millpond.cache.fetching import Warmed
from millpond.cache.loaded import NOT_MODIFIED, Loaded, NotModified
from millpond.cache.missing import MISSING, Missing
from millpond.cache.policy import CachePolicy
from millpond.cache.statistics import CacheStatistics
from millpond.cache.writing import Write
from millpond.core.client import Client, ClientStatistics
from millpond.core.keys import Key
from millpond.core.scripts import Script
from millpond.core.watch import Watch
from millpond.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ClosedError,
    CodecError,
    ConfigError,
    FingerprintMismatch,
    InvalidationPending,
    LimitExceeded,
    LoadDeadlock,
    LoadManyFailed,
    LoadTimeout,
    LockError,
    LockLost,
    LockTimeout,
    MillpondError,
    NoQuorum,
    RemoteLoadError,
    ReplyError,
    RunInProgress,
)
from millpond.events import (
    DeleteUnconfirmed,
    EntryUnreadable,
    Event,
    EvictionPossible,
    FillRefused,
    Hook,
    InvalidationsDropped,
    InvalidationsLeft,
    InvalidationsReplayed,
    LimitRestored,
    LimitShadowed,
    LimitUnavailable,
    LoadFailed,
    LoadFinished,
    LoadUnleased,
    LockFailed,
    MarkRemoved,
    RefreshFailed,
    ReleaseUnconfirmed,
    ResponseNotKept,
    ResultUnconfirmed,
    ServerLimited,
    WireDown,
    WireUp,
    WriteUnconfirmed,
    log_events,
)
from millpond.limit.concurrency import Concurrency, Full, Slot
from millpond.limit.decision import Decision, Quota
from millpond.limit.limiter import Limiter
from millpond.limit.policies import FixedWindow, Policy, SlidingWindow, TokenBucket
from millpond.limit.statistics import LimiterStatistics
from millpond.limit.together import hit_all
from millpond.lock.held import Held
from millpond.lock.locks import Locks
from millpond.lock.store import LockStatistics
from millpond.structures.idempotency import Idempotency
from millpond.structures.run import Run
from millpond.structures.tally import IdempotencyStatistics

__all__ = [
    # use
    "Cache",
    "CacheMode",
    "CachePolicy",
    "CacheStatistics",
    "Cached",
    "CachedMany",
    "Client",
    "ClientStatistics",
    "Concurrency",
    "Decision",
    "Entry",
    "FixedWindow",
    "Full",
    "Held",
    "Idempotency",
    "IdempotencyStatistics",
    "Key",
    "Limiter",
    "LimiterStatistics",
    "Loaded",
    "LockStatistics",
    "Locks",
    "MISSING",
    "Missing",
    "NearCache",
    "NOT_MODIFIED",
    "NotModified",
    "Policy",
    "Quota",
    "Run",
    "Script",
    "SlidingWindow",
    "Slot",
    "TokenBucket",
    "Warmed",
    "Watch",
    "Write",
    "cache_mode",
    "hit_all",
    # errors
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
    # events
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
