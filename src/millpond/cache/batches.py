"""Many commands, some at a time: what is queued at once stays bounded."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BATCH", "batched", "gathered", "positive"]

T = TypeVar("T")

BATCH = 500
"""Commands whose replies are awaited together."""


def positive(size: int, name: str) -> int:
    """Return a size that a batch may have.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"{name} must be a number of keys, such as {BATCH}, not {size!r}")
    return size


def batched(many: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut into lists of at most `size`."""
    rest = iter(many)
    while some := list(islice(rest, size)):
        yield some


async def gathered(futures: list[asyncio.Future[T]]) -> list[T]:
    """Wait for all; the first exception is raised once every one has its answer."""
    replies = await asyncio.gather(*futures, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    return replies  # pyright: ignore[reportReturnType]  (no exception is among them)
