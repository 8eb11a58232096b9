"""Many commands, some at a time: what is queued at once stays bounded."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["BATCH", "batched", "gathered", "positive", "when_all"]

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


def when_all(
    futures: Sequence[asyncio.Future[Any]], judge: Callable[[list[Any]], bool]
) -> asyncio.Future[bool]:
    """Return a future of a judgement on all results; False where one failed."""
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    left = len(futures)

    def one(_: asyncio.Future[Any]) -> None:
        nonlocal left
        left -= 1
        if left or answer.done():
            return
        failed = [f for f in futures if f.cancelled() or f.exception() is not None]
        answer.set_result(not failed and judge([f.result() for f in futures]))

    for future in futures:
        future.add_done_callback(one)
    return answer
