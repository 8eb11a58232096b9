"""The only place where millpond's tasks are born.

A task started here is named, strongly held until it ends, and its exception is consumed. All are
joined when the supervisor closes, so no task outlives the client that needed it.

An anyio task group would not do: entered in `__aenter__` and left in `__aexit__`, it must be
left by the task that entered it, which fixtures and application hooks do not promise.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from millpond.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Supervisor"]

_log = logging.getLogger("millpond")
T = TypeVar("T")


class Supervisor:
    """Own background tasks of one event loop."""

    __slots__ = ("_closed", "_tasks")

    def __init__(self) -> None:
        """Start with nothing to do."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether everything was cancelled, and nothing begins any more."""
        return self._closed

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run `work` as a task of its own.

        An exception that nobody expected is logged; cancelling the caller does not reach the
        task.

        Raises:
            ClosedError: The supervisor is closed; `work` is closed unrun.
        """
        if self._closed:
            work.close()
            raise ClosedError("the client is being closed")
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("millpond task %r failed", task.get_name(), exc_info=error)

    async def aclose(self, *, grace: float = 5.0) -> None:
        """Cancel every task and wait for their ends; more than once is harmless.

        Args:
            grace: Seconds after which tasks that resist being cancelled are left behind, with an
                error in the log: a loader that swallows cancellation must not hold up a shutdown.
        """
        self._closed = True
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        _, resisting = await asyncio.wait(tasks, timeout=grace)
        for task in resisting:
            _log.error("millpond task %r does not end when cancelled; left behind", task.get_name())
