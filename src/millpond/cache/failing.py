"""What a load that failed leaves for the fleet: an error in place of its lease, or a later try."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from millpond.core.entry import pack_error
from millpond.errors import BackendError
from millpond.events import FillRefused, RefreshFailed

if TYPE_CHECKING:
    from millpond.cache.captured import Captured
    from millpond.cache.store import Store

__all__ = ["defer", "publish"]

_NOTICE = 2000  # milliseconds for which an error is kept for those who wait for it


async def publish(
    store: Store[Any],
    key: str,
    generation: bytes,
    error: Exception,
    captured: Captured,
    *,
    took: float,
) -> None:
    """Tell the fleet that a load failed, by an entry in place of its lease.

    Args:
        store: Of the cache.
        key: The Redis key.
        generation: The lease's: whoever waits for it knows the error by it.
        error: What the loader raised, of which the type's name is told.
        captured: The versions from before the load.
        took: Seconds that it took.
    """
    entry = pack_error(
        generation,
        store.version,
        store.fingerprint,
        type(error).__qualname__,
        created_ms=time.time_ns() // 1_000_000,
        era=captured.era,
        load_ms=took * 1000,
        for_waiters=store.lifetimes.error == 0,
        tags=captured.tags,
    )
    try:
        await store.fill(key, generation, entry, store.lifetimes.error or _NOTICE)
    except BackendError as problem:
        store.client.emit(FillRefused(key=key, reason=f"unavailable: {problem}"))


async def defer(store: Store[Any], key: str, generation: bytes, error: Exception) -> None:
    """Leave the value that was claimed in place, and tell the fleet when to try again.

    Args:
        store: Of the cache.
        key: The Redis key.
        generation: The claim's.
        error: What the loader raised.
    """
    try:
        kept = await store.defer(key, generation)
    except BackendError:
        return  # the claim ends by itself
    if kept:
        store.counters.kept += 1
        store.client.emit(
            RefreshFailed(
                key=key,
                type_name=type(error).__qualname__,
                retry_after=store.lifetimes.staleness.retry / 1000,
            )
        )
