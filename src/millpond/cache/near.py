"""The near cache: values in this process's memory, which Redis says when to forget.

Redis remembers which keys this connection has read with `CLIENT CACHING YES` and pushes a message
when one of them changes. What must stay true:

1. A copy is put here by the connection's own callback, as it takes the reply, and by nobody else:
       a tracked read is answered; the key changes, and the push finds no copy; the task that
       waited for the read wakes, and puts the old value in for ever.
   Replies and pushes come in the order of events, so a push after the reply finds the copy. But a
   tracked read is two commands, and others' may run between them:
       GET brings v1; the key changes, and the push finds no copy; PTTL comes, and v1 is put in.
   (On a shared `memory://` even a reply may be overtaken, on another thread.) So a push about a key
   that is being read keeps what is read from being put in.
2. Only values of the namespace's present era are kept, and its version is itself read tracked. Once
   a push has come about it no copy is given, and none put in, until it has been read anew. Mostly
   the era is the same then, for `delete_tags` and `expire_tags` change another part of that key,
   and what is stored prolongs it: the copies count again, since whatever changed one of them in
   between was pushed ahead of that read's reply. Under another era they are dropped. Values with
   tags are not kept, for each would need as much of all its tags.
3. Every gap empties it: a lost connection, a null push (`FLUSHALL`), a closed client.
4. A process that is cut off is pushed nothing and may not notice. So a copy is trusted only until
   `heartbeat` after the *sending* of the last command that was answered since: whatever changed
   before the server ran that command was pushed before its answer. While there are copies, a PING
   is sent at every third of that. This is looked at in each read, not by a timer alone: a process
   that was frozen thaws with its copies.
5. A copy ends before the entry does: its time counts from when the read was sent. It ends at
   `ttl` at the latest, and when it could be served only as stale.
6. What this process itself has changed is forgotten when the change is acknowledged, before its
   caller goes on: the push about it may come after the acknowledgement.
7. Whoever finds no copy because the era is in doubt has it read anew, also when he reads past this
   (`get_many`, whose MGET is not tracked): else nothing would be given again until another did.

Copies that nobody can change are shared; of others the bytes are kept, and decoded for each caller.
"""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millpond.cache.copies import Copies
from millpond.cache.leaving import Callers, Leaving, answer
from millpond.cache.missing import MISSING, Missing
from millpond.core.durations import seconds
from millpond.core.entry import HEAD_SIZE
from millpond.core.futures import consumed, refuse
from millpond.errors import BackendError, ClosedError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from millpond.cache.bounds import NearCache
    from millpond.cache.versions import Versions
    from millpond.core.client import Client
    from millpond.core.codec import Codec
    from millpond.core.watch import Watches

__all__ = ["Near", "forgetting"]

T = TypeVar("T")


class Near(Generic[T]):
    """The copies of one cache."""

    __slots__ = (
        "__weakref__",
        "_armed",
        "_client",
        "_codec",
        "_copies",
        "_decode",
        "_fresh",
        "_heartbeat",
        "_hit",
        "_kept",
        "_leaving",
        "_lock",
        "_loop",
        "_name_of_era",
        "_reading",
        "_served",
        "_time",
        "_timer",
        "_trusted",
        "_ttl",
        "_versions",
        "_watches",
        "hits",
    )

    def __init__(
        self,
        client: Client,
        codec: Codec,
        versions: Versions,
        policy: NearCache,
        fresh: Callable[[bytes], tuple[bytes, float] | None],
    ) -> None:
        """Keep nothing yet.

        Args:
            client: The way to Redis.
            codec: Of the cache's type.
            versions: Of its namespace.
            policy: The bounds.
            fresh: Takes the payload out of an entry that may be stale one day, and says for how
                many seconds it is not; None: it is, or is no such entry.
        """
        self._client = client
        self._codec = codec
        self._versions = versions
        self._fresh = fresh
        self._decode = None if codec.shareable else codec.decode_or_raise
        self._kept = Copies(policy.max_entries, policy.max_bytes)
        self._copies = self._kept.by_name  # looked into at each hit
        self._ttl = float("inf") if policy.ttl is None else seconds(policy.ttl, "near ttl")
        self._heartbeat = seconds(policy.heartbeat, "heartbeat")
        self._name_of_era = versions.key.encode()
        self._leaving = Leaving()
        self._reading: dict[str, object] = {}  # a token each, which a push takes away
        self._lock = Lock()  # a shared memory:// tells of changes on other threads
        self._armed = False
        self._hit = b""
        self._trusted = 0.0
        self._served = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watches: Watches | None = None
        self._time: Callable[[], float] = _no_time
        self._timer: asyncio.TimerHandle | None = None
        self.hits = 0

    # -- reading ------------------------------------------------------------------------------

    def get(self, name: str) -> T | Missing:
        """Return a copy that may be trusted now."""
        copy = self._copies.get(name)
        if copy is None:
            return MISSING
        now = self._time()
        if now >= copy.ends:
            self.drop((name,))
            return MISSING
        if now >= self._trusted:
            return MISSING
        value: T | Missing = copy.kept
        if self._decode is not None:
            try:
                value = self._decode(copy.kept)
            except Exception:  # noqa: BLE001  (who reads it from Redis is told)
                self.drop((name,))
                return MISSING
        copy.used = True
        self.hits += 1
        return value

    def read(self, name: str) -> asyncio.Future[bytes | None]:
        """Read a key, be told of its next change, and keep a copy.

        Callers of one turn share one read (`leaving.py`).

        Raises:
            ConfigError: The server does not push.
            ClosedError: The client is not open.

        Redis: CLIENT CACHING YES, GET and PTTL; the same for the namespace's version, once an era.
        """
        client = self._client
        if not client.pushes and not self._served:
            raise ConfigError(
                "a near cache needs a server that pushes (RESP3 and CLIENT TRACKING, which proxies "
                "and from_redis do not have): leave out CachePolicy(near=...), or connect directly"
            )
        self._served = True
        loop = asyncio.get_running_loop()
        if loop is not self._loop or client.watches is not self._watches:
            self._move(loop)
        caller: asyncio.Future[bytes | None] = loop.create_future()
        lane = client.lane
        if lane is not None and (others := self._leaving.callers(lane, name)) is not None:
            others.append(caller)
            return caller
        sent = loop.time()
        if not self._armed:
            self._read_era(sent)
        callers: Callers = [caller]

        def told(raw: bytes | None, left: float | None, token: object) -> None:
            if raw is not None and client.pushes:
                self._put(name, raw, sent, left, token)
            answer(callers, raw)

        def failed(future: asyncio.Future[Any]) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                refuse(callers, error)

        self._tracked(name, told).add_done_callback(failed)
        if lane is not None:
            self._leaving.add(lane, name, callers)
        return caller

    def rearm(self) -> None:
        """Have the copies count again whose era is in doubt; for who reads past the near cache.

        Redis: CLIENT CACHING YES, GET and PTTL of the namespace's version, if there are any.
        """
        if self._armed or not self._copies or self._client.watches is not self._watches:
            return
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            self._read_era(loop.time())

    def _tracked(
        self, name: str, tell: Callable[[bytes | None, float | None, object], None]
    ) -> asyncio.Future[Any]:
        """Read; `tell` is given a token, too, which is still there if no push came meanwhile."""
        token = self._reading.setdefault(name, object())

        def told(raw: bytes | None, left: float | None) -> None:
            tell(raw, left, token)
            ended()

        def ended(_: object = None) -> None:
            with self._lock:
                if self._reading.get(name) is token:
                    del self._reading[name]

        try:
            future = self._client.read_tracked(name, tell=told)
        except BaseException:
            ended()
            raise
        future.add_done_callback(ended)
        return future

    def _read_era(self, sent: float) -> None:
        """Read the namespace's version, whose next change will be pushed, if nobody does.

        One that has left will do: what it brings counts for whoever reads later, too, and if the
        version is changed before it is told, a push takes its token, and the next caller reads.
        """
        versions = self._versions
        if versions.key in self._reading:
            return

        def told(raw: bytes | None, _: float | None, token: object) -> None:
            versions.take(raw)
            with self._lock:
                if self._reading.get(versions.key) is not token:
                    return
                if self._hit != versions.hit:
                    self._kept.clear()
                self._hit, self._armed = versions.hit, True
            if self._copies:
                self._trust(sent)

        self._tracked(versions.key, told).add_done_callback(consumed)

    def _put(self, name: str, raw: bytes, sent: float, left: float | None, token: object) -> None:
        """Keep a copy; called by the connection, in the order of events."""
        if not self._armed:
            return
        ends = sent + min(self._ttl, float("inf") if left is None else left)
        if raw.startswith(self._hit):
            payload = raw[HEAD_SIZE:]
        elif (found := self._fresh(raw)) is not None:
            payload, fresh_for = found
            ends = min(ends, sent + fresh_for)
        else:
            return
        size = self._kept.size_of(name, raw)
        if not size:
            return
        kept: Any = payload
        if self._decode is None:
            try:
                kept = self._codec.decode_or_raise(payload)
            except Exception:  # noqa: BLE001  (whoever reads it is told)
                return
        with self._lock:
            if not self._armed or self._reading.get(name) is not token:
                return
            self._kept.put(name, kept, ends, size)
        self._trust(sent)

    # -- forgetting ---------------------------------------------------------------------------

    def drop(self, names: Iterable[str]) -> None:
        """Forget copies of these keys."""
        with self._lock:
            for name in names:
                self._kept.forget(name)

    def clear(self) -> None:
        """Forget everything, the era too."""
        with self._lock:
            self._armed = False
            self._reading.clear()
            self._kept.clear()

    def _suspend(self) -> None:
        """Give nothing until the era has been read anew: it may have ended."""
        with self._lock:
            self._armed = False
            self._trusted = 0.0
            self._reading.pop(self._versions.key, None)

    def changed(self, keys: Iterable[bytes] | None) -> None:
        """Take a push: these keys have changed, or any (None)."""
        if keys is None:
            self.clear()
            return
        for key in keys:
            if key == self._name_of_era:
                self._suspend()
            else:
                name = key.decode(errors="replace")
                with self._lock:
                    self._reading.pop(name, None)
                    self._kept.forget(name)

    @property
    def size(self) -> tuple[int, int]:
        """How many copies there are, and their bytes."""
        return len(self._copies), self._kept.size

    # -- trusting -----------------------------------------------------------------------------

    def _trust(self, sent: float) -> None:
        """Trust for a while: a command that was sent then has been answered."""
        with self._lock:  # another thread may be about to suspend it
            if self._armed:
                self._trusted = max(self._trusted, sent + self._heartbeat)
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(self._heartbeat / 3, self._beat)

    def _beat(self) -> None:
        """Ask for a sign of life, for as long as there is anything to trust."""
        self._timer = None
        if not self._copies or self._loop is None:
            return
        sent = self._loop.time()

        def answered(future: asyncio.Future[Any]) -> None:
            if not future.cancelled() and future.exception() is None:
                self._trust(sent)

        try:
            self._client.call("PING").add_done_callback(answered)
        except (ClosedError, ConfigError, BackendError):
            return
        self._timer = self._loop.call_later(self._heartbeat / 3, self._beat)

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin on another event loop, whose clock may be another, or with another server."""
        self.clear()
        if self._timer is not None and loop is self._loop:
            self._timer.cancel()
        self._watches = self._client.watches
        self._watches.listen(self)
        self._loop, self._time, self._timer, self._trusted = loop, loop.time, None, 0.0


def forgetting(near: Near[Any] | None, name: str) -> Callable[[Any], None] | None:
    """Return what has a near cache, if there is one, forget a key once Redis has changed it."""
    return None if near is None else lambda _: near.drop((name,))


def _no_time() -> float:
    return float("inf")
