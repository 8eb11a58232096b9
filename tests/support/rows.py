"""A table in a database, and the loader that reads many of its rows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tests.support.fleet import until

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Rows"]

T = TypeVar("T")


class Rows(Generic[T]):
    """Rows by id, and the loader that reads some of them: first it reads, then it takes its time.

    Attributes:
        rows: The table; assigning commits. An exception is raised for its key alone.
        calls: The keys of every call, in order.
        running: Calls under way.
        most: The most loads of any one key that ever ran at once.
    """

    def __init__(self, rows: Mapping[Any, T | Exception], *, held: bool = False) -> None:
        """Begin with rows; `held` loads wait for `release` after reading."""
        self.rows: dict[Any, T | Exception] = dict(rows)
        self.calls: list[list[Any]] = []
        self.running: dict[Any, int] = {}
        self.most = 0
        self._gate = asyncio.Event()
        if not held:
            self._gate.set()

    async def load(self, keys: list[Any]) -> dict[Any, T | Exception]:
        """Read the rows that there are, and return them once the gate is open."""
        found = {key: self.rows[key] for key in keys if key in self.rows}
        self.calls.append(keys)
        for key in keys:
            self.running[key] = self.running.get(key, 0) + 1
            self.most = max(self.most, self.running[key])
        try:
            await self._gate.wait()
        finally:
            for key in keys:
                self.running[key] -= 1
        return found

    def hold(self) -> None:
        """Hold the loads that come."""
        self._gate.clear()

    def release(self) -> None:
        """Let them all go, those to come as well."""
        self._gate.set()

    async def called(self, times: int = 1) -> None:
        """Wait until it was called so often, in all."""
        await until(lambda: len(self.calls) >= times)
