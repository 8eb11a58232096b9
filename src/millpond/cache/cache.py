"""`Cache`: cache-aside with one load per key and fleet, and no stale value after a delete.

The whole protocol lives under the entry's own key, so that each step touches one slot and a plain
`DEL` by anybody revokes all there is to revoke. The flight's half of it is told in `flight.py`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from millpond.cache.batches import BATCH, batched, positive
from millpond.cache.cached import Cached
from millpond.cache.cached_many import CachedMany
from millpond.cache.context import check_mode, mode_of, open_scopes, scopes
from millpond.cache.decision import ABSENT
from millpond.cache.entry import Entry, described, seconds_left
from millpond.cache.fetching import Fetch, Warmed, load_past
from millpond.cache.joining import join_or_begin
from millpond.cache.loaded import Loaded, unwrapped
from millpond.cache.many import named, read_many, several
from millpond.cache.matching import check_pattern, matching
from millpond.cache.missing import MISSING, Missing
from millpond.cache.policy import CachePolicy
from millpond.cache.reading import Observed, entry_at, found_at, read_or_load_entry, taken
from millpond.cache.reload import reload
from millpond.cache.stale import begin_refresh
from millpond.cache.store import Store
from millpond.cache.storing import put_all, touch_all
from millpond.cache.tags import tag_names
from millpond.cache.template import parse_key
from millpond.cache.writing import Writing
from millpond.core.codec import Codec
from millpond.core.durations import milliseconds
from millpond.core.entry import HEAD_SIZE, HIT_SIZE
from millpond.core.keys import Keyspace
from millpond.errors import BackendError, ConfigError, InvalidationPending

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
    from datetime import timedelta

    from millpond.cache.bulk import LoadMany
    from millpond.cache.context import CacheMode
    from millpond.cache.loaded import Loader, Revalidate
    from millpond.cache.statistics import CacheStatistics
    from millpond.core.client import Client
    from millpond.core.journal import Invalidation
    from millpond.core.keys import Key

__all__ = ["Cache"]

T = TypeVar("T")
D = TypeVar("D")
K = TypeVar("K", bound="Key")
P = ParamSpec("P")

_READING: tuple[CacheMode, ...] = ("normal", "refresh")
# Made once: to make a slice for each hit takes 8 ns.
_BEGINNING, _PAYLOAD = slice(HIT_SIZE), slice(HEAD_SIZE, None)


class Cache(Generic[T]):
    """Values of one type under one namespace.

    **Fresh after a write**: no read that begins after `delete()` returned True gives an older
    value, in any process, provided that the loader reads the primary in a transaction of its own,
    the writer commits before it deletes, and the server keeps what it acknowledged.

    **One load**: while a loader runs, other callers in all processes wait for it and are pushed
    awake. Should its process die, the next load begins within `lease_ttl`.

    May be made at import, before the client is open.
    """

    @overload
    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        ttl: float | timedelta,
        type: type[T],
        version: int = 0,
        policy: CachePolicy | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        ttl: float | timedelta,
        type: Any = Any,
        version: int = 0,
        policy: CachePolicy | None = None,
    ) -> None: ...
    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        ttl: float | timedelta,
        type: Any = Any,  # noqa: A002  (the word the field uses)
        version: int = 0,
        policy: CachePolicy | None = None,
    ) -> None:
        """Describe the cache; no I/O.

        Args:
            client: The way to Redis.
            namespace: The second part of every key: letters, digits, `_`, `-` and `.`.
            ttl: Seconds or timedelta that a value lives; mandatory, for what is never expired is
                never corrected either.
            type: Of the values: msgspec structs, dataclasses, attrs classes, TypedDicts, pydantic
                models, builtins, unions of these. Default: whatever MessagePack can say.
            version: Raise it when stored values must not be read any more; entries of another
                version are misses, and an older version never replaces a newer one.
            policy: The choices that have defaults.

        Raises:
            ConfigError: A namespace, TTL, type or version that cannot be.
        """
        if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 65536:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"version must be a number from 0 to 65535, not {version!r}")
        codec = Codec(type, version)
        self._client = client
        keyspace = Keyspace(client.prefix, namespace)
        self._head = keyspace.head
        self._key = keyspace.__call__  # bound once: 50 ns a call
        self._keyspace = keyspace
        self._store = Store[T](
            client,
            codec,
            keyspace.head,
            ttl=milliseconds(ttl, "ttl"),
            version=version,
            policy=policy or CachePolicy(),
            tag_names=partial(tag_names, keyspace),
        )
        self._versions = self._store.versions
        self._near = self._store.near
        self._soft = self._store.verdicts.fresh
        self._checked = self._store.lifetimes.checked
        self._decode = codec.decode_or_raise
        self._counters = self._store.counters

    # -- reading ----------------------------------------------------------------------------

    @overload
    async def get(self, key: Key) -> T | Missing: ...
    @overload
    async def get(self, key: Key, default: D) -> T | D: ...
    async def get(self, key: Key, default: Any = MISSING) -> Any:
        """Read a value, if there is one.

        Args:
            key: Its key.
            default: Returned when there is none, or only a lease or an error. `MISSING` is falsy,
                and unlike None it is never a value.

        Raises:
            ConfigError: A key that cannot be one.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            BackendTimeout: The same, where it did not answer.

        Redis:
            GET.
        """
        key_of = self._key
        name = key_of(key)
        if scopes.entered and open_scopes() and mode_of(self) not in _READING:
            return default
        near = self._near
        if near is not None:
            value = near.get(name)
            if value is not MISSING:
                self._counters.hits += 1
                return value
        # A hit is worth every nanosecond: these lines stand here and in `get_or_set`, since a
        # function of their own would cost a tenth of it.
        versions, decode = self._versions, self._decode
        lane: Any = self._client.lane
        if lane is not versions.lane or versions.turn != lane.batches:
            versions.ask()
            lane = self._client.open_lane()
        try:
            read = lane.get if near is None else near.read
            raw = await read(name)
        except BackendError as error:
            self._store.verdicts.barred(name, error)
        else:
            if raw is not None:
                if raw[_BEGINNING] == versions.hit:
                    try:
                        value = decode(raw[_PAYLOAD])
                    except Exception as error:  # noqa: BLE001  (a value's own methods run in there)
                        self._store.undecodable(name, raw, error)
                    else:
                        self._counters.hits += 1
                        return value
                else:
                    value = self._fresh(raw)
                    if value is MISSING:
                        value, found = await taken(self._store, name, raw)
                        self._counters.stale += found.stale
                    if value is not MISSING:
                        self._counters.hits += 1
                        return value
        self._counters.misses += 1
        return default

    async def get_many(self, keys: Iterable[K]) -> dict[K, T]:
        """Read many values, in one round trip where one `get` for each would take as many.

        Args:
            keys: Their keys: a list, a set, whatever can be iterated over. Of one key under two
                spellings (`42` and `"42"`) each is found.

        Returns:
            The values that there are, by the keys as you gave them, in their order. A key without
            a value is not in it, so that None in it is a value. Stale ones as from `get`.

        Raises:
            ConfigError: A key that cannot be one, or a `str` where a list of keys belongs.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            BackendTimeout: The same, where it did not answer.

        Redis:
            MGET of what is not near, at most 500 keys in each.
        """
        names = named(several(keys, "get_many()"), self._key)
        if scopes.entered and mode_of(self) not in _READING:
            return {}
        values, *_ = await read_many(self._store, names)
        self._counters.hits += len(values)
        self._counters.misses += len(names) - len(values)
        return values

    async def get_entry(self, key: Key) -> Entry[T] | None:
        """Read a value with its age and its time to live.

        Args:
            key: Its key.

        Returns:
            The entry; None where `get` would find nothing.

        Raises:
            ConfigError: A key that cannot be one.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            BackendTimeout: The same, where it did not answer.

        Redis:
            GET and PTTL, in one batch.
        """
        entry = await self._entry(self._key(key))
        if entry is None:
            self._counters.misses += 1
        else:
            self._counters.hits += 1
            self._counters.stale += entry.stale
        return entry

    async def _entry(self, name: str) -> Entry[T] | None:
        if scopes.entered and mode_of(self) not in _READING:
            return None
        return await entry_at(self._store, name)

    def _fresh(self, raw: bytes) -> T | Missing:
        """Take out a value that can be stale one day and is not: a hit as quick as a plain one."""
        payload = self._soft(raw)
        if payload is None:
            return MISSING
        try:
            return self._decode(payload)
        except Exception:  # noqa: BLE001  (a value's own methods run in there)
            return MISSING  # `taken` tells why

    async def get_or_set_entry(
        self,
        key: Key,
        loader: Loader[T],
        *,
        ttl: float | timedelta | None = None,
        tags: Collection[Key] = (),
        mode: CacheMode | None = None,
        revalidate: Revalidate[T] | None = None,
    ) -> Entry[T]:
        """Read a value, or load and store it, and tell its age and its time to live.

        Args:
            key: The value's key.
            loader: As for `get_or_set`.
            ttl: As for `get_or_set`.
            tags: As for `get_or_set`.
            mode: As for `get_or_set`.
            revalidate: As for `get_or_set`.

        Returns:
            The entry, as Redis has it after the load. A value that was not stored (deleted
            meanwhile, past the cache, an outage) has a `ttl` of 0. A stale one that is served
            because it could not be loaded has the age that it had when it was found, and more.

        Raises:
            Exception: As `get_or_set`.

        Redis:
            Hit: GET and PTTL, in one batch. Otherwise as `get_or_set`, then GET and PTTL.
        """
        name, lifetime, marks = self._key(key), *self._options(ttl, tags)
        observed = Observed(loader, revalidate)
        if self._mode(mode) == "normal":
            return await read_or_load_entry(self._store, name, observed, ttl=lifetime, tags=marks)
        value = await self._led(name, observed.load, lifetime, mode, marks)
        entry = await self._entry(name) if self._mode(mode) in _READING else None
        return described(value, entry, loaded=observed.loaded)

    async def get_or_set(  # noqa: PLR0912  (one flat path: a call would cost a tenth of a hit)
        self,
        key: Key,
        loader: Loader[T],
        *,
        ttl: float | timedelta | None = None,
        tags: Collection[Key] = (),
        mode: CacheMode | None = None,
        revalidate: Revalidate[T] | None = None,
    ) -> T:
        """Read a value, or load and store it; many callers share one load.

        The load runs on its own: a caller that is cancelled leaves the others and the load
        undisturbed, and the loader must hold nothing that ends with the caller's request, such
        as a request's database session. It should begin its own transaction on the primary.
        While Redis is out of reach the loader is called (see `CachePolicy.on_unavailable`).

        Args:
            key: The value's key.
            loader: Called without arguments when there is no value. None is a value, too; `Loaded`
                is one with a time to live or tags of its own.
            ttl: Seconds or timedelta for this value; None: the cache's.
            tags: What it is to be deleted by, with `delete_tags`: keys, 50 at most. They are those
                of the call that loads; a value that is there keeps its own.
            mode: As if in `with cache_mode(mode):`; a scope that disables the cache is stronger.
            revalidate: Called instead of the loader where a value is there that is past its time,
                or due for an early refresh, with that value. May return `NOT_MODIFIED`, which keeps
                it, and its tags, for another TTL.

        Returns:
            The stored value, or the loader's. A stale one where the policy allows it: within
            `stale_while_revalidate`, and within `stale_if_error` if the load fails.

        Raises:
            ConfigError: A key, TTL, tag or mode that cannot be one.
            LoadTimeout: The loader ran past `load_timeout`.
            LoadDeadlock: This is called inside a loader that the value waits for.
            RemoteLoadError: The loader failed in the process that was being waited for.
            CodecError: The loader's value cannot be encoded as the cache's type.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            BackendTimeout: The same, where it did not answer.
            Exception: Whatever the loader raises, to all who share the load and have no stale
                value to fall back on.

        Redis:
            Hit: GET. Miss: GET, EVALSHA claim, EVALSHA fill. Waiting: GET, EVALSHA claim, one
            tracked read, and one more for each push. With each batch of any of these one GET for
            the namespace's version, and with a fill one EVALSHA; for each tag the same. A refresh
            in the background: EVALSHA claim and fill; or EVALSHA defer, if it fails.
        """
        key_of = self._key
        name = key_of(key)
        lifetime = None if ttl is None else self._checked(milliseconds(ttl, "ttl"))
        marks = tag_names(self._keyspace, tags) if tags else ()
        if (mode is not None or (scopes.entered and open_scopes())) and (
            self._mode(mode) != "normal"
        ):
            return await self._led(name, loader, lifetime, mode, marks)
        missed = False
        versions, decode = self._versions, self._decode
        near = self._near
        if near is not None:
            value = near.get(name)
            if value is not MISSING:
                self._counters.hits += 1
                return value
        while True:
            lane: Any = self._client.lane
            if lane is not versions.lane or versions.turn != lane.batches:
                versions.ask()
                lane = self._client.open_lane()
            looked = versions.look(marks) if marks else None
            try:
                read = lane.get if near is None else near.read
                raw = await read(name)
            except BackendError as error:
                found = self._store.verdicts.barred(name, error)
            else:
                if raw is None:
                    found = ABSENT
                elif raw[_BEGINNING] == versions.hit:
                    try:
                        value = decode(raw[_PAYLOAD])
                    except Exception as error:  # noqa: BLE001  (a value's own methods run in there)
                        found = self._store.undecodable(name, raw, error)
                    else:
                        self._counters.hits += 1
                        return value
                else:
                    value, found = self._fresh(raw), ABSENT
                    if value is MISSING:
                        value, found = await taken(self._store, name, raw, looked)
                    if value is not MISSING:
                        self._counters.hits += 1
                        if found.soft is not None:
                            self._counters.stale += found.stale
                            begin_refresh(
                                self._store,
                                name,
                                loader,
                                ttl=lifetime,
                                tags=marks,
                                verdict=found,
                                revalidate=revalidate,
                            )
                        return value
            self._counters.misses += not missed
            missed = True
            landed = await join_or_begin(
                self._store,
                name,
                loader,
                ttl=lifetime,
                tags=marks,
                verdict=found,
                revalidate=revalidate,
            )
            if landed is not None:
                value = self._store.unload(name, landed)
                if value is not MISSING:
                    return value

    async def get_or_set_many(
        self,
        keys: Iterable[K],
        load_many: LoadMany[K, T],
        *,
        ttl: float | timedelta | None = None,
        tags: Collection[Key] = (),
        mode: CacheMode | None = None,
    ) -> dict[K, T]:
        """Read many values, and load and store those that there are not, with one call.

        Each key is loaded as by `get_or_set`: once for the fleet, under a lease of its own. The
        loader is called once, with the keys that nobody else is loading; the others are waited
        for, also those that are loaded one by one. (It is called again for keys that were loaded
        elsewhere and have come to nothing there.) The load runs on its own: whoever is cancelled
        leaves the others undisturbed.

        The loader returns what it has, by key, in any order and any spelling. A key that it leaves
        out has no value, is not in the result, and is asked for again next time: give None to
        remember that there is none. A key whose value is an exception has failed with it.

        Stale values are served as by `get_or_set`, where the policy allows it. Those that are due
        are refreshed in the background, by one more call with their keys; one that the loader
        leaves out then stays as it is. If it fails, those within `stale_if_error` are the answer.

        Args:
            keys: Their keys, as for `get_many`; one call loads all that are missing, so ask for
                thousands at a time, not for millions (`warm` goes in batches).
            load_many: Called with a list of these keys; it has what `get_or_set` asks of a loader.
            ttl: Seconds or timedelta for these values; None: the cache's.
            tags: What those that are loaded are to be deleted by, as for `get_or_set`.
            mode: As for `get_or_set`.

        Returns:
            The values that there are, by the keys as you gave them, in their order.

        Raises:
            LoadManyFailed: Some keys failed, and others may not have: it has `values` and `errors`.
                So it is, too, if the loader gave keys that it was not asked for; the rest is kept.
            ConfigError: A key, TTL, tag or mode that cannot be one; or the loader returned no
                mapping.
            LoadTimeout: The loader ran past `load_timeout`.
            LoadDeadlock: This is called inside a loader that one of the values waits for.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            BackendTimeout: The same, where it did not answer.
            Exception: Whatever the loader raises as a whole.

        Redis:
            MGET, at most 500 keys in each; for each key that is missing or due as `get_or_set`,
            pipelined.
        """
        names = named(several(keys, "get_or_set_many()"), self._key)
        lifetime, marks = self._options(ttl, tags)
        chosen = self._mode(mode)
        if chosen not in _READING:
            self._counters.bypassed += 1
            return await load_past(names, self._key, load_many)
        fetch = Fetch(self._store, names, self._key, load_many, ttl=lifetime, tags=marks)
        await (fetch.reload() if chosen == "refresh" else fetch.read_or_load())
        return fetch.result()

    async def refresh_many(
        self,
        keys: Iterable[K],
        load_many: LoadMany[K, T],
        *,
        ttl: float | timedelta | None = None,
        tags: Collection[Key] = (),
    ) -> dict[K, T]:
        """Load many values now, with one call, and store each as `refresh` does.

        A key that the loader leaves out has no value any more, except where stale ones are kept.

        Args:
            keys: Their keys.
            load_many: As for `get_or_set_many`.
            ttl: Seconds or timedelta for these values; None: the cache's.
            tags: As for `get_or_set_many`.

        Returns:
            The loader's values, by the keys as you gave them, in their order.

        Raises:
            Exception: As `get_or_set_many`.

        Redis:
            For each key as `refresh`, pipelined.
        """
        return await self.get_or_set_many(keys, load_many, ttl=ttl, tags=tags, mode="refresh")

    async def warm(
        self,
        keys: Iterable[K],
        load_many: LoadMany[K, T],
        *,
        batch: int = BATCH,
        ttl: float | timedelta | None = None,
        tags: Collection[Key] = (),
    ) -> Warmed:
        """Load and store what is missing of many values, in batches, one after another.

        It never replaces a value, so several processes may warm the same keys as they start: each
        key is loaded by one of them. Unlike `set_many` it stores nothing that was deleted while it
        was being loaded. Where the cache is bypassed or disabled, it does nothing.

        Args:
            keys: Their keys; a generator is read batch by batch.
            load_many: As for `get_or_set_many`; called with at most a batch of keys.
            batch: How many keys are read, and loaded, at a time.
            ttl: Seconds or timedelta for these values; None: the cache's.
            tags: As for `get_or_set_many`.

        Returns:
            What was there, loaded, stored, not to be had, and failed. Failures of single keys are
            counted, not raised.

        Raises:
            ConfigError: A key, TTL, tag or batch that cannot be one. Batches before it are stored.
            Exception: As `get_or_set_many`, `LoadManyFailed` excepted: a loader that raises ends
                it, for its source is hardly well. Batches before are stored.

        Redis:
            As `get_or_set_many`, batch by batch.
        """
        rest = several(keys, "warm()")
        lifetime, marks = self._options(ttl, tags)
        chosen, done = self._mode(None), Warmed()
        for some in batched(rest, positive(batch, "batch")):
            if chosen in _READING:
                names = named(some, self._key)
                fetch = Fetch(self._store, names, self._key, load_many, ttl=lifetime, tags=marks)
                await (fetch.reload() if chosen == "refresh" else fetch.read_or_load(due=False))
                done = done.and_then(fetch.warmed())
        return done

    def cached(
        self,
        template: str,
        *,
        ttl: float | timedelta | None = None,
        tags: Collection[str] = (),
        ignore: Collection[str] = (),
    ) -> Callable[[Callable[P, Coroutine[Any, Any, T | Loaded[T]]]], Cached[P, T]]:
        """Keep the results of an async function: `@users.cached("{user_id}")`.

        Args:
            template: The key: the function's parameters in braces, perhaps with attributes
                (`{user.id}`), and words, with `:` between them. One part alone is the key itself,
                so that `"{user_id}"` is the key of `get(user_id)`; several make a tuple.
            ttl: Seconds or timedelta for these values; None: the cache's.
            tags: Templates as the key's, of what the values are to be deleted by: `"org:{org_id}"`
                is the tag `("org", org_id)`.
            ignore: Parameters that the value does not depend on. All others must be in the
                template, those that FastAPI takes from the request too; except `self` and `cls`,
                `Response` and `BackgroundTasks`.

        Returns:
            A decorator that makes the function a `Cached`.

        Raises:
            ConfigError: Not an `async def`; or a template that names what is no parameter or
                cannot be in a key; or the key's leaves out a parameter.
        """
        parse_key(template)  # `@users.cached`, without the call, would have the function here
        return lambda function: Cached(self, function, template, ttl=ttl, tags=tags, ignore=ignore)

    def cached_many(
        self,
        template: str,
        *,
        over: str,
        ttl: float | timedelta | None = None,
        ignore: Collection[str] = (),
    ) -> Callable[
        [Callable[P, Coroutine[Any, Any, Mapping[K, T | Loaded[T] | Exception]]]],
        CachedMany[P, K, T],
    ]:
        """Keep the results of an async function of many ids, id by id.

        `@users.cached_many("{user_id}", over="user_ids")` above
        `async def get_users(user_ids: list[int]) -> dict[int, User]`.

        Args:
            template: As for `cached`, with a name of your own for one of the ids. `"{user_id}"`
                alone is the key of `get(user_id)`, so that both decorators may share a cache.
            over: The parameter that has the ids. The function is given a list of those that are
                missing, and returns what `get_or_set_many` asks of its loader.
            ttl: Seconds or timedelta for these values; None: the cache's.
            ignore: As for `cached`.

        Returns:
            A decorator that makes the function a `CachedMany`.

        Raises:
            ConfigError: As for `cached`; no such parameter, or one that takes no list.
        """
        parse_key(template)
        return lambda function: CachedMany(
            self, function, template, over=over, ttl=ttl, ignore=ignore
        )

    async def refresh(
        self,
        key: Key,
        loader: Loader[T],
        *,
        ttl: float | timedelta | None = None,
        tags: Collection[Key] = (),
    ) -> T:
        """Load a value now and store it over what is there; never a value loaded before.

        Calls for one key that begin before a load share it. While it runs, other readers wait for
        it; where the cache keeps stale values they are served the old one, for as long as they
        would be anyway. Deletes and writes are stronger: what they revoke is not stored. If the
        loader fails, there is no value any more, except where stale ones are kept.

        Args:
            key: The value's key.
            loader: As for `get_or_set`.
            ttl: Seconds or timedelta for this value; None: the cache's.
            tags: As for `get_or_set`.

        Returns:
            The loader's value.

        Raises:
            Exception: As `get_or_set`, but for what stored errors raise.

        Redis:
            EVALSHA claim, twice where there is a value, and EVALSHA fill. Loads elsewhere are
            waited for first, as by `get_or_set`.
        """
        name, lifetime, marks = self._key(key), *self._options(ttl, tags)
        return await self._led(name, loader, lifetime, "refresh", marks)

    async def _led(
        self,
        name: str,
        loader: Loader[T],
        ttl: int | None,
        mode: CacheMode | None,
        tags: tuple[str, ...],
    ) -> T:
        """Load as a mode wants it."""
        if self._mode(mode) != "refresh":
            self._counters.bypassed += 1
            return unwrapped(name, await loader(), ttl, self._store).value
        while True:
            landed = await reload(self._store, name, loader, ttl, tags)
            value = self._store.unload(name, landed)
            if value is not MISSING:
                return value

    def _options(
        self, ttl: float | timedelta | None, tags: Collection[Key]
    ) -> tuple[int | None, tuple[str, ...]]:
        """Check a call's TTL and tags; return them as the protocol has them."""
        return self._store.lifetimes.given(ttl), tag_names(self._keyspace, tags) if tags else ()

    def _mode(self, mode: CacheMode | None) -> CacheMode:
        """Choose between a call's mode and that of the scopes around it."""
        around = mode_of(self)
        return around if mode is None or around == "disable" else check_mode(mode)

    def _disabled(self) -> bool:
        return scopes.entered and mode_of(self) == "disable"

    def _unused(self) -> bool:
        """Tell whether the cache is disabled and its client is not even open."""
        return self._disabled() and self._client.statistics().state == "closed"

    # -- writing ----------------------------------------------------------------------------

    async def set(
        self,
        key: Key,
        value: T,
        *,
        ttl: float | timedelta | None = None,
        tags: Collection[Key] = (),
    ) -> bool:
        """Store a value over whatever is there: the last writer wins.

        Beside a database this is weaker than `delete`: two writers may set in the other order
        than they committed. Where values come from a database, commit and then `delete`.

        Args:
            key: Its key.
            value: The value.
            ttl: Seconds or timedelta for this value; None: the cache's.
            tags: What it is to be deleted by.

        Returns:
            Whether it was stored. It was not if Redis is out of reach or full (and
            `on_unavailable` is `"load"`), if a newer version of this cache has a value there, or
            if the cache is disabled (`cache_mode`).

        Raises:
            ConfigError: A key, TTL or tag that cannot be one.
            CodecError: The value cannot be encoded as the cache's type.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            BackendTimeout: The same, where it did not answer.

        Redis:
            EVALSHA store, and one for the namespace's version; for each tag one more before.
        """
        return await self._set([(self._key(key), self._store.encode(value))], ttl, tags)

    async def set_many(
        self,
        values: Mapping[K, T],
        *,
        ttl: float | timedelta | None = None,
        tags: Collection[Key] = (),
    ) -> bool:
        """Store many values over whatever is there, each as `set` does.

        All are encoded before the first is sent. They are sent in batches; a caller who is
        cancelled has stored some of them.

        Args:
            values: By key.
            ttl: Seconds or timedelta for these values; None: the cache's.
            tags: What they are to be deleted by.

        Returns:
            Whether every one was stored; see `set` for why one may not be.

        Raises:
            ConfigError: A key, TTL or tag that cannot be one; nothing was stored.
            CodecError: A value cannot be encoded as the cache's type; nothing was stored.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            BackendTimeout: The same, where it did not answer.

        Redis:
            EVALSHA store for each, pipelined, at most 500 at a time.
        """
        encoded = [(self._key(key), self._store.encode(value)) for key, value in values.items()]
        return await self._set(encoded, ttl, tags)

    async def _set(
        self,
        encoded: list[tuple[str, bytes | None]],
        ttl: float | timedelta | None,
        tags: Collection[Key],
    ) -> bool:
        lifetime, marks = self._options(ttl, tags)
        if self._disabled():
            return False
        return await put_all(self._store, encoded, lifetime, marks)

    async def touch(self, *keys: Key, ttl: float | timedelta | None = None) -> int:
        """Give values that are there a new time to live, counted from now.

        Leases, write marks, errors, values of other versions and those that are stale (`expire`, or
        past their time) are left alone: it makes no value any fresher.

        Args:
            keys: Their keys.
            ttl: Seconds or timedelta; None: the cache's, less up to its `jitter`.

        Returns:
            How many were there; one whose tag was deleted counts until it is replaced, though no
            reader is given it. With Redis out of reach (and `on_unavailable="load"`) 0.

        Raises:
            ConfigError: A key or TTL that cannot be one; nothing was touched.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            BackendTimeout: The same, where it did not answer.

        Redis:
            EVALSHA version, then EVALSHA touch for each, pipelined, at most 500 at a time.
        """
        lifetime = self._store.lifetimes.given(ttl)
        names = [self._key(key) for key in keys]
        return 0 if self._unused() else await touch_all(self._store, names, lifetime)

    async def ttl(self, key: Key) -> float | None:
        """Tell how many seconds a value has left.

        Returns:
            Seconds, infinite for a value that somebody has made to stay (`PERSIST`); None if
            there is no value of this cache: nothing at all, a load under way, a write, an error.
            None too with Redis out of reach (and `on_unavailable="load"`).

        Raises:
            ConfigError: A key that cannot be one.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            BackendTimeout: The same, where it did not answer.

        Redis:
            GET and PTTL, in one batch.
        """
        name = self._key(key)
        if self._unused():
            return None
        value, _, _, pttl = await found_at(self._store, name)
        return None if value is MISSING else seconds_left(pttl)

    async def delete(self, *keys: Key) -> bool:
        """Remove values, and revoke every load of them that is under way, in any process.

        Commit before you call it. All of it is under way before the first suspension, so a
        cancelled caller has deleted nonetheless. Thousands go in batches, each when the last was
        acknowledged, so that others are served between them.

        Args:
            keys: Their keys; absent ones are fine.

        Returns:
            True if Redis acknowledged, so that no later read gives an older value. False if it
            did not (gone, hung or refusing); then a `DeleteUnconfirmed` event was emitted, and
            the delete is kept and sent again: on the next connection before anything that this
            process reads. Until then readers may see the old values. At most 10,000 are kept: of
            more the oldest are given up, which `InvalidationsDropped` and the reason tell.

        Raises:
            ConfigError: A key that cannot be one; nothing was deleted.
            InvalidationPending: Redis did not acknowledge, with `on_unconfirmed="raise"`.

        Redis:
            EVALSHA delete for each key, pipelined, at most 500 at a time.
        """
        names = [self._key(key) for key in keys]
        return not names or self._unused() or await self._store.deletes.delete(names)

    async def expire(self, *keys: Key) -> bool:
        """Make values stale now: the next reader is still given the old one, and has it refreshed.

        For writes of which readers may see the old value a moment longer: it spares them the wait
        that `delete` costs the next of them. Loads and refreshes under way are revoked, as by
        `delete`, so that nothing read before this call is stored as fresh. Where the cache keeps no
        stale values (`stale_while_revalidate`, `stale_if_error`) it is `delete`; so it is of what
        is no value: a lease, an error, and of a write mark.

        Args:
            keys: Their keys; absent ones are fine.

        Returns:
            As `delete`: True if Redis acknowledged. What it did not acknowledge is kept and sent
            again.

        Raises:
            ConfigError: A key that cannot be one; nothing was expired.
            InvalidationPending: Redis did not acknowledge, with `on_unconfirmed="raise"`.

        Redis:
            EVALSHA delete for each key, pipelined; with `expire.lua` in front of it.
        """
        names = [self._key(key) for key in keys]
        return not names or self._unused() or await self._store.deletes.expire(names)

    async def delete_tags(self, *tags: Key) -> bool:
        """Remove every value that has one of these tags, in two round trips, however many they are.

        As `delete`: commit before you call it; loads under way store nothing that is worth
        anything; a cancelled caller has deleted nonetheless. No entry is touched: what is worth
        nothing any more is replaced when it is asked for, or ends with its TTL.

        Args:
            tags: Keys, as `get_or_set(tags=...)` was given them.

        Returns:
            Whether Redis acknowledged, as `delete`.

        Raises:
            ConfigError: A tag that cannot be one; nothing was deleted.
            InvalidationPending: Redis did not acknowledge, with `on_unconfirmed="raise"`.

        Redis:
            EVALSHA revoke for the namespace; once it has answered, for each tag, pipelined.
        """
        return await self._change_tags(tags, self._versions.delete)

    async def expire_tags(self, *tags: Key) -> bool:
        """Make every value that has one of these tags stale now, in two round trips.

        As `expire`, and as `delete_tags` in all else: where the cache keeps no stale values the two
        are the same.

        Args:
            tags: Keys, as `get_or_set(tags=...)` was given them.

        Returns:
            Whether Redis acknowledged, as `delete`.

        Raises:
            ConfigError: A tag that cannot be one; nothing was expired.
            InvalidationPending: Redis did not acknowledge, with `on_unconfirmed="raise"`.

        Redis:
            EVALSHA revoke for the namespace; once it has answered, for each tag, pipelined.
        """
        return await self._change_tags(tags, self._versions.expire)

    async def _change_tags(
        self, tags: Collection[Key], changes: Callable[[tuple[str, ...]], list[Invalidation]]
    ) -> bool:
        marks = tag_names(self._keyspace, tags, of_one_entry=False)
        if not marks or self._unused():
            return True
        names = [self._versions.tag_key(mark) for mark in marks]
        return await self._store.deletes.change(names, changes(marks))

    async def clear(self) -> bool:
        """Remove every value of this namespace, in one round trip, however many they are.

        As `delete_tags`, for all; write marks stay, and so does what `writing` protects.

        Returns:
            Whether Redis acknowledged, as `delete`.

        Raises:
            InvalidationPending: Redis did not acknowledge, with `on_unconfirmed="raise"`.

        Redis:
            EVALSHA revoke.
        """
        if self._unused():
            return True
        changes = self._versions.new_era()
        return await self._store.deletes.change(list(changes[0].keys), changes)

    async def delete_matching(self, pattern: str) -> int:
        """Remove every value whose key matches a pattern, by walking through all keys.

        Costly: it looks at every key of the server's database, other namespaces' too, in steps
        between which others are served. For maintenance; in a request, tags do it in one round
        trip. Never make a pattern of what a user typed.

        Not under the promise of `delete`: only keys that are there from the first step to the last
        are certain to be met. A value stored meanwhile may be missed, and so may a load that
        begins meanwhile. What is met is deleted as by `delete`: loads of it store nothing. Of a
        Cluster it would see one node, which is no promise at all: use tags there.

        Args:
            pattern: Of the part of the key behind prefix and namespace, in Redis' words: `*` any
                characters, `?` one byte, `[abc]` one of these. Parts of a tuple have `:` between
                them, and are escaped as `key()` shows.

        Returns:
            How many were there. Leases of loads under way count.

        Raises:
            ConfigError: No pattern.
            InvalidationPending: Redis did not acknowledge some deletes, which are kept and sent
                again; what was not scanned yet is untouched.
            BackendUnavailable: Redis was out of reach before the walk was done.
            BackendTimeout: The same, where it did not answer.

        Redis:
            SCAN over the whole database in steps of 500 keys; for each match GETRANGE and EVALSHA
            delete, pipelined.
        """
        whole = check_pattern(self._head, pattern)
        if self._unused():
            return 0
        there = 0
        async for names in matching(self._client, self._head, whole):
            for some in batched(names, BATCH):
                if not await self._store.deletes.delete(some):
                    raise InvalidationPending(tuple(some), "Redis did not acknowledge")
                there += len(some)
        return there

    def writing(self, *keys: Key, tags: Collection[Key] = ()) -> Writing[T]:
        """Mark keys as being written for as long as a block runs: commit inside it.

        `async with users.writing(42) as write:` and, for write-through, `write.set(user)`; of
        several keys `write.set(key, user)`. While the block runs, readers load past the cache and
        store nothing. When it ends, the keys are deleted; or what was set is stored, unless others
        wrote them meanwhile, or the block raised. It is renewed however long the block takes.

        Stricter than `delete` after a commit: a process that is killed between the two, or cut
        off from Redis, leaves nothing stale either, provided that `CachePolicy.write_timeout` is
        long enough and that nobody else removes the mark (`DEL` from outside, `FLUSHALL`, an
        eviction, a failover that loses it).

        Args:
            keys: Their keys, one at least.
            tags: What the values that are set are to be deleted by.

        Returns:
            The block, for `async with`; it gives a `Write`. Entering raises `BackendUnavailable`
            if Redis has not confirmed every mark, and the body does not run. Leaving returns even
            if Redis does not answer: then a `WriteUnconfirmed` event was emitted, and a delete is
            kept and sent again.

        Raises:
            ConfigError: No key, or a key or tag that cannot be one.

        Redis:
            Entering: EVALSHA mark for each key and version for each tag, pipelined. Leaving:
            EVALSHA leave for each. Every third of `write_timeout`: EVALSHA mark for each.
        """
        names = list(dict.fromkeys(self._key(key) for key in keys))
        if not names:
            raise ConfigError("writing() without keys marks nothing; name the keys that change")
        return Writing(
            self._store,
            names,
            self._key,
            tags=tag_names(self._keyspace, tags),
            marks=not self._unused(),
            stores=not self._disabled(),
        )

    # -- the rest ---------------------------------------------------------------------------

    def key(self, key: Key) -> str:
        """Return the Redis key, whole: `DEL` of it by any client is a full invalidation.

        Raises:
            ConfigError: A key that cannot be one.
        """
        return self._key(key)

    @property
    def client(self) -> Client:
        """The way to Redis."""
        return self._client

    def statistics(self) -> CacheStatistics:
        """Counters of this process since the cache was made."""
        return self._counters.frozen(len(self._store.flights), self._near)
