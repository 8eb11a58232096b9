"""What stands in the reply queue besides plain futures.

A slot has the three methods by which a reply is delivered, so that the queue needs to know only
one way to answer. Everything here runs inside the connection's read callback: it must be quick
and must not raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from millpond.core.futures import refuse
from millpond.errors import BackendError, ReplyError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from millpond.core.commands import Arg
    from millpond.core.link import Lane
    from millpond.core.scripts import Script

__all__ = ["Collector", "Retry", "Shared", "Slot", "Told", "settle"]


class Slot(Protocol):
    """One place in the queue of replies."""

    def done(self) -> bool:
        """Tell whether a reply would be dropped."""
        ...

    def set_result(self, result: Any, /) -> None:
        """Take the reply; once done, drop it, or raise `asyncio.InvalidStateError`."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Take an error reply, or the loss of the connection."""
        ...


def settle(future: Slot, reply: Any) -> None:
    """Give a future its reply, unless its caller has gone."""
    if not future.done():
        if isinstance(reply, BaseException):
            future.set_exception(reply)
        else:
            future.set_result(reply)


class Shared:
    """One GET, asked for by several callers in one turn of the loop; each may leave alone."""

    __slots__ = ("_futures",)

    def __init__(self, first: Any, second: asyncio.Future[Any]) -> None:
        """Take the first two callers."""
        self._futures: list[asyncio.Future[Any]] = [first, second]

    def join(self, future: asyncio.Future[Any]) -> None:
        """Add a caller."""
        self._futures.append(future)

    def done(self) -> bool:
        """Never: the command is in the queue, with or without callers."""
        return False

    def set_result(self, result: Any, /) -> None:
        """Give every caller the reply."""
        for future in self._futures:
            if not future.done():
                future.set_result(result)

    def set_exception(self, exception: BaseException, /) -> None:
        """Give every caller an error of its own, so that no traceback is shared."""
        refuse(self._futures, exception)


class Collector:
    """The replies of commands that were given together, handed over when the last is in."""

    __slots__ = ("_caller", "_finish", "_left", "_replies")

    def __init__(
        self,
        count: int,
        finish: Callable[[list[Any]], None],
        caller: asyncio.Future[Any] | None = None,
    ) -> None:
        """Expect `count` replies; `finish` gets them, error replies as exceptions.

        Once `caller` is done, by being cancelled, nobody is interested any more.
        """
        self._caller = caller
        self._left = count
        self._replies: list[Any] = []
        self._finish = finish

    def done(self) -> bool:
        """Tell whether the caller has gone."""
        return self._caller is not None and self._caller.done()

    def set_result(self, result: Any, /) -> None:
        """Add a reply."""
        if self.done():
            return
        self._replies.append(result)
        self._left -= 1
        if not self._left:
            self._finish(self._replies)

    def set_exception(self, exception: BaseException, /) -> None:
        """Add an error in its place."""
        self.set_result(exception)


class Told:
    """A future's place in the queue, whose reply is told in its turn, before any task wakes."""

    __slots__ = ("_future", "_tell")

    def __init__(self, future: asyncio.Future[Any], tell: Callable[[Any], None]) -> None:
        """Call `tell` with a reply that is no error, then resolve `future`."""
        self._future = future
        self._tell = tell

    def done(self) -> bool:
        """Tell whether the caller has gone."""
        return self._future.done()

    def set_result(self, result: Any, /) -> None:
        """Tell, and resolve."""
        if self._future.done():
            return
        self._tell(result)
        self._future.set_result(result)

    def set_exception(self, exception: BaseException, /) -> None:
        """Pass on an error."""
        self._future.set_exception(exception)


class Retry:
    """An EVALSHA that is followed by an EVAL if, and only if, the server has run nothing.

    Attributes:
        set_result: Resolves the caller's future, by its own method: every script's answer passes
            here.
    """

    __slots__ = ("_command", "_future", "_lane", "_script", "set_result")

    def __init__(self, future: Slot, lane: Lane, script: Script, command: tuple[Arg, ...]) -> None:
        """Resolve `future`, or send the source in place of the digest over `lane` on NOSCRIPT."""
        self._future = future
        self.set_result = future.set_result
        self._lane = lane
        self._script = script
        self._command = command

    def done(self) -> bool:
        """Tell whether the caller has gone."""
        return self._future.done()

    def set_exception(self, exception: BaseException, /) -> None:
        """Send the source on NOSCRIPT; pass on anything else."""
        if isinstance(exception, ReplyError) and exception.code == "NOSCRIPT":
            by_source = ("EVAL", self._script.source, *self._command[2:])
            self._lane.group((by_source,), (self._future,))
        else:
            settle(self._future, exception)


def first_error(replies: list[Any]) -> BackendError | None:
    """Find the first error among the replies of a group."""
    return next((reply for reply in replies if isinstance(reply, BackendError)), None)
