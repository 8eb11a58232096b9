"""The ways to Redis that a client can be opened on, behind one small interface.

A backend is made without I/O and may be opened again after it was closed, on another event loop
too; everything that belongs to a loop is made in `open`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec
from redis import exceptions as redis_errors

from millpond.core.address import Address
from millpond.core.bridge import Bridge
from millpond.core.embedded import EmbeddedServer
from millpond.core.link import Link
from millpond.errors import ConfigError
from millpond.events import WireDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from millpond.core.link import Lane
    from millpond.core.memory import MemoryServer
    from millpond.core.supervisor import Supervisor
    from millpond.core.watch import Watches
    from millpond.events import Event

__all__ = [
    "Backend",
    "Counts",
    "EmbeddedBackend",
    "Host",
    "MemoryBackend",
    "RedisBackend",
    "Settings",
    "WireBackend",
]


# Seconds: redis-py repeats a refused log-in for four before it says so.
_FIRST_ANSWER = 6.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How patient and how greedy a connection is."""

    command_timeout: float
    connect_timeout: float
    limit: int
    name: str | None


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend needs of the client that opens it."""

    supervisor: Supervisor
    watches: Watches
    on_lane: Callable[[Lane], None]
    on_rewind: Callable[[], None]
    emit: Callable[[Event], None]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What has gone through."""

    batches: int = 0
    commands: int = 0
    in_flight: int = 0
    reconnects: int = 0
    state: str = "closed"


class Backend(Protocol):
    """A way to Redis."""

    @property
    def pushes(self) -> bool:
        """Whether watchers are told of changes; otherwise they must ask."""
        ...

    @property
    def tracks(self) -> bool:
        """Whether a read must ask for tracking (`CLIENT CACHING YES`) to be told."""
        ...

    @property
    def run_id(self) -> str:
        """What the server calls itself until it is restarted; `""` where it does not say."""
        ...

    def watches(self, own: Watches) -> Watches:
        """Choose where changes are announced: the client's own watches, or shared ones."""
        ...

    async def open(self, host: Host) -> None:
        """Bind the running loop and try to connect; Redis being down is no error."""
        ...

    async def aclose(self) -> None:
        """Let go of everything that belongs to the loop."""
        ...

    def counts(self) -> Counts:
        """Tell what has gone through since it was opened."""
        ...


class WireBackend:
    """A server reached by our own connection."""

    def __init__(self, address: Address, settings: Settings) -> None:
        """Remember where and how."""
        self._address = address
        self._settings = settings
        self._link: Link | None = None

    @property
    def pushes(self) -> bool:
        """As the server allows."""
        greeting = self._link.greeting if self._link is not None else None
        return greeting is None or greeting.push

    @property
    def tracks(self) -> bool:
        """As the server allows."""
        return self.pushes

    @property
    def run_id(self) -> str:
        """As the server said when it was greeted."""
        greeting = self._link.greeting if self._link is not None else None
        return "" if greeting is None else greeting.run_id

    def watches(self, own: Watches) -> Watches:
        """The client's own: pushes come to this connection."""
        return own

    async def open(self, host: Host) -> None:
        """Connect, or go on trying."""
        settings = self._settings
        self._link = Link(
            self._address,
            host.supervisor,
            command_timeout=settings.command_timeout,
            connect_timeout=settings.connect_timeout,
            limit=settings.limit,
            name=settings.name,
            on_push=host.watches.pushed,
            on_gap=host.watches.wake_all,
            on_lane=host.on_lane,
            on_rewind=host.on_rewind,
            emit=host.emit,
        )
        await self._link.open()

    async def aclose(self) -> None:
        """Drop the connection."""
        if self._link is not None:
            await self._link.aclose()

    def counts(self) -> Counts:
        """The link's counters."""
        if self._link is None:
            return Counts()
        batches, commands, in_flight = self._link.counts
        return Counts(
            batches=batches,
            commands=commands,
            in_flight=in_flight,
            reconnects=max(0, self._link.reconnects),
            state=self._link.state,
        )


class EmbeddedBackend(WireBackend):
    """A private server, started on opening and stopped on closing."""

    def __init__(self, settings: Settings) -> None:
        """Remember how."""
        super().__init__(Address(), settings)
        self._server: EmbeddedServer | None = None

    async def open(self, host: Host) -> None:
        """Start the server, then connect to its socket."""
        server = self._server = await asyncio.to_thread(EmbeddedServer.start)
        self._address = Address(path=str(server.socket_path))
        await super().open(host)

    async def aclose(self) -> None:
        """Drop the connection, then stop the server."""
        await super().aclose()
        if self._server is not None:
            server, self._server = self._server, None
            await asyncio.to_thread(server.stop)


class RedisBackend:
    """A client that somebody else made and will close."""

    pushes = False
    tracks = False
    run_id = ""  # whom the client leads to may change without a word

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Remember the client."""
        self._redis = redis
        self._settings = settings
        self._bridge: Bridge | None = None

    def watches(self, own: Watches) -> Watches:
        """The client's own; nothing is announced, so its watchers ask."""
        return own

    async def open(self, host: Host) -> None:
        """Make sure that somebody answers, or say that nobody does."""
        self._bridge = Bridge(
            self._redis,
            host.supervisor,
            timeout=self._settings.command_timeout,
            touched=host.watches.wake,
            emptied=host.watches.wake_all,
        )
        host.on_lane(self._bridge)
        try:
            async with asyncio.timeout(_FIRST_ANSWER):
                await cast("Any", self._redis).execute_command("PING")
        except redis_errors.AuthenticationError as error:
            raise ConfigError(
                f"Redis at {_where(self._redis)} refused the redis client's user name or "
                "password; check the URL or the arguments that it was made with"
            ) from error
        except (redis_errors.RedisError, OSError) as error:  # a time-out is an OSError
            reason = str(error) or f"no answer within {_FIRST_ANSWER:g} s"
            host.emit(WireDown(address=_where(self._redis), reason=reason))

    async def aclose(self) -> None:
        """Let go; the client stays its owner's to close."""

    def counts(self) -> Counts:
        """The bridge's counters."""
        bridge = self._bridge
        if bridge is None:
            return Counts()
        return Counts(
            batches=bridge.batches,
            commands=bridge.commands,
            in_flight=bridge.in_flight,
            state="up",
        )


class MemoryBackend(RedisBackend):
    """fakeredis in this process, on which changes announce themselves."""

    pushes = True
    run_id = "memory"

    def __init__(self, server: MemoryServer, settings: Settings) -> None:
        """Remember the server; its client is made anew for each loop."""
        self._server = server
        self._settings = settings
        self._bridge = None
        self._redis: Any = None

    def watches(self, own: Watches) -> Watches:  # noqa: ARG002
        """Those of the server, so that clients that share it wake each other."""
        return self._server.watches

    async def open(self, host: Host) -> None:
        """Connect to the fake server."""
        self._redis = self._server.connect()
        await super().open(host)

    async def aclose(self) -> None:
        """Close the fake client."""
        if self._redis is not None:
            await self._redis.aclose()


def _where(redis: Redis) -> str:
    """Show where a client leads; its own `repr` has, in some releases, the password in it."""
    options = redis.connection_pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")
