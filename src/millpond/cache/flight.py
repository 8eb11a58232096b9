"""One load of one key, shared by every caller in this process and leased across the fleet.

A flight claims the key, then either loads and fills it or waits for whoever holds the lease. It
runs in the client's supervisor: callers hold a future each and may leave at will.

What must stay true: *no caller gets a value older than a delete that was acknowledged before the
caller came*. A caller can come at any moment of the flight, so every result is shared up to a
**cut**; those who joined later start over, with a read of their own.

- A value that was *stored* goes to everyone who joined before the fill was **sent**. The fill is
  a compare-and-set on our lease: accepted, no delete ran between claim and fill, so none was
  acknowledged before any of them came. At that moment the flight leaves the table; somebody who
  comes between the fill and its reply may have seen a later delete:
      fill sent; stored; B deletes, is answered; C comes and would be given what B deleted.
- A value that was *not* stored (fill refused, or its outcome unknown) goes to those who joined
  before the loader was **called**: the load began after they came.
      A loads v1; B commits v2, deletes (revoking the lease), is answered; C joins; the fill is
      refused; v1 is good enough for A, who came before B's delete, and stale for C.
- A value *read* (by the claim, or by the watch on another's lease) goes to those who joined
  before that read was handed to the connection: the server read it after they came.
- A load *without a lease* (Redis out of reach, waited too long) protects nobody who comes while
  it runs: it goes to those who joined before it began. It stays in the table to its end, so that
  the late are its successor and not its rivals: one running load per key and process.
- A loader's exception goes to everyone: it is no value, so it cannot be stale. A failing loader
  fails N callers in one load time, not N.
- A value that was *claimed in place*, to be refreshed (`stale.py`), changes none of this: its
  generation is the claim's, so a fill that is accepted proves as much as one over a lease.

Other processes learn of a failure by an error entry with the lease's generation: those who waited
for that generation raise `RemoteLoadError`; to others it is a miss unless `error_ttl` is set.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from millpond.cache.captured import Captured
from millpond.cache.decision import Found, Verdict
from millpond.cache.failing import defer, publish
from millpond.cache.landing import Callers, Landed
from millpond.cache.loaded import NOT_MODIFIED, asked, unwrapped
from millpond.cache.tags import MOST_TAGS, not_too_many
from millpond.cache.waiting import Waiter, current
from millpond.core.entry import new_generation
from millpond.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ClosedError,
    LoadTimeout,
    MillpondError,
    RemoteLoadError,
    ReplyError,
)
from millpond.events import FillRefused, LoadFailed, LoadFinished, LoadUnleased

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.cache.captured import Capture
    from millpond.cache.landing import StartOver
    from millpond.cache.loaded import Loaded, Loader, NotModified, Revalidate
    from millpond.cache.store import Store

__all__ = ["Flight"]

T = TypeVar("T")

_LATE = 0.01  # seconds past a lease's end before asking: Redis's own clock must have passed it
_GRACE = 1.0  # seconds that a loader has to end once it is cancelled


class Flight(Waiter, Generic[T]):
    """One shared load."""

    __slots__ = (
        "_callers",
        "_expected",
        "_key",
        "_loader",
        "_loop",
        "_revalidate",
        "_store",
        "_tags",
        "_ttl",
        "_verdict",
        "load_failed",
    )

    def __init__(
        self,
        store: Store[T],
        key: str,
        loader: Loader[T],
        *,
        ttl: int | None,
        verdict: Verdict,
        tags: Sequence[str] = (),
        revalidate: Revalidate[T] | None = None,
    ) -> None:
        """Prepare; `run` flies.

        Args:
            store: What the flights of one cache share.
            key: The Redis key.
            loader: Asked for the value, once.
            ttl: Milliseconds that the value may live; None: as the cache has it.
            verdict: What the first caller found instead of a fresh value.
            tags: What the value is to be deleted by.
            revalidate: Asked instead of the loader, where there is a value to be refreshed.

        Attributes:
            load_failed: Whether it was the loader that failed, or ran too long.
        """
        super().__init__()
        self.load_failed = False
        self._revalidate = revalidate
        self._store = store
        self._key = key
        self._loader = loader
        self._ttl = ttl
        self._tags = tags
        self._verdict = verdict
        self._loop = asyncio.get_running_loop()
        self._callers = Callers[T](self._loop)
        self._expected: set[bytes] = set()

    def join(self) -> asyncio.Future[Landed[T] | StartOver]:
        """Add a caller; cancelling its future concerns nobody else."""
        return self._callers.join()

    def begin(self, verb: str = "load") -> asyncio.Future[Landed[T] | StartOver]:
        """Fly, with the first caller on board.

        Raises:
            ClosedError: The client is being closed.
        """
        landing = self.join()
        task = self._store.client.supervisor.start(self.run(), name=f"millpond {verb} {self._key}")
        task.add_done_callback(self.ended)
        if not task.done():  # it has a task that runs: nobody joins what never flies
            self._store.flights[self._key] = self
        return landing

    @property
    def lives(self) -> bool:
        """Whether its event loop does; one that ended without closing the client left it here."""
        return not self._loop.is_closed()

    async def run(self) -> None:
        """Fly to the end."""
        try:
            await self._fly()
        except Exception as error:  # noqa: BLE001  (handed to every caller)
            self._fail(error)

    def ended(self, task: asyncio.Task[None]) -> None:
        """Answer whoever is still waiting: the task was cancelled, perhaps before its first step.

        Called when the task is done; no caller waits for a load that is no more.
        """
        self._leave()
        if task.cancelled():
            self._fail(self._why_cancelled())
        elif (error := task.exception()) is not None:
            self._fail(MillpondError(f"the loader for {self._key!r} ended with {error!r}"))

    def _why_cancelled(self) -> MillpondError:
        try:
            closing = self._store.client.supervisor.closed
        except MillpondError:  # it is closed already
            closing = True
        if closing:
            return ClosedError("the client was closed while the value was being loaded")
        return MillpondError(
            f"the load of {self._key!r} was cancelled, perhaps by its own loader, which must not "
            "cancel the task that it runs in"
        )

    # -- the course -------------------------------------------------------------------------

    async def _fly(self) -> None:
        store = self._store
        give_up = self._loop.time() + store.wait_timeout
        verdict = self._verdict
        reason = verdict.reason if verdict.found is Found.BARRED else ""
        error: BackendError | None = None
        waited = False
        while not reason:
            seen = verdict.seen
            generation = new_generation()
            capture = self._capture(verdict)
            self._callers.mark()
            try:
                found = await store.claim(self._key, generation, seen)
                if found is None or found.found is Found.OURS:
                    await self._lead(generation, capture, None if found is None else verdict)
                    return
                found = await store.verdicts.settled(found)
                if found.found is Found.LEASE and not waited:
                    waited = True
                    store.counters.waits += 1
                found = await self._follow(found, give_up)
            except (BackendUnavailable, BackendTimeout) as problem:
                reason, error = "unavailable", problem
                break
            except ReplyError as problem:
                reason = store.verdicts.without_lease(self._key, problem)
                break
            if found is None:
                return
            verdict = found
            if verdict.found is Found.NEWER:
                reason = "newer version"
            elif verdict.found is Found.WRITE:
                reason = "being written"
            elif self._loop.time() >= give_up:
                reason = "wait_timeout"
        if error is not None and store.raises_when_unavailable:
            raise error
        await self._load_unleased(reason)

    async def _follow(self, verdict: Verdict, give_up: float) -> Verdict | None:
        """Wait while another loads.

        Returns:
            None: this flight has landed. Otherwise what is left to claim, to load past, or, past
            `give_up`, to wait for no longer.
        """
        if not self._is_loading(verdict):
            return self._take(verdict)
        self._expected.add(verdict.generation)
        async with self._store.client.watch(self._key, before_read=self._before_read) as watch:
            while True:
                verdict = self._store.verdicts.judge(self._key, watch.value)
                verdict = await self._store.verdicts.settled(verdict)
                if not self._is_loading(verdict):
                    return self._take(verdict)
                self._expected.add(verdict.generation)
                now = self._loop.time()
                if now >= give_up:
                    return verdict
                expires = now + verdict.left if verdict.left else watch.expires
                ends = give_up if expires is None else expires + _LATE
                if now >= ends:
                    return verdict  # expiries are pushed late: ask by claiming
                await watch.changed(min(ends, give_up) - now)

    def _is_loading(self, verdict: Verdict) -> bool:
        """Tell whether somebody else's load is to be waited for."""
        return verdict.found is Found.LEASE

    def _take(self, verdict: Verdict) -> Verdict | None:
        """Land with what was read, if it is a result."""
        if verdict.found is Found.VALUE:
            self._land(Landed(verdict.payload, stale=verdict.stale), self._callers.cut)
            return None
        if verdict.found is Found.ERROR and (
            verdict.visible or verdict.generation in self._expected
        ):
            raise RemoteLoadError(self._key, verdict.type_name)
        return verdict

    def _capture(self, verdict: Verdict) -> Capture:
        """Begin to read the versions of what may be stored: of what is kept, too, with its tags."""
        tags = self._tags
        if self._revalidate is not None and verdict.seen.how == "s":
            both = tuple(dict.fromkeys((*tags, *[tag for tag, _ in verdict.tags])))
            if len(both) <= MOST_TAGS:
                tags = both
            else:  # kept again and again, by calls with other tags: loaded anew, it has the call's
                self._revalidate = None
        return self._store.capture(tags, self._ttl)

    async def _lead(self, generation: bytes, capture: Capture, kept: Verdict | None = None) -> None:
        """Load under our claim, and fill; `kept` is the value that we have claimed in place."""
        store = self._store
        try:
            captured = await capture.done()
        except BaseException:
            store.release(self._key, generation)
            raise
        known: Captured = captured
        lease = store.keep(self._key, generation)
        before_load = len(self._callers)
        started = self._loop.time()
        took = 0.0
        try:
            try:
                result = await self._load(kept)
            finally:
                took = self._loop.time() - started
                lease.stop()
            landed, lifetime, tags = self._landed(result, kept)
            if result is not NOT_MODIFIED:
                captured = await self._under(captured, tags, lifetime)
            if captured is None:
                store.release(self._key, generation)
                stored = self._refused("invalidated")
            else:
                not_too_many(captured.tags)
                entry, ttl = store.entry(generation, landed.payload, lifetime, captured, took)
                # From here the fill is on its way: whoever comes now begins anew.
                self._leave()
                stored = await self._fill(generation, entry, ttl, captured)
        except Exception as error:  # noqa: BLE001  (handed to every caller)
            self._fail(error)
            await self._tell_failed(generation, error, took, known, kept)
            return
        except BaseException:  # cancelled, or worse: nobody need wait for the lease's end
            store.release(self._key, generation)
            raise
        everyone = len(self._callers)
        self._land(landed, everyone if stored else before_load)
        if stored:
            store.client.emit(LoadFinished(key=self._key, seconds=took))

    async def _fill(self, generation: bytes, entry: bytes, ttl: int, captured: Captured) -> bool:
        """Store; whether it was, and nothing that it depends on was revoked meanwhile."""
        store = self._store
        unchanged = store.confirm(captured, ttl)
        try:
            stored = await store.fill(self._key, generation, entry, ttl)
        except BackendError as error:
            reason = f"unavailable: {error}"
            store.release(self._key, generation)  # the server may be there, and merely full
        else:
            if stored and await unchanged:
                return True
            reason = "invalidated" if stored else "revoked"
        return self._refused(reason)

    def _refused(self, reason: str) -> bool:
        self._store.counters.refused_fills += 1
        self._store.client.emit(FillRefused(key=self._key, reason=reason))
        return False

    async def _under(
        self, captured: Captured, more: Sequence[str], lifetime: int | None
    ) -> Captured | None:
        """Add tags that only the loader knew; None: one was invalidated, or nobody can say."""
        of_call = tuple(pair for pair in captured.tags if pair[0] in self._tags)
        captured = Captured(captured.era, captured.epoch, of_call)
        more = [tag for tag in more if tag not in self._tags]
        if not more:
            return captured
        try:
            return await self._store.learn(captured, more, lifetime)
        except BackendError:
            return None

    async def _tell_failed(
        self,
        generation: bytes,
        error: Exception,
        took: float,
        captured: Captured,
        kept: Verdict | None,
    ) -> None:
        """Tell the fleet that the load failed, whether a value is there or not."""
        if kept is None:
            await publish(self._store, self._key, generation, error, captured, took=took)
        else:
            await defer(self._store, self._key, generation, error)

    async def _load_unleased(self, reason: str) -> None:
        """Load for those who are here already, and store nothing."""
        store = self._store
        store.counters.unleased_loads += 1
        store.client.emit(LoadUnleased(key=self._key, reason=reason))
        before_load = len(self._callers)
        landed, *_ = self._landed(await self._load(None), None)
        self._land(landed, before_load)

    def _landed(
        self, result: T | Loaded[T] | NotModified, kept: Verdict | None
    ) -> tuple[Landed[T], int | None, Sequence[str]]:
        """Make of what the loader returned something to give and to store, for so long."""
        if result is NOT_MODIFIED and kept is not None and self._revalidate is not None:
            return Landed(kept.payload), self._ttl, ()
        store = self._store
        loaded = unwrapped(self._key, result, self._ttl, store)
        return Landed(store.encode(loaded.value), loaded.value), loaded.ttl, loaded.tags

    async def _load(self, kept: Verdict | None) -> T | Loaded[T] | NotModified:
        store = self._store
        store.counters.loads += 1
        started = self._loop.time()
        token = current.set(self)
        limit = asyncio.timeout(store.load_timeout)
        abandon = self._loop.call_later(store.load_timeout + _GRACE, self._abandon)
        try:
            async with limit:
                return await asked(self._store, self._key, self._loader, self._revalidate, kept)
        except TimeoutError as error:
            self._failed(error, started)
            if limit.expired():
                raise LoadTimeout(self._key, store.load_timeout) from None
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The loader was cancelled from inside. To its callers that is a failure: passed on as
            # a cancellation, it would end tasks that nobody cancelled.
            self._failed(error, started)
            raise MillpondError(f"the loader for {self._key!r} was cancelled") from error
        except Exception as error:
            self._failed(error, started)
            raise
        finally:
            abandon.cancel()
            current.reset(token)

    def _abandon(self) -> None:
        """Answer the callers of a loader that will not be cancelled; it goes on, for nobody."""
        self._leave()
        self.load_failed = True
        self._fail(LoadTimeout(self._key, self._store.load_timeout))

    def _failed(self, error: BaseException, started: float) -> None:
        self.load_failed = True
        self._store.counters.load_failures += 1
        self._store.client.emit(
            LoadFailed(
                key=self._key,
                seconds=self._loop.time() - started,
                type_name=type(error).__qualname__,
            )
        )

    # -- answering --------------------------------------------------------------------------

    def _before_read(self) -> None:
        """Cut here, and have the namespace's version read ahead of the key."""
        self._store.versions.ask()
        self._callers.mark()

    def _leave(self) -> None:
        """Let nobody join any more."""
        table = self._store.flights
        if table.get(self._key) is self:
            del table[self._key]

    def _land(self, landed: Landed[T], cut: int) -> None:
        """Give the value to those before the cut; the rest start over."""
        self._leave()
        self._callers.land(landed, cut, shareable=self._store.codec.shareable)

    def _fail(self, error: Exception) -> None:
        """Give everyone the exception; whoever asks again must not find this flight."""
        self._leave()
        self._callers.fail(error)
