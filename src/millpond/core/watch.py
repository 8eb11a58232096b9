"""Waiting for a key to change, pushed awake instead of asking again and again.

Redis remembers which keys a connection has read and pushes a message when one of them changes
(`CLIENT TRACKING ON OPTIN`, RESP3). What must stay true:

1. The watcher is registered before its GET leaves. Registered when the awaiting task resumes,
   a push that arrives in the same read as the reply finds nobody.
2. Replies and pushes share one connection, so their order is the order of events: a change
   after the read pushes after the reply. Whatever is decided from a reply is decided against
   `_fired`, which the connection's own callback sets.
3. Tracking is one-shot: every push is followed by another tracked read, or nothing more comes.
   A renewal (PEXPIRE) pushes too; when the bytes are the same, the watcher re-arms in silence.
4. A lost connection and a flush of the whole server push no key: both wake everybody.
5. Redis pushes an expiry when it gets round to deleting, which may be seconds late. The timer
   at the key's own deadline is the mechanism, and `ttl` is what to set it by.

Where the server cannot push, `changed` asks at jittered intervals; on `memory://` it is told by
the commands that go through this process.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, Self, cast
from weakref import WeakSet

from millpond.core.loops import current_loop
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

__all__ = ["Listener", "Reader", "Watch", "Watches"]

_SHORTEST_POLL = 0.02  # seconds
_LONGEST_POLL = 0.25
_VALUE = b"<value>"  # told apart by identity


class Reader(Protocol):
    """Who reads keys for a watch: the client."""

    @property
    def watches(self) -> Watches:
        """Where pushes arrive."""
        ...

    @property
    def pushes(self) -> bool:
        """Whether a change is pushed; otherwise it must be asked for."""
        ...

    def read_tracked(self, key: str) -> asyncio.Future[tuple[bytes | None, float | None]]:
        """Read a key and its remaining seconds, asking to be told of its next change."""
        ...


class Listener(Protocol):
    """Who is told of changes without waiting for one: a near cache."""

    def changed(self, keys: Iterable[bytes] | None) -> None:
        """These keys may have changed; None: any may."""
        ...


class Watches:
    """Who waits for which key.

    Those of a `memory://name` are shared by threads. Without the lock: A takes the last watch of a
    key out of its set; B adds one to that set; A removes the set, and B's watch with it.
    """

    __slots__ = ("_coming_and_going", "_listeners", "_waiting")

    def __init__(self) -> None:
        """Start with nobody."""
        self._coming_and_going = Lock()
        self._waiting: dict[bytes, set[Watch]] = {}
        self._listeners: WeakSet[Listener] = WeakSet()

    def __len__(self) -> int:
        """How many keys are watched."""
        return len(self._waiting)

    def clear(self) -> None:
        """Forget everybody: their event loop is no more."""
        self._waiting.clear()

    def add(self, key: bytes, watch: Watch) -> None:
        """Register a watcher."""
        with self._coming_and_going:
            self._waiting.setdefault(key, set()).add(watch)

    def remove(self, key: bytes, watch: Watch) -> None:
        """Forget a watcher."""
        with self._coming_and_going:
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.discard(watch)
                if not waiting:
                    del self._waiting[key]

    def pushed(self, push: list[Any]) -> None:
        """Take a push of the server: wake the watchers of its keys, or of all on a null."""
        if push[0] != b"invalidate":
            return
        if push[1] is None:
            self.wake_all()
        else:
            self.wake(push[1])

    def listen(self, listener: Listener) -> None:
        """Have a listener told of every change and every gap, for as long as it lives."""
        self._listeners.add(listener)

    def wake(self, keys: Iterable[bytes]) -> None:
        """Wake the watchers of these keys."""
        if self._listeners:
            keys = tuple(keys)
            for listener in tuple(self._listeners):
                listener.changed(keys)
        for key in keys:
            for watch in tuple(self._waiting.get(key, ())):  # other threads' come and go meanwhile
                watch.fire()

    def wake_all(self) -> None:
        """Wake everybody: a push may have been missed."""
        for listener in tuple(self._listeners):
            listener.changed(None)
        for waiting in tuple(self._waiting.values()):
            for watch in tuple(waiting):
                watch.fire()


class Watch:
    """A key, its value as last read, and a way to wait for its next change.

    Enter it with `async with`; entering reads the key.

    Attributes:
        value: The bytes under the key, or None.
        ttl: Seconds the key had left when it was read; None: absent, or without an expiry.
        expires: When that is, by the event loop's clock.
    """

    __slots__ = (
        "_before_read",
        "_busy",
        "_entered",
        "_fired",
        "_key",
        "_name",
        "_reader",
        "_waiter",
        "expires",
        "ttl",
        "value",
    )

    def __init__(
        self, reader: Reader, key: str, before_read: Callable[[], None] | None = None
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            reader: Reads the key and knows where pushes arrive.
            key: The Redis key.
            before_read: Called in the turn in which each read is handed to the connection.

        Raises:
            ConfigError: The key is no str, or no valid text.
        """
        given = cast("object", key)
        if not isinstance(given, str):
            raise ConfigError(f"a key to watch is a str such as users.key(42), not {given!r}")
        try:
            self._name = key.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"a key to watch must be valid text: {error}") from error
        self._reader = reader
        self._key = key
        self._busy = False
        self._entered = False
        self._before_read = before_read
        self._fired = False
        self._waiter: asyncio.Future[bool] | None = None
        self.value: bytes | None = None
        self.ttl: float | None = None
        self.expires: float | None = None

    async def __aenter__(self) -> Self:
        """Register, then read.

        Raises:
            BackendError: Redis is out of reach.
        """
        self._reader.watches.add(self._name, self)
        try:
            await self._read()
        except BaseException:
            self._reader.watches.remove(self._name, self)
            raise
        self._entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget the watch."""
        self.close()

    def close(self) -> None:
        """Listen no longer, as leaving the block does; for who entered it by hand."""
        self._entered = False
        self._reader.watches.remove(self._name, self)

    def fire(self) -> None:
        """Note that the key may have changed; called by the connection.

        On a shared `memory://name` the caller may be another thread, whose loop is not the
        waiter's: a result set from there would be found when that loop next wakes by itself.
        """
        self._fired = True  # before the waiter is looked for: see `_woken`
        waiter = self._waiter
        if waiter is None:
            return
        if current_loop() is waiter.get_loop():
            _answer(waiter, True)
        else:
            with suppress(RuntimeError):  # that loop has ended, and with it whoever waited
                waiter.get_loop().call_soon_threadsafe(_answer, waiter, True)

    async def changed(self, timeout: float | None = None, *, since: bytes | None = _VALUE) -> bool:
        """Wait until the key's bytes differ from `value`, and read them.

        A change back and forth between two reads may go unnoticed. A cancelled wait leaves the
        watch usable.

        Args:
            timeout: Seconds to wait at most; None: for ever.
            since: What they must differ from, if it is known that they were not `value` meanwhile.

        Returns:
            Whether it changed; `value` and `ttl` are then new. After a timeout they may have been
            read again, too, with the same bytes.

        Raises:
            BackendError: Redis was lost, so changes may have been missed.
            ConfigError: Another task waits on this watch already, or it was not entered.

        Redis:
            One tracked read (CLIENT CACHING, GET, PTTL in one batch) for each push.
        """
        if not self._entered:
            raise ConfigError("enter a watch before waiting: async with client.watch(key) as watch")
        if self._busy:
            raise ConfigError("one task waits on a watch at a time; client.watch() for each task")
        self._busy = True
        try:
            return await self._changed(timeout, self.value if since is _VALUE else since)
        finally:
            self._busy = False

    async def _changed(self, timeout: float | None, before: bytes | None) -> bool:
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        pause = _SHORTEST_POLL
        while True:
            left = None if deadline is None else deadline - loop.time()
            if not self._reader.pushes:
                nap = random.uniform(pause / 2, pause)  # noqa: S311
                pause = min(_LONGEST_POLL, pause * 2)
                woken = await self._woken(nap if left is None else min(nap, left))
                woken = woken or left is None or left > nap
            else:
                woken = await self._woken(left)
            if not woken:
                return False
            await self._read()
            if self.value != before:
                return True

    async def _read(self) -> None:
        self._fired = False
        if self._before_read is not None:
            self._before_read()
        try:
            self.value, self.ttl = await self._reader.read_tracked(self._key)
        except asyncio.CancelledError:
            # 1. A push fires; 2. this read leaves, and arms for the next change; 3. its caller is
            # cancelled, so nobody sees what it brought. No further push tells of that change.
            self._fired = True
            raise
        now = asyncio.get_running_loop().time()
        self.expires = None if self.ttl is None else now + self.ttl

    async def _woken(self, seconds: float | None) -> bool:
        """Wait for a push, for so long at most."""
        if self._fired:
            return True
        if seconds is not None and seconds <= 0:
            return False
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        if self._fired:  # by another thread, which found no waiter yet
            self._waiter = None
            return True
        timer = None if seconds is None else loop.call_later(seconds, _answer, waiter, False)
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def _answer(waiter: asyncio.Future[bool], woken: bool, /) -> None:
    if not waiter.done():
        waiter.set_result(woken)
