"""The kinds of lock: what each asks of Redis to be acquired, renewed, released, passed on.

A line of waiters knows nothing else of what it waits for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from millpond.core.lease import ACQUIRE, FENCE_TTL, MARK_TTL, RELEASE, lease_keys, renew
from millpond.core.leased_slots import release_slot, renew_slot, slots_keys, take_slot
from millpond.core.scripts import Script

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from millpond.core.client import Client

__all__ = ["Exclusive", "Fair", "Kind", "Permit", "Reading", "Writing"]

_PASS = Script.load("millpond.lock", "pass")
_READ = Script.load("millpond.lock", "read_acquire")
_WRITE = Script.load("millpond.lock", "write_acquire")
_RENEW_READ = Script.load("millpond.core", "slots_renew")
_RELEASE_SHARED = Script.load("millpond.lock", "shared_release")

_FAIR = Script.load("millpond.lock", "fair_acquire")
_RELEASE_FAIR = Script.load("millpond.lock", "fair_release")

_ALIVE = 3000  # milliseconds for which a process that waits in a fair line is taken to live
_HEARTBEAT = 1000  # milliseconds between its asking, by which it keeps its places
_READERS_TURN = 10  # milliseconds: time for a push to reach the readers, and for them to come


class Kind(Protocol):
    """One lock of some kind.

    Attributes:
        key: What it is known by to users.
        place: What lines are told apart by.
        group: What a task may hold only one of; `""`: any number.
        signal: The key that is absent when asking is worth it; `""`: there is none, so it is asked
            again after pauses of random length.
        shared: Whether several tasks of this process may have it at once.
        fenced: Whether an acquisition brings a fence.
        shows_holder: Whether the signal is what the holder has, so that another value under it is
            another holder. Otherwise it is what somebody left who was refused, perhaps for a
            reason that does not concern the others: every change of it is worth asking.
        queues: Whether each waiter has a place of its own in Redis, which it must give up.
        longest: Seconds that a lease of it may last.
    """

    key: str
    place: str
    group: str
    signal: str
    shared: bool
    fenced: bool
    shows_holder: bool
    queues: bool
    longest: float

    @property
    def trust(self) -> Callable[[float], float] | None:
        """Tells how many of so many leased seconds may be relied on; None: all."""
        ...

    def enqueue(self, token: str, contender: str) -> asyncio.Future[int] | None:
        """Take a place in Redis for somebody who stands in line here; None: there is none."""
        ...

    def acquire(self, token: str, ms: int, contender: str, *, marked: bool) -> asyncio.Future[int]:
        """Ask: the fence or 1 when ours; otherwise the milliseconds to wait, negated, or 0."""
        ...

    def release(self, token: str, contender: str) -> asyncio.Future[int]:
        """Give up: 0 it was not ours; 1; 2 others have waited for it."""
        ...

    def renew(self, token: str, ms: int) -> asyncio.Future[int]:
        """Prolong: 1, or 0 if it is not ours."""
        ...

    def pass_on(self, token: str, to: str, ms: int, /, *, over: bool) -> asyncio.Future[int] | None:
        """Give up and acquire for the next, in one; None: this kind cannot."""
        ...


class _Single:
    """On one server, whose clock and ours are taken to run at one rate."""

    __slots__ = ()

    queues = False
    longest = math.inf
    trust = None

    def enqueue(self, token: str, contender: str) -> asyncio.Future[int] | None:  # noqa: ARG002
        """Nothing."""
        return None


class Exclusive(_Single):
    """One holder at a time."""

    __slots__ = ("_client", "_keys", "group", "key", "place", "signal")

    shared = False
    fenced = True
    shows_holder = True

    def __init__(self, client: Client, key: str) -> None:
        """Name the keys."""
        self._client = client
        self._keys = lease_keys(key)
        self.key = self.place = self.group = self.signal = self._keys[0]

    def acquire(self, token: str, ms: int, contender: str, *, marked: bool) -> asyncio.Future[int]:
        """Ask."""
        args: tuple[Any, ...] = (token, ms, contender, "1") if marked else (token, ms, contender)
        return self._client.run(ACQUIRE, self._keys, args if contender else (token, ms))

    def release(self, token: str, contender: str) -> asyncio.Future[int]:
        """Give up."""
        keys = (self.key, self._keys[2], f"{self.key}:refused")
        args = (token, contender) if contender else (token,)
        return self._client.run(RELEASE, keys, args)

    def renew(self, token: str, ms: int) -> asyncio.Future[int]:
        """Prolong."""
        return renew(self._client, self._keys, token, ms)

    def pass_on(self, token: str, to: str, ms: int, /, *, over: bool) -> asyncio.Future[int] | None:
        """Pass on to the next in this process, unless its turn is over and others wait."""
        args = (token, to, ms, ms + FENCE_TTL, "1" if over else "")
        return self._client.run(_PASS, keys=(*self._keys, f"{self.key}:refused"), args=args)


class Fair(_Single):
    """The same lock, given to tasks of all processes in the order in which they came."""

    shared = False
    fenced = True
    shows_holder = False
    queues = True

    def __init__(self, client: Client, key: str, process: str) -> None:
        """Name the keys; `process` is what this one is told apart by."""
        self._client = client
        self._process = process
        self.key, self._fence, self._waiting = lease_keys(key)
        self.group = self.key
        self._tickets = f"{self.key}:tickets"
        self._alive = f"{self.key}:alive"
        self.place = self.signal = f"{self.key}:refused"

    def acquire(self, token: str, ms: int, contender: str, *, marked: bool) -> asyncio.Future[int]:  # noqa: ARG002
        """Ask, and take or keep a place; without one if nobody is to wait."""
        return self._ask(token, ms, "" if contender else "1")

    def enqueue(self, token: str, contender: str) -> asyncio.Future[int] | None:  # noqa: ARG002
        """Take a place."""
        return self._ask(token, 1, "q")

    def _ask(self, token: str, ms: int, mode: str) -> asyncio.Future[int]:
        return self._client.run(
            _FAIR,
            keys=(self.key, self._fence, self._tickets, self._alive, self.signal, self._waiting),
            args=(token, ms, ms + FENCE_TTL, self._process, _ALIVE, mode, _HEARTBEAT),
        )

    def release(self, token: str, contender: str) -> asyncio.Future[int]:  # noqa: ARG002
        """Give up the lock, or the place."""
        keys = (self.key, self._tickets, self.signal, self._waiting)
        return self._client.run(_RELEASE_FAIR, keys=keys, args=(token, self._process))

    def renew(self, token: str, ms: int) -> asyncio.Future[int]:
        """Prolong."""
        return renew(self._client, (self.key, self._fence), token, ms)

    def pass_on(self, *_: object, over: bool) -> None:  # noqa: ARG002
        """Never: the oldest ticket may be another process's."""
        return


class Permit(_Single):
    """One of so many permits."""

    shared = True
    fenced = False
    shows_holder = False
    group = ""

    def __init__(self, client: Client, key: str, permits: int) -> None:
        """Name the keys."""
        self._client = client
        self._permits = permits
        self._keys = slots_keys(key)
        self.key, self.signal = self._keys
        self.place = f"{self.key}/{permits}"

    def acquire(self, token: str, ms: int, contender: str, *, marked: bool) -> asyncio.Future[int]:  # noqa: ARG002
        """Ask; whoever finds none is woken by every release, and needs no mark."""
        return take_slot(self._client, self._keys, token, ms, self._permits)

    def release(self, token: str, contender: str) -> asyncio.Future[int]:  # noqa: ARG002
        """Give up."""
        return release_slot(self._client, self._keys, token)

    def renew(self, token: str, ms: int) -> asyncio.Future[int]:
        """Prolong."""
        return renew_slot(self._client, self._keys, token, ms)

    def pass_on(self, *_: object, over: bool) -> None:  # noqa: ARG002
        """Never: a permit that is released is anybody's."""
        return


class _Sided(_Single):
    """What the two sides of a read/write lock share."""

    shows_holder = False

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        base = f"{{{key}}}"
        self._writer = f"{base}:write"
        self._readers = f"{base}:readers"
        self._fence = f"{base}:write:fence"
        self.signal = f"{base}:busy"
        self.group = f"{base}:sides"
        waiting, turn = f"{base}:sides-waiting", f"{base}:turn"
        self._keys = (self._writer, self._readers, waiting, turn, self.signal)

    def _release(self, token: str, contender: str) -> asyncio.Future[int]:
        args = (token, contender, _READERS_TURN)
        return self._client.run(_RELEASE_SHARED, keys=self._keys, args=args)

    def pass_on(self, *_: object, over: bool) -> None:  # noqa: ARG002
        """Never: the other side may have waited longer."""
        return


class Reading(_Sided):
    """A share of a read/write lock."""

    shared = True
    fenced = False

    def __init__(self, client: Client, key: str) -> None:
        """Name the keys."""
        super().__init__(client, key)
        self.key = self.place = self._readers

    def acquire(self, token: str, ms: int, contender: str, *, marked: bool) -> asyncio.Future[int]:
        """Ask."""
        args: tuple[Any, ...] = (token, ms, _side("r", contender), MARK_TTL, "1" if marked else "")
        return self._client.run(_READ, keys=self._keys, args=args)

    def release(self, token: str, contender: str) -> asyncio.Future[int]:
        """Give up."""
        return self._release(token, _side("r", contender))

    def renew(self, token: str, ms: int) -> asyncio.Future[int]:
        """Prolong."""
        return self._client.run(_RENEW_READ, keys=(self._readers,), args=(token, ms))


class Writing(_Sided):
    """The whole of a read/write lock."""

    shared = False
    fenced = True

    def __init__(self, client: Client, key: str) -> None:
        """Name the keys."""
        super().__init__(client, key)
        self.key = self.place = self._writer

    def acquire(self, token: str, ms: int, contender: str, *, marked: bool) -> asyncio.Future[int]:
        """Ask."""
        mark = (_side("w", contender), MARK_TTL, "1" if marked else "")
        args: tuple[Any, ...] = (token, ms, *mark, ms + FENCE_TTL)
        return self._client.run(_WRITE, keys=(*self._keys, self._fence), args=args)

    def release(self, token: str, contender: str) -> asyncio.Future[int]:
        """Give up."""
        return self._release(token, _side("w", contender))

    def renew(self, token: str, ms: int) -> asyncio.Future[int]:
        """Prolong."""
        return renew(self._client, (self._writer, self._fence), token, ms)


def _side(side: str, contender: str) -> str:
    return side + contender if contender else ""
