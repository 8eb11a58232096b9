"""Commands that leave together, and what their replies say as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millpond.core.commands import check
from millpond.core.slots import Collector, first_error, settle
from millpond.errors import BackendError, ConfigError, ReplyError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from millpond.core.commands import Arg
    from millpond.core.link import Lane

__all__ = ["pipelined", "read_with_ttl"]

_ABSENT = -2  # what PTTL says of a key that is not there


def pipelined(
    loop: asyncio.AbstractEventLoop,
    lane: Lane,
    commands: Sequence[Sequence[Arg]],
    *,
    transaction: bool,
    return_errors: bool,
) -> asyncio.Future[list[Any]]:
    """Queue commands that follow each other without a gap.

    Args:
        loop: The lane's.
        lane: Where they go.
        commands: Each a sequence of arguments.
        transaction: Wrap them in MULTI and EXEC.
        return_errors: Put error replies into the list instead of raising the first.

    Raises:
        ConfigError: One that must not share a connection; nothing is queued.
    """
    groups = _commands(commands)
    future: asyncio.Future[list[Any]] = loop.create_future()
    if not groups:
        future.set_result([])
        return future
    if transaction:
        groups = [("MULTI",), *groups, ("EXEC",)]

    def finish(replies: list[Any]) -> None:
        error = first_error(replies)
        if transaction and error is None:
            replies = replies[-1]
            error = first_error(replies)
        elif transaction and isinstance(replies[0], ReplyError):  # no MULTI: they ran singly
            settle(future, replies[0])
            return
        elif transaction:  # refused as a whole: what was queued was discarded
            replies = [r if isinstance(r, BackendError) else replies[-1] for r in replies[1:-1]]
        settle(future, error if error is not None and not return_errors else replies)

    count = len(groups)
    lane.group(groups, (Collector(count, finish, future),) * count)
    return future


def read_with_ttl(
    loop: asyncio.AbstractEventLoop,
    lane: Lane,
    key: str,
    *,
    pushed: bool,
    tell: Callable[[bytes | None, float | None], None] | None,
) -> asyncio.Future[tuple[bytes | None, float | None]]:
    """Queue a read of a key and its remaining seconds.

    Args:
        loop: The lane's.
        lane: Where it goes.
        key: The Redis key.
        pushed: Whether the server is to push the key's next change.
        tell: Called with both in the connection's callback; then nobody can cancel the read.
    """
    future: asyncio.Future[tuple[bytes | None, float | None]] = loop.create_future()

    def finish(replies: list[Any]) -> None:
        error = first_error(replies)
        if error is not None:
            settle(future, error)
            return
        value, left = replies[-2:]
        if left == _ABSENT:
            value = None  # it may have expired between the two
        seconds_left = left / 1000 if left >= 0 else None
        if tell is not None:
            tell(value, seconds_left)
        settle(future, (value, seconds_left))

    commands: list[tuple[Arg, ...]] = [("GET", key), ("PTTL", key)]
    if pushed:
        commands.insert(0, ("CLIENT", "CACHING", "YES"))
    count = len(commands)
    caller = future if tell is None else None
    lane.group(commands, (Collector(count, finish, caller),) * count)
    return future


def _commands(given: Iterable[Sequence[Arg]]) -> list[tuple[Arg, ...]]:
    """Check the commands of a pipeline, all before the first is queued."""
    commands: list[tuple[Arg, ...]] = []
    try:
        for args in given:
            if isinstance(args, str | bytes):
                raise ConfigError(f"a command is a tuple such as ('GET', key), not {args!r}")
            check(command := tuple(args))
            commands.append(command)
    except TypeError as error:
        raise ConfigError(
            f"a pipeline takes a list of commands such as [('GET', key)]: {error}"
        ) from error
    return commands
