"""The client: one Redis, and everything that a process asks of it, over one connection.

Constructing does no I/O and binds no event loop, so a client may live at module level, as may
the caches made with it. `async with client:` binds the running loop until it closes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Self

import msgspec

from millpond.core.backends import Backend, Host, RedisBackend, Settings
from millpond.core.bridge import check_redis
from millpond.core.durations import seconds
from millpond.core.exchange import Exchange
from millpond.core.groups import pipelined, read_with_ttl
from millpond.core.inherited import Inherited, forget, remember
from millpond.core.journal import Invalidation, Journal
from millpond.core.keys import Keyspace
from millpond.core.link import Refusing
from millpond.core.loops import running_loop, stay_on
from millpond.core.opening import (
    COMMAND_TIMEOUT,
    CONNECT_TIMEOUT,
    MAX_INFLIGHT,
    backend_for,
    from_environment,
)
from millpond.core.slots import Retry, Told
from millpond.core.supervisor import Supervisor
from millpond.core.watch import Watch, Watches
from millpond.errors import ClosedError, ConfigError
from millpond.events import log_events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta
    from types import TracebackType

    from millpond.core.commands import Arg
    from millpond.core.link import Lane
    from millpond.core.scripts import Script
    from millpond.events import Event, Hook

__all__ = ["Client", "ClientStatistics"]

_log = logging.getLogger("millpond")


class ClientStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the client was opened."""

    batches: int  # writes to the socket
    commands: int
    mean_batch: float  # commands in a write
    in_flight: int  # commands that wait for a reply
    reconnects: int
    journal: int  # deletes that Redis has not acknowledged yet
    state: str  # "closed", "up", "down", "trial": see the page on outages


class Client:
    """Redis, shared by everything in this process that needs it.

    Commands issued in one turn of the event loop leave in one write; GETs of one key in one turn
    are one GET. A caller that is cancelled leaves its command's place in the queue, so no reply
    ever reaches another caller. When Redis is gone, every call fails at once with
    `BackendUnavailable` while reconnecting goes on; when it hangs, the calls in flight fail with
    `BackendTimeout` after `command_timeout`, and from then on at once.
    """

    def __init__(
        self, backend: Backend, *, prefix: str = "", hooks: Sequence[Hook] | None = None
    ) -> None:
        """Use `from_url`, `from_env` or `from_redis` instead."""
        self._backend = backend
        Keyspace(prefix, "check")  # a bad prefix is refused here, not at the first cache
        self._prefix = prefix
        self._hooks: tuple[Hook, ...] = (log_events,) if hooks is None else tuple(hooks)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Future[None] | None = None
        self.lane: Lane | None = None
        self._own_watches = Watches()
        self._watches = self._own_watches
        self._supervisor = Supervisor()
        self._journal = Journal(self.emit)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "",
        command_timeout: float | timedelta = COMMAND_TIMEOUT,
        connect_timeout: float | timedelta = CONNECT_TIMEOUT,
        name: str | None = None,
        max_inflight: int = MAX_INFLIGHT,
        hooks: Sequence[Hook] | None = None,
    ) -> Client:
        """Make a client for the server that a URL names; nothing is connected yet.

        Args:
            url: `redis://user:password@host:port/db`, `rediss://...` (TLS),
                `unix:///path/to.sock`, `memory://` (fakeredis in this process; `memory://name` is
                shared by the clients of that name), or `embedded://` (a private server, started
                when the client is opened). redis-py's options `socket_timeout`,
                `socket_connect_timeout`, `client_name` and `ssl_*` in the query are understood,
                and others are warned about.
            prefix: Begins every key, such as `"shop"` or `"shop:staging"`.
            command_timeout: Seconds of silence after which commands in flight fail.
            connect_timeout: Seconds for connecting and logging in.
            name: Shown by `CLIENT LIST`.
            max_inflight: Commands without a reply at once; more wait in order.
            hooks: Called with every event, in order; None: logging alone.

        Raises:
            ConfigError: An unknown scheme, a bad port, an option that cannot be, a missing extra.
        """
        backend = backend_for(
            url,
            command_timeout=command_timeout,
            connect_timeout=connect_timeout,
            name=name,
            max_inflight=max_inflight,
        )
        return cls(backend, prefix=prefix, hooks=hooks)

    @classmethod
    def from_env(
        cls,
        *,
        environ: Mapping[str, str] | None = None,
        hooks: Sequence[Hook] | None = None,
    ) -> Client:
        """Make a client from the environment.

        `MILLPOND_URL`, or `REDIS_URL`; then `MILLPOND_PREFIX`, `MILLPOND_COMMAND_TIMEOUT` and
        `MILLPOND_CONNECT_TIMEOUT` (seconds), `MILLPOND_NAME`, `MILLPOND_MAX_INFLIGHT`.

        Args:
            environ: Read instead of `os.environ`.
            hooks: As for `from_url`.

        Raises:
            ConfigError: No URL is set, or a number is none.
        """
        found = from_environment(os.environ if environ is None else environ)
        return cls.from_url(**found, hooks=hooks)

    @classmethod
    def from_redis(
        cls,
        redis: object,
        *,
        prefix: str = "",
        command_timeout: float | timedelta = COMMAND_TIMEOUT,
        hooks: Sequence[Hook] | None = None,
    ) -> Client:
        """Make a client that goes through a `redis.asyncio.Redis` you already have.

        Commands of one turn share one of its pipelines. There is no push, so waiting polls, and
        no circuit breaker, so an outage can cost every call `command_timeout`. The redis client
        stays yours to close.

        Raises:
            ConfigError: A client of another kind, or one with `decode_responses=True`.
        """
        backend = RedisBackend(
            check_redis(redis),
            Settings(
                command_timeout=seconds(command_timeout, "command_timeout"),
                connect_timeout=CONNECT_TIMEOUT,
                limit=MAX_INFLIGHT,
                name=None,
            ),
        )
        return cls(backend, prefix=prefix, hooks=hooks)

    # -- opening and closing ----------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Bind the running loop and connect.

        Redis being down is a WARNING, not an error: the application starts, and calls fail at
        once until the connection is made.

        Raises:
            ConfigError: What does not pass by itself: a wrong password, a server older than 6.2,
                a client that is already open.
        """
        loop = running_loop()
        if self._loop is not None and self._loop.is_closed():
            self._detach()  # that loop ended without closing the client
            self._own_watches.clear()
            self._journal.stranded()
        if self._loop is not None:
            where = "this event loop" if self._loop is loop else "another event loop"
            raise ConfigError(
                f"this client is already open on {where}; close it first, "
                "or make a client for each loop"
            )
        self._supervisor = Supervisor()
        self._watches = self._backend.watches(self._own_watches)
        self._loop = loop
        host = Host(
            supervisor=self._supervisor,
            watches=self._watches,
            on_lane=self._use,
            on_rewind=self._journal.rewound,
            emit=self.emit,
        )
        remember(self)
        try:
            await self._backend.open(host)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """End background work and the connection; the client may be opened again.

        Deletes that are on their way are waited for, a second at most. What else is in flight fails
        with `BackendUnavailable`. Closing a client that is not open, or whose event loop has ended,
        is harmless.

        Raises:
            ConfigError: It is open on another event loop, which still lives.
        """
        if self._loop is None or self._loop.is_closed():
            if self._loop is not None:
                self._journal.stranded()
            self._detach()
            return
        stay_on(self._loop)
        if self._closing is not None:  # somebody else is at it: be done when they are
            await asyncio.wait((self._closing,))
            return
        closing = self._closing = self._loop.create_future()
        forget(self)
        try:
            try:
                await self._journal.last_words()
            finally:
                await self._supervisor.aclose()
        finally:
            self.lane = None  # from here on nobody would be answered
            self._journal.disconnected()
            vars(self).pop("call", None)
            try:
                await self._backend.aclose()
            finally:
                self._detach()
                self._watches.wake_all()
                self._journal.closed()
                closing.set_result(None)

    def _use(self, lane: Lane) -> None:
        if self._loop is None:
            return
        self.lane = lane
        if isinstance(lane, Exchange):
            # The hottest path: an exchange's own function stands in for the method, which would
            # add a frame and a copy of the arguments to every command. It checks the loop itself.
            vars(self)["call"] = lane.issue
            lane.moved = partial(Client.call, self)  # for who keeps `call = client.call`
        else:
            vars(self).pop("call", None)
        if isinstance(lane, Refusing):
            self._journal.disconnected()
        else:
            self._journal.connected(lane)

    def forked(self) -> None:
        """Let go of a connection that belongs to the parent process."""
        self._detach()
        self._backend = Inherited(self._backend)

    def _detach(self) -> None:
        self._loop, self.lane, self._closing = None, None, None
        vars(self).pop("call", None)

    # -- commands ---------------------------------------------------------------------------

    def call(self, *args: Arg) -> asyncio.Future[Any]:
        """Send one command; awaiting the future gives its reply.

        The command is queued now and leaves at the end of this turn of the loop, with all others
        of the turn. Cancelling the future, or dropping it, does not take the command back, unless
        it still waits because `max_inflight` is reached.

        Args:
            args: The command and its arguments, as in redis-cli, each str, bytes, int or float.

        Returns:
            A future of the reply: bytes, int, None, list, dict, ... as Redis sends it (RESP3).

        Raises:
            ConfigError: A command that must not share a connection (SUBSCRIBE, BLPOP, MULTI, ...;
                the message names the alternative), an argument of another type, or another loop.
            ClosedError: The client is not open.
            ReplyError: From the future: Redis answered with an error.
            BackendUnavailable: From the future: no connection, or it was lost.
            BackendTimeout: From the future: no answer; whether the command ran is unknown.
        """
        if self.lane is None:
            self._misused()
        return self.lane.call(args)

    def pipeline(
        self,
        commands: Sequence[Sequence[Arg]],
        *,
        transaction: bool = False,
        return_errors: bool = False,
    ) -> asyncio.Future[list[Any]]:
        """Send commands that follow each other without a gap, in one round trip.

        Args:
            commands: Each a sequence of arguments, as for `call`.
            transaction: Wrap them in MULTI and EXEC, so that they run as one.
            return_errors: Put error replies into the list instead of raising the first.

        Returns:
            A future of the list of replies, in order.

        Raises:
            ConfigError: As for `call`; nothing is sent.
            ReplyError: From the future: the first error among the replies (the other commands
                ran nonetheless, unless in a transaction that Redis refused as a whole).
        """
        loop, lane = self._bound()
        return pipelined(loop, lane, commands, transaction=transaction, return_errors=return_errors)

    def run(
        self,
        script: Script,
        keys: Sequence[str] = (),
        args: Sequence[Arg] = (),
        tell: Callable[[Any], None] | None = None,
    ) -> asyncio.Future[Any]:
        """Run a Lua script: by its digest, and by its source where Redis does not know it.

        Where it does not, what was called after this and before the answer has run before it:
        await the future where the order matters.

        Args:
            script: The script.
            keys: Every key it touches; on a Cluster they share a slot.
            args: Its other arguments.
            tell: Called with the reply in the connection's callback, in the order of replies.

        Returns:
            A future of what the script returns; errors as for `call`.
        """
        loop, lane = self._loop, self.lane
        if loop is None or lane is None:
            self._misused()
        future = loop.create_future()
        slot = future if tell is None else Told(future, tell)
        command = ("EVALSHA", script.sha, len(keys), *keys, *args)
        # On the connection that does not know it, whatever calls use by then.
        lane.group((command,), (Retry(slot, lane, script, command),))
        return future

    def invalidate(self, invalidations: Sequence[Invalidation]) -> asyncio.Future[str]:
        """Have Redis forget something, now or as soon as it can be told.

        What is not acknowledged is kept, and sent again before anything else whenever a
        connection is there. Cancelling the future takes nothing back.

        Returns:
            A future, which never fails: `""` when Redis has acknowledged everything, or else the
            reason why it has not.

        Raises:
            ClosedError: The client is not open.
            ConfigError: Another event loop.
        """
        loop, lane = self._bound()
        return self._journal.send(loop, lane, invalidations)

    # -- watching ---------------------------------------------------------------------------

    def watch(self, key: str, *, before_read: Callable[[], None] | None = None) -> Watch:
        """Read a key and wait for its changes, without polling where Redis can push.

        `async with client.watch(key) as watch:` gives `watch.value` (bytes or None), `watch.ttl`
        (seconds or None) and `await watch.changed(timeout=...)`.

        Args:
            key: The Redis key, whole (`users.key(42)`).
            before_read: Called whenever a read of the key is handed to the connection.

        Raises:
            ConfigError: The key is no str.
        """
        return Watch(self, key, before_read)

    @property
    def watches(self) -> Watches:
        """Who waits for which key."""
        return self._watches

    @property
    def pushes(self) -> bool:
        """Whether changes of watched keys are pushed; otherwise watching polls."""
        return self._backend.pushes

    @property
    def run_id(self) -> str:
        """What the server calls itself until it is restarted; `""` where it does not say."""
        return self._backend.run_id

    def read_tracked(
        self, key: str, *, tell: Callable[[bytes | None, float | None], None] | None = None
    ) -> asyncio.Future[tuple[bytes | None, float | None]]:
        """Read a key and its remaining seconds, and have its next change announced.

        Args:
            key: The Redis key, whole.
            tell: Called with both in the connection's callback, in the order of replies and
                pushes; then nobody can cancel the read.

        Redis: CLIENT CACHING YES, GET and PTTL, contiguous: CACHING covers exactly the GET.
        """
        loop, lane = self._bound()
        return read_with_ttl(loop, lane, key, pushed=self._backend.tracks, tell=tell)

    # -- the rest ---------------------------------------------------------------------------

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return self._prefix

    @property
    def supervisor(self) -> Supervisor:
        """Where strategies run work that outlives their callers."""
        self._bound()
        return self._supervisor

    def emit(self, event: Event) -> None:
        """Tell the hooks; one that raises is logged and harms nobody."""
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:  # noqa: BLE001  (somebody else's code)
                _log.exception("the hook %r raised", hook)

    def statistics(self) -> ClientStatistics:
        """Counters since the client was opened."""
        counts = self._backend.counts()
        return ClientStatistics(
            batches=counts.batches,
            commands=counts.commands,
            mean_batch=counts.commands / counts.batches if counts.batches else 0.0,
            in_flight=counts.in_flight,
            reconnects=counts.reconnects,
            journal=len(self._journal),
            state=counts.state if self._loop is not None else "closed",
        )

    def replace_backend(self, backend: Backend) -> Backend:
        """Put another way to Redis under a client that is closed; give back the old one.

        Raises:
            ConfigError: The client is open.
        """
        if self._loop is not None:
            raise ConfigError("this client is open; override it before it is entered")
        old, self._backend = self._backend, backend
        return old

    @property
    def backend(self) -> Backend:
        """The way to Redis."""
        return self._backend

    def open_lane(self) -> Lane:
        """Return where calls go now.

        Raises:
            ClosedError: The client is not open.
        """
        return self._bound()[1]

    def _bound(self) -> tuple[asyncio.AbstractEventLoop, Lane]:
        if self._loop is None or self.lane is None:
            self._misused()
        return self._loop, self.lane  # that the loop is the running one, the lane checks

    def _misused(self) -> NoReturn:
        if isinstance(self._backend, Inherited):
            self._backend.refuse()
        if self._loop is None:
            raise ClosedError(
                "the client is not open: use it inside `async with client:` "
                "(in FastAPI: millpond.ext.fastapi.install(app, client))"
            )
        raise ClosedError("the client is being opened or closed")

    def __repr__(self) -> str:
        """Show the state."""
        return f"<millpond.Client {self.statistics().state}>"
