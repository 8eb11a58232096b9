"""What tests of the cache share: a slow source of truth, and the processes that load from it.

A `Member` is to the protocol what a process is: a client with a connection of its own and a cache
with a table of flights of its own. Several in one event loop can be stepped exactly; real
processes are for what only those can show (`tests/properties`, `tests/faults`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from millpond import Cache, Client
from millpond.core.entry import new_generation, pack_value
from millpond.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from millpond import CachePolicy
    from millpond.events import Event

__all__ = [
    "Member",
    "Source",
    "ask",
    "at_rest",
    "made_stale",
    "put_value",
    "refreshing",
    "until",
]

T = TypeVar("T")
E = TypeVar("E", bound="Event")

_PATIENCE = 10.0  # seconds after which something that was waited for will not come


async def until(true: Callable[[], object], seconds: float = _PATIENCE) -> None:
    """Let the event loop turn until something is true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.0005)


async def put_value(member: Member[Any], value: Any, *, ago_ms: int = 0, **header: Any) -> None:
    """Put under key 1 what a process stored some milliseconds ago.

    Args:
        member: Whose cache it is of.
        value: What is stored.
        ago_ms: When it was created.
        header: Other fields, as `pack_value` takes them: `soft_ms`, `refresh_ms`, `load_ms`.
    """
    store: Any = member.cache._store  # pyright: ignore[reportPrivateUsage]
    raw = pack_value(
        new_generation(),
        store.version,
        store.fingerprint,
        store.encode(value),
        created_ms=time.time_ns() // 1_000_000 - ago_ms,
        era=(await store.versions.current((), 60_000)).era,
        **header,
    )
    await member.client.call("SET", member.cache.key(1), raw, "PX", 60_000)


def ask(member: Member[T], load: Callable[[], Awaitable[T]], key: int = 1) -> asyncio.Task[T]:
    """Call `get_or_set` in a task of its own."""
    return asyncio.create_task(member.cache.get_or_set(key, load))


class Source(Generic[T]):
    """A row in a database, and the loader that reads it: first it reads, then it takes its time.

    Attributes:
        value: The row; assigning to it commits.
        calls: How often it was loaded.
        running: Loads under way.
        most: The most loads that ever ran at once.
    """

    def __init__(self, value: T, *, held: bool = False) -> None:
        """Begin with a row; `held` loads wait for `release` after reading it."""
        self.value = value
        self.calls = self.running = self.most = 0
        self._gate = asyncio.Event()
        if not held:
            self._gate.set()

    async def load(self) -> T:
        """Read the row, and return it once the gate is open."""
        value = self.value
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self._gate.wait()
        finally:
            self.running -= 1
        return value

    def hold(self) -> None:
        """Hold the loads that come."""
        self._gate.clear()

    def release(self) -> None:
        """Let them all go, those to come as well."""
        self._gate.set()

    async def called(self, times: int = 1) -> None:
        """Wait until it was loaded so often, in all."""
        await until(lambda: self.calls >= times)


class Member(Generic[T]):
    """What one process has, opened by `async with`.

    Args:
        url: Its way to Redis.
        ttl, type, version, policy: The cache's, whose namespace is `n`.
        client: Options of the client.

    Attributes:
        client, cache: Its own.
        events: All that was told, in order.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: float = 60,
        type: Any = int,  # as the cache calls it
        version: int = 0,
        policy: CachePolicy | None = None,
        **client: Any,
    ) -> None:
        """Make client and cache; nothing is connected."""
        self.events: list[Event] = []
        self.client = Client.from_url(url, prefix="t", hooks=[self.events.append], **client)
        self.cache: Cache[T] = Cache(
            self.client, "n", ttl=ttl, type=type, version=version, policy=policy
        )

    async def in_no_era(self) -> None:
        """Have the namespace's version be that of entries that a test packs without one."""
        await self.client.call("SET", "t:n:{}era", bytes(12), "PX", 600_000)

    def told(self, kind: type[E]) -> list[E]:
        """List the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def joined(self, callers: int) -> None:
        """Wait until so many calls, in all, have missed; a call that misses joins in that turn."""
        await until(lambda: self.cache.statistics().misses >= callers)

    async def waiting(self) -> None:
        """Wait until a flight has read the lease of another process, and watches it."""
        await until(lambda: len(self.client.watches) and not self.client.statistics().in_flight)

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


async def at_rest(*members: Member[Any]) -> None:
    """Wait until nobody loads, and what was loaded is stored."""
    await until(lambda: not any(member.cache.statistics().flights for member in members))
    for member in members:
        with suppress(BackendError):  # it is gone, and nothing is on its way any more
            await member.client.call("PING")  # a flight ends as its fill leaves


async def made_stale(member: Member[int], source: Source[int] | None = None) -> Source[int]:
    """Have a value loaded, from a new source if none is given, and then a newer one in it."""
    source = source or Source(1)
    assert await ask(member, source.load) == source.value
    source.value += 1
    assert await member.cache.expire(1)
    return source


async def refreshing(member: Member[int], *, by: Member[int] | None = None) -> Source[int]:
    """Have a value made stale and served, by another process perhaps, whose refresh is held."""
    source = await made_stale(member)
    source.hold()
    assert await ask(by or member, source.load) == 1
    await source.called(2)
    return source
