"""Somebody else's `redis.asyncio` client as the way to Redis: fakeredis, or one already open.

Commands of one turn of the loop go through one pipeline of that client, one pipeline at a time,
so they run in the order of the calls. There is no push here and no circuit breaker: every call
of an outage may cost `command_timeout`, on top of what that client's own retries do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from millpond.core.commands import Arg, check, empties, is_read
from millpond.core.exchange import pack
from millpond.core.futures import refuse
from millpond.core.loops import stay_on
from millpond.core.replies import refine
from millpond.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ClosedError,
    ConfigError,
    ReplyError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from millpond.core.slots import Slot
    from millpond.core.supervisor import Supervisor

__all__ = ["Bridge", "check_redis"]

_Group = tuple[tuple[tuple[Arg, ...], ...], tuple["Slot", ...]]


def check_redis(redis: object) -> Redis:
    """Accept a client that the bridge can serve.

    Raises:
        ConfigError: Another library's client, a synchronous one, a cluster, or one that decodes.
    """
    if not isinstance(redis, Redis):
        raise ConfigError(
            "Client.from_redis takes a redis.asyncio.Redis (or fakeredis.FakeAsyncRedis), not "
            f"{type(redis).__module__}.{type(redis).__qualname__}; for a RedisCluster there is no "
            "support yet, for a synchronous client use Client.from_url with the same URL"
        )
    options = redis.connection_pool.connection_kwargs
    if options.get("decode_responses"):
        raise ConfigError(
            "this redis client has decode_responses=True, which would garble binary entries; "
            "give millpond one without it, or use Client.from_url with the same URL"
        )
    return redis


class Bridge:
    """A lane over a redis-py client's pipelines."""

    def __init__(
        self,
        redis: Redis,
        supervisor: Supervisor,
        *,
        timeout: float,
        touched: Callable[[Iterable[bytes]], None],
        emptied: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            redis: The client; it stays its owner's to close.
            supervisor: Runs the pipelines.
            timeout: Seconds for one pipeline.
            touched: Told the arguments of commands that may have changed keys.
            emptied: Told of commands that may have changed any key.
        """
        self._pool = redis.connection_pool
        self._supervisor = supervisor
        self._timeout = timeout
        self._touched = touched
        self._emptied = emptied
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Group] = deque()
        self._pump_task: asyncio.Task[None] | None = None  # the only one that runs pipelines
        self._piped = 0
        self.batches = 0
        self.commands = 0

    @property
    def in_flight(self) -> int:
        """How many commands wait for a reply, or for their turn."""
        return self._piped + sum(len(slots) for _, slots in self._queue)

    @property
    def queued(self) -> int:
        """How many commands have been given to a pipeline, or will be to the next."""
        return self.commands + sum(len(slots) for _, slots in self._queue)

    def get(self, key: str) -> asyncio.Future[Any]:
        """Queue a GET."""
        return self.call(("GET", key))

    def call(self, args: tuple[Arg, ...]) -> asyncio.Future[Any]:
        """Queue one command."""
        check(args)
        future = self._loop.create_future()
        self.group([args], (future,))
        return future

    def group(self, commands: Sequence[tuple[Arg, ...]], slots: tuple[Slot, ...]) -> None:
        """Queue commands that belong together."""
        stay_on(self._loop)
        for args in commands:
            pack(args)  # the same arguments are refused on every way to Redis
        self._queue.append((tuple(commands), slots))
        if self._pump_task is None:
            try:
                self._pump_task = self._supervisor.start(self._pump(), name="millpond bridge")
            except ClosedError:
                self._queue.clear()
                raise
            self._pump_task.add_done_callback(self._pumped)

    async def _pump(self) -> None:
        while self._queue:
            groups = list(self._queue)
            self._queue.clear()
            await self._run(groups)
        # In the same turn in which the queue was found empty: who calls next starts another.
        self._pump_task = None

    def _pumped(self, pump: asyncio.Task[None]) -> None:
        """Fail what is left, if the pump was cancelled, perhaps before its first step."""
        if not pump.cancelled() and pump.exception() is None:
            return
        self._pump_task = None
        groups = list(self._queue)
        self._queue.clear()  # whoever is told may ask for something more
        for _, slots in groups:
            refuse(slots, BackendUnavailable("the client was closed, or failed; nothing was sent"))

    async def _run(self, groups: list[_Group]) -> None:
        commands = [args for group, _ in groups for args in group]
        slots = [slot for _, places in groups for slot in places]
        self.batches += 1
        self.commands += len(commands)
        self._piped = len(slots)
        pipeline: Any = Pipeline(self._pool, {}, False, None)
        for name, *rest in commands:
            # Text is encoded here: the client may have been given another encoding.
            words = [word.encode() if isinstance(word, str) else word for word in rest]
            pipeline.execute_command(name, *words)
        try:
            async with asyncio.timeout(self._timeout):
                replies = await pipeline.execute(raise_on_error=False)
        except (TimeoutError, redis_errors.TimeoutError):
            text = f"no answer within {self._timeout:g} s; whether the command ran is unknown"
            refuse(slots, BackendTimeout(text))
        except (redis_errors.RedisError, OSError) as error:
            refuse(slots, BackendUnavailable(f"{error}; whether the command ran is unknown"))
        except BaseException:  # closing, or a surprise in that client: nobody else will answer
            refuse(slots, BackendUnavailable("the client was closed, or failed"))
            raise
        else:
            self._answer(commands, slots, replies)
        finally:
            self._piped = 0

    def _answer(
        self, commands: list[tuple[Arg, ...]], slots: list[Slot], replies: list[Any]
    ) -> None:
        for slot, reply in zip(slots, replies, strict=True):
            if slot.done():
                continue
            answer = _mapped(reply)
            if isinstance(answer, BackendError):
                slot.set_exception(answer)
            else:
                slot.set_result(answer)
        written = [args for args in commands if not is_read(args[0])]
        if any(empties(args[0]) for args in written):
            self._emptied()
        elif written:
            self._touched(_bytes(word) for args in written for word in args[1:])


_CODES: tuple[tuple[type[redis_errors.RedisError], str], ...] = (
    (redis_errors.NoScriptError, "NOSCRIPT"),
    (redis_errors.ExecAbortError, "EXECABORT"),
    (redis_errors.OutOfMemoryError, "OOM"),
    (redis_errors.MasterDownError, "MASTERDOWN"),
    (redis_errors.ClusterDownError, "CLUSTERDOWN"),
    (redis_errors.NoPermissionError, "NOPERM"),
    (redis_errors.ReadOnlyError, "READONLY"),
    (redis_errors.BusyLoadingError, "LOADING"),
)


def _bytes(word: Arg) -> bytes:
    """Write an argument as it goes to the server."""
    if isinstance(word, bytes):
        return word
    return (word if isinstance(word, str) else repr(word)).encode()


def _mapped(reply: Any) -> Any:
    """Give the errors in a reply, which redis-py has stripped of their codes, those of the wire."""
    if isinstance(reply, list):  # what EXEC gives, or a script
        return [_mapped(part) for part in cast("list[Any]", reply)]
    return _error(reply) if isinstance(reply, redis_errors.RedisError) else reply


def _error(error: redis_errors.RedisError) -> BackendError:
    text = str(error)
    if isinstance(error, redis_errors.ConnectionError) and not isinstance(
        error, redis_errors.BusyLoadingError
    ):
        return BackendUnavailable(text)
    code = next((code for kind, code in _CODES if isinstance(error, kind)), "ERR")
    if not text.split(" ", 1)[0].isupper():
        text = f"{code} {text}"
    return refine(ReplyError(text))
