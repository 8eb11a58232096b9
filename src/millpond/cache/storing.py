"""Values that are put over whatever is there, and times to live that are given anew, in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from millpond.cache.batches import BATCH, batched, gathered
from millpond.cache.verdicts import cannot_write
from millpond.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.cache.store import Store

__all__ = ["put_all", "touch_all"]

T = TypeVar("T")


async def put_all(
    store: Store[T],
    encoded: Sequence[tuple[str, bytes | None]],
    ttl: int | None,
    tags: tuple[str, ...],
) -> bool:
    """Put values over whatever is there; whether all were.

    Args:
        store: Of the cache.
        encoded: Their Redis keys, and their bytes.
        ttl: Milliseconds; None: as the cache has it.
        tags: What they are to be deleted by.

    Raises:
        BackendError: Redis is out of reach, and that is not to be hidden.
    """
    stored = True
    try:
        for some in batched(encoded, BATCH):
            stored = await store.put(some, ttl, tags) and stored
    except BackendError as error:
        if store.raises_when_unavailable or not cannot_write(error):
            raise
        return False
    return stored


async def touch_all(store: Store[T], names: Sequence[str], ttl: int | None) -> int:
    """Give values that are there a new time to live; how many were.

    Args:
        store: Of the cache.
        names: Their Redis keys.
        ttl: Milliseconds; None: as the cache has it.

    Raises:
        BackendError: Redis is out of reach, and that is not to be hidden.
    """
    choose, there = store.lifetimes.choose, 0
    try:
        era = (await store.versions.current((), choose(b"", ttl))).era
        for some in batched(names, BATCH):
            there += sum(
                await gathered([store.touch(name, era, choose(b"", ttl)) for name in some])
            )
    except BackendError as error:
        if store.raises_when_unavailable or not cannot_write(error):
            raise
        return 0
    return there
