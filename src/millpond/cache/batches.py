"""Many commands, some at a time: what is queued at once stays bounded."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BATCH", "batched", "gathered"]

T = TypeVar("T")

BATCH = 500
"""Commands whose replies are awaited together."""


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
