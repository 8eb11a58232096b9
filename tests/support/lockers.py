"""What tests of locks share: members that stand for processes, and cancelling at a chosen await."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from millpond import Client
from millpond.lock.locks import Locks

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from types import TracebackType

    from millpond.events import Event

__all__ = ["Locker", "cancel_at"]

T = TypeVar("T")
E = TypeVar("E", bound="Event")


class Locker:
    """A client with a connection of its own, and its locks: to Redis, a process.

    Attributes:
        client, locks: Its own; the namespace is `n`, the prefix `t`.
        events: All that was told, in order.
    """

    def __init__(self, url: str, *, lease: float = 10.0, **client: Any) -> None:
        """Make client and locks; nothing is connected."""
        self.events: list[Event] = []
        self.client = Client.from_url(url, prefix="t", hooks=[self.events.append], **client)
        self.locks = Locks(self.client, "n", lease=lease)

    def told(self, kind: type[E]) -> list[E]:
        """List the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def token(self, name: str) -> bytes | None:
        """Read what is under a lock's key."""
        return await self.client.call("GET", self.locks.key(name))

    async def __aenter__(self) -> Self:
        """Open the client."""
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.client.aclose()


def _cancel(task: asyncio.Task[Any], _future: asyncio.Future[Any]) -> None:
    task.cancel()


class _Cancelling:
    def __init__(self, work: Coroutine[Any, Any, Any], step: int, *, answered: bool) -> None:
        self.work = work
        self.step = step
        self.answered = answered
        self.struck = False

    def __await__(self) -> Generator[Any, None, Any]:
        task = asyncio.current_task()
        assert task is not None
        inner = self.work.__await__()
        error: BaseException | None = None
        steps = 0
        while True:
            try:
                waited_for: Any = next(inner) if error is None else inner.throw(error)
            except StopIteration as stop:
                return stop.value
            error = None
            steps += 1
            if steps == self.step:
                self.struck = True
                if self.answered and waited_for is not None:
                    waited_for.add_done_callback(partial(_cancel, task))
                else:
                    task.cancel()
            try:
                yield waited_for
            except BaseException as thrown:  # noqa: BLE001
                error = thrown


async def cancel_at(
    step: int, work: Coroutine[Any, Any, Any], *, answered: bool = False
) -> tuple[bool, BaseException | None]:
    """Run `work` in a task that is cancelled at its n-th await.

    Args:
        step: Counted from 1.
        work: The coroutine.
        answered: Cancel in the turn in which what is awaited has its result already, instead of
            before.

    Returns:
        Whether there was such an await, and how the task ended.
    """
    cancelling = _Cancelling(work, step, answered=answered)

    async def run() -> Any:
        return await cancelling

    task = asyncio.create_task(run())
    (end,) = await asyncio.gather(task, return_exceptions=True)
    return cancelling.struck, end if isinstance(end, BaseException) else None
