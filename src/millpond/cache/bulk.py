"""One call of a loader for many keys, each of them a flight of its own.

Nothing here is a protocol beside that of `flight.py`. Every missing key has its flight, with its
claim, its lease, its fill by compare-and-set and its cut; only the loader of these flights is
another: it asks for the key's **share** of a call that they make together. Whoever asks the cache
for one of these keys alone joins its flight, as any other.

What must stay true, beside what holds for every flight:

1. *A call is made as soon as each flight knows whether it loads*: it has claimed its key and asks,
   or it waits for the lease of another process, or it has landed. None of these waits for anybody's
   load, so a call never does, and two calls with some keys in common cannot wait for each other:
       A claims 1, B claims 2; A's flight for 2 and B's for 1 find leases, and wait; both call their
       loaders, for one key each, and fill; both are pushed awake.
2. Flights that waited, and found that the other's load came to nothing, ask again, all that come
   back at about the same time in one call.
3. The call is a load: what it asks the cache for, and can only come from its own keys, is a
   deadlock, and an error (`waiting.py`). It runs on its own. Each flight has its `load_timeout`,
   and so has the call, so that it ends with them.
4. *A key of which the loader says nothing has no value.* The lease is given up, so that whoever
   waits for it in another process loads for himself. That there is none goes, as a value that was
   not stored does, to those who joined before the load, if they ask for many and can be told so;
   all others start over. Of a value that was being refreshed only the claim is given up: it stays
   for as long as it would have, and who reads it next has it asked for again.
5. Values that are served and due (`stale.py`) are refreshed by a call of their own: who waits for
   what is missing does not wait for them as well.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

from millpond.cache.flight import Flight
from millpond.cache.landing import StartOver
from millpond.cache.reload import Reload
from millpond.cache.stale import Refresh
from millpond.cache.waiting import Waiter, current
from millpond.core.keys import Key
from millpond.errors import ClosedError, ConfigError, LoadTimeout, MillpondError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from millpond.cache.captured import Captured
    from millpond.cache.decision import Verdict
    from millpond.cache.loaded import Loaded
    from millpond.cache.store import Store

__all__ = [
    "NOTHING",
    "BulkFlight",
    "BulkRefresh",
    "BulkReload",
    "LoadMany",
    "Loads",
    "called",
    "dealt",
]

T = TypeVar("T")
K = TypeVar("K", bound=Key)

LoadMany: TypeAlias = "Callable[[list[K]], Awaitable[Mapping[K, T | Loaded[T] | Exception]]]"
"""A loader of many: from a list of keys to the values that there are, or why there is none."""


class _NoValue(Exception):
    """The loader has no value for a key."""


class _Nothing(StartOver):
    """The answer to those who can be told that there is no value."""


NOTHING = _Nothing()


class BulkFlight(Flight[T], Generic[T]):
    """A flight whose loader is a share of a call for many keys.

    Attributes:
        loaded: Whether the call brought a value.
        stored: Whether Redis has it.
    """

    __slots__ = ("_before_load", "_loads", "loaded", "stored")

    def __init__(
        self,
        loads: Loads[Any, T],
        key: str,
        *,
        ttl: int | None,
        verdict: Verdict,
        tags: tuple[str, ...] = (),
    ) -> None:
        """Prepare, as any flight; `loads` makes the calls."""
        super().__init__(loads.store, key, self._share, ttl=ttl, verdict=verdict, tags=tags)
        self._loads = loads
        self._before_load = 0
        self.loaded = False
        self.stored = False
        loads.undecided.add(key)

    async def _share(self) -> T:
        self._before_load = len(self._callers)
        call = self._loads.ask(self._key)
        self.wait_for(call)
        try:
            value: T = await call.share(self._key)
        finally:
            self.waited_for(call)
        self.loaded = True
        return value

    def ended(self, task: asyncio.Task[None]) -> None:
        """Hold up no call any more."""
        self._loads.decided(self._key)
        super().ended(task)

    async def _follow(self, verdict: Verdict, give_up: float) -> Verdict | None:
        self._loads.decided(self._key)
        try:
            return await super()._follow(verdict, give_up)
        finally:
            self._loads.undecided.add(self._key)

    async def _fill(self, generation: bytes, entry: bytes, ttl: int, captured: Captured) -> bool:
        self.stored = await super()._fill(generation, entry, ttl, captured)
        return self.stored

    async def _tell_failed(
        self,
        generation: bytes,
        error: Exception,
        took: float,
        captured: Captured,
        kept: Verdict | None,
    ) -> None:
        if isinstance(error, _NoValue):
            self._store.release(self._key, generation)
        else:
            await super()._tell_failed(generation, error, took, captured, kept)

    def _failed(self, error: BaseException, started: float) -> None:
        if not isinstance(error, _NoValue):
            super()._failed(error, started)

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, _NoValue):
            super()._fail(error)
            return
        self._leave()
        self._callers.turn_away(self._before_load, NOTHING)


class BulkReload(BulkFlight[T], Reload[T], Generic[T]):
    """The same for `refresh_many`."""

    __slots__ = ()


class BulkRefresh(BulkFlight[T], Refresh[T], Generic[T]):
    """The same for a value that is being served, and that nobody waits for."""

    __slots__ = ()


class Loads(Generic[K, T]):
    """The calls that are made for one `get_or_set_many`: one, mostly.

    Attributes:
        store: What the flights of the cache share.
        undecided: Redis keys of which it is not known yet whether they are to be loaded.
        asked: Redis keys that were.
        strange: Keys that the loader gave and nobody had asked for.
        raised: What the loader raised as a whole.
    """

    def __init__(
        self,
        store: Store[T],
        keys: Mapping[str, K],
        name: Callable[[Any], str],
        load_many: LoadMany[K, T],
    ) -> None:
        """Prepare; nothing is called before a flight asks.

        Args:
            store: What the flights of the cache share.
            keys: The keys, as the loader is given them, by Redis key.
            name: Makes a Redis key of a key.
            load_many: The loader.
        """
        self.store = store
        self.keys = keys
        self.name = name
        self.load_many = load_many
        self.undecided: set[str] = set()
        self.asked: set[str] = set()
        self.strange: list[Any] = []
        self.raised: Exception | None = None
        self._supervisor = store.client.supervisor
        self._loop = asyncio.get_running_loop()
        self._next: _Call[K, T] | None = None

    def ask(self, key: str) -> _Call[K, T]:
        """Have a key loaded by the next call."""
        if self._next is None:
            self._next = _Call(self)
        call = self._next
        self.asked.add(key)
        call.add(key, self._loop.create_future())
        self.decided(key)
        return call

    def decided(self, key: str) -> None:
        """Wait no longer for a flight to know whether it loads."""
        self.undecided.discard(key)
        if not self.undecided and self._next is not None:
            self._loop.call_soon(self._depart)

    def _depart(self) -> None:
        call = self._next
        if self.undecided or call is None:
            return
        self._next = None
        try:
            self._supervisor.start(call.run(), name=f"millpond load of {len(call)} keys")
        except ClosedError:
            call.end()


class _Call(Waiter, Generic[K, T]):
    """One call of the loader."""

    __slots__ = ("_error", "_loads", "_shares", "_traceback")

    def __init__(self, loads: Loads[K, T]) -> None:
        super().__init__()
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None
        self._loads = loads
        self._shares: dict[str, asyncio.Future[Any]] = {}

    def __len__(self) -> int:
        return len(self._shares)

    def add(self, key: str, share: asyncio.Future[Any]) -> None:
        """Have a key loaded, too."""
        self._shares[key] = share

    async def share(self, key: str) -> Any:
        """Wait for a key's value.

        Raises:
            Exception: What the loader gave or raised instead, or that it gave nothing.
        """
        answer = await self._shares[key]
        if not isinstance(answer, BaseException):
            return answer
        if self._error is not None and answer is self._error:
            # Raised in the flight of every key: each time with the call's own traceback, or the
            # last would have those of all the others in it.
            raise self._error.with_traceback(self._traceback)
        if isinstance(answer, Exception | asyncio.CancelledError):
            raise answer
        raise MillpondError(f"the loader gave {answer!r} for {key!r}") from answer

    async def run(self) -> None:
        """Call the loader, and hand out what it brings."""
        current.set(self)  # for the rest of this task
        loads = self._loads
        limit = asyncio.timeout(loads.store.load_timeout)
        try:
            async with limit:
                keys = [key for name, key in loads.keys.items() if name in self._shares]
                given, strange = dealt(await called(loads.load_many, keys), loads.name, loads.keys)
            loads.strange += strange
            for name, share in self._shares.items():
                if not share.done():
                    share.set_result(given[name] if name in given else _NoValue())
        except Exception as error:  # noqa: BLE001  (handed to every flight)
            self._failed(error, expired=isinstance(error, TimeoutError) and limit.expired())
        finally:
            self.end()

    def _failed(self, error: Exception, *, expired: bool) -> None:
        loads = self._loads
        loads.raised = self._error = error
        self._traceback = error.__traceback__
        for name, share in self._shares.items():
            if not share.done():
                share.set_result(LoadTimeout(name, loads.store.load_timeout) if expired else error)

    def end(self) -> None:
        """Leave nobody waiting: the loader was cancelled."""
        for share in self._shares.values():
            share.cancel()


async def called(load_many: LoadMany[K, T], keys: list[K]) -> object:
    """Call a loader of many.

    Raises:
        ConfigError: It cannot be awaited.
        Exception: What it raises.
    """
    answer: object = load_many(keys)
    if not inspect.isawaitable(answer):
        raise ConfigError(
            f"the loader of many returned a {type(answer).__name__} instead of something to await; "
            "write it with 'async def'"
        )
    return await answer


def dealt(
    answer: object, name: Callable[[Any], str], wanted: Mapping[str, object]
) -> tuple[dict[str, Any], list[Any]]:
    """Sort what a loader returned by Redis key, whichever spelling of a key it used.

    Returns:
        What it gave for the keys that were wanted, and the keys that nobody wanted.

    Raises:
        ConfigError: It is no mapping.
    """
    if not isinstance(answer, Mapping):
        raise ConfigError(
            f"the loader of many returned a {type(answer).__name__}; return a mapping from key to "
            "value, such as {row.id: row for row in rows}"
        )
    given: dict[str, Any] = {}
    strange: list[Any] = []
    for key, value in cast("Mapping[Any, Any]", answer).items():
        try:
            known = name(key)
        except ConfigError:
            known = ""
        if known in wanted:
            given[known] = value
        else:
            strange.append(key)
    return given, strange
