"""`async with cache.writing(key) as write:`: a write that nothing stale can outlive.

A *write mark* stands under the key from before the body's first statement until after its last. It
says that a commit may come at any moment: readers load past the cache and store nothing, so what
they have cannot outlive it. What must stay true, whatever dies or stalls:

1. The mark is confirmed before the body runs. An enter that Redis did not confirm raises, and the
   body never runs.
2. Nothing is stored under a living mark but by a writer who leaves, and by him only if the mark is
   still his alone, never lapsed and never met another write:
       A marks; B marks; A commits v1; B commits v2; B leaves; A leaves and would store v1.
   Whoever joins a mark, and a delete that meets one, sets its *overlap* flag, which stays for as
   long as anybody writes. The last to leave deletes then.
3. A mark that was lost (lapsed while its process was stopped, or deleted from outside) is never
   put again as if nothing had been:
       A marks and is stopped; the mark lapses; B marks, commits v2, leaves, stores v2; A goes on,
       marks again, and would leave with v1.
   The renewal finds that its writer is gone and sets the overlap flag.
4. A writer who dies leaves the mark, which lapses after `write_timeout`. He is renewed at a third,
   so it stands for two thirds of that at least: longer than a commit that was sent may take. So
   who loads after it has lapsed reads what he wrote.
5. A leave that Redis did not confirm may have run or not; both are harmless while the mark stands.
   It might have lapsed before the commit, so a delete is owed, as after any unconfirmed delete.

All that is sent on leaving is sent before the first suspension, and nobody can cancel it. The
versions that a stored entry depends on are read beside the marks: captured on leaving they would be
too new, and the value would survive an invalidation that came between the commit and the leave.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from millpond.cache.captured import NO_VERSIONS
from millpond.cache.verdicts import cannot_write
from millpond.core.entry import new_generation
from millpond.core.futures import consumed
from millpond.errors import BackendError, BackendUnavailable, ClosedError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from types import TracebackType

    from millpond.cache.store import Store
    from millpond.core.keys import Key

__all__ = ["Write", "Writing"]

T = TypeVar("T")


class Write(Generic[T]):
    """What the block of `writing()` is given: a place for the new values."""

    __slots__ = ("_key", "_names", "_store", "captured", "entries")

    def __init__(self, store: Store[T], names: list[str], key: Callable[[Key], str]) -> None:
        """Begin without values.

        Args:
            store: What the flights of one cache share.
            names: The Redis keys that are written.
            key: Names a key.
        """
        self._store = store
        self._names = names
        self._key = key
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.captured = NO_VERSIONS

    @overload
    def set(self, value: T, /, *, ttl: float | timedelta | None = None) -> None: ...
    @overload
    def set(self, key: Key, value: T, /, *, ttl: float | timedelta | None = None) -> None: ...
    def set(self, *given: Any, ttl: float | timedelta | None = None) -> None:
        """Have a value stored when the block ends: `set(value)`, or `set(key, value)` of several.

        It must be what the transaction commits. It is stored only if nobody else wrote the key
        meanwhile, and deleted if the block raises. It is encoded now; the last call for a key
        counts.

        Args:
            given: The value, or a key of this block and its value.
            ttl: Seconds or timedelta for this value; None: the cache's.

        Raises:
            ConfigError: A key that this block does not write, no key where it writes several, or
                a TTL that cannot be one.
            CodecError: The value cannot be encoded as the cache's type.

        Redis:
            Nothing yet.
        """
        if len(given) == 1 and len(self._names) == 1:
            name, value = self._names[0], given[0]
        elif len(given) == 2:
            name, value = self._key(given[0]), given[1]
            if name not in self._names:
                raise ConfigError(
                    f"{given[0]!r} is not written here; name it: writing(..., {given[0]!r})"
                )
        else:
            raise ConfigError("this block writes several keys: write.set(key, value)")
        lifetime = self._store.lifetimes.given(ttl)
        payload = self._store.encode(value)
        self.entries[name] = self._store.entry(new_generation(), payload, lifetime, self.captured)


class Writing(Generic[T]):
    """One block: mark on entering, leave on leaving."""

    __slots__ = (
        "_entered",
        "_loop",
        "_marks",
        "_names",
        "_store",
        "_stores",
        "_tags",
        "_timer",
        "_token",
        "_write",
    )

    def __init__(
        self,
        store: Store[T],
        names: list[str],
        key: Callable[[Key], str],
        *,
        tags: tuple[str, ...] = (),
        marks: bool = True,
        stores: bool = True,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            store: What the flights of one cache share.
            names: The Redis keys, all different.
            key: Names a key.
            tags: What the values are to be deleted by.
            marks: Whether anything is sent at all (`cache_mode("disable")` without a connection).
            stores: Whether values are stored on leaving.
        """
        self._tags = tags
        self._marks = marks
        self._stores = stores
        self._store = store
        self._names = names
        self._write = Write(store, names, key)
        self._token = new_generation()
        self._entered = False
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Write[T]:
        """Mark every key; a cancelled caller takes the marks back.

        Raises:
            BackendUnavailable: Redis did not confirm every mark; the block must not run.
            ReplyError: It refused for a reason that does not pass by itself, such as an ACL.
            ConfigError: The block was entered before.
        """
        if self._entered:
            raise ConfigError("a writing() is entered once; call cache.writing(...) for each block")
        self._entered = True
        if not self._marks:
            return self._write
        self._loop = asyncio.get_running_loop()
        capture = self._store.capture(self._tags, None)
        marks = [self._store.marks.mark(name, self._token, renewal=False) for name in self._names]
        self._arm()
        try:
            await asyncio.gather(*marks)
            self._write.captured = await capture.done()
        except BackendError as error:
            self._take_back()
            if not cannot_write(error):
                raise
            raise BackendUnavailable(
                f"the write was not begun, for Redis did not confirm its mark: {error}"
            ) from error
        except BaseException:
            self._take_back()
            raise
        return self._write

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Store the values, or delete, and wait until Redis has confirmed it, or will not.

        Without a confirmation it returns all the same: the mark ends by itself.

        Raises:
            ClosedError: The client was closed meanwhile, and the block raised nothing itself.
        """
        if not self._marks:
            return
        self._stop()
        entries = self._write.entries if kind is None and self._stores else {}
        try:
            answer = self._store.marks.leave(self._names, self._token, entries)
        except ClosedError:
            if kind is None:
                raise
            return
        answer.add_done_callback(partial(self._store.marks.told_of_leave, self._names))
        await asyncio.shield(answer)

    # -- renewing -----------------------------------------------------------------------------

    def _arm(self) -> None:
        self._timer = self._loop.call_later(self._store.marks.milliseconds / 3000, self._renew)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _renew(self) -> None:
        self._timer = None
        try:
            for name in self._names:
                self._store.marks.mark(name, self._token, renewal=True).add_done_callback(consumed)
        except (ClosedError, ConfigError):
            return
        self._arm()

    def _take_back(self) -> None:
        self._stop()
        for name in self._names:
            self._store.marks.unmark(name, self._token)
