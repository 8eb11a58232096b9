"""coredis, client and lock.

https://coredis.readthedocs.io/en/stable/
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from contextlib import AbstractAsyncContextManager

__all__ = ["SUBJECTS", "CoredisCommands", "CoredisLocks"]


class _Coredis:
    def __init__(self, url: str, *, tasks: int) -> None:
        """Take the address; how many connections to make is the client's affair."""
        del tasks
        self._url = url
        self._stack = contextlib.AsyncExitStack()

    async def open(self) -> None:
        """Connect."""
        import coredis

        client = coredis.Redis.from_url(self._url)
        self._client = await self._stack.enter_async_context(client)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._stack.aclose()


class CoredisCommands(_Coredis):
    """`await client.get(key)`."""

    def get(self, key: str, /) -> Awaitable[object]:
        """Read one string."""
        return self._client.get(key)


class CoredisLocks(_Coredis):
    """`async with Lock(client, name, timeout=10)`: SET NX, asked again every 100 ms."""

    def hold(self, name: str, /) -> AbstractAsyncContextManager[object]:
        """Hold the lock while a block runs."""
        from coredis.patterns.lock import Lock

        return Lock(self._client, name, timeout=10.0)


SUBJECTS = (
    Subject(
        name="coredis",
        summary="coredis, an asyncio client that multiplexes",
        settings="coredis.Redis.from_url with its defaults; locks: timeout=10, otherwise defaults",
        roles={"commands": "CoredisCommands", "lock": "CoredisLocks"},
        module="coredis",
        requires="coredis",
        versions=("coredis",),
        group="bench-rivals",
    ),
)
