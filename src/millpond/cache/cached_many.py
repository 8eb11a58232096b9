"""`@users.cached_many("{user_id}", over="user_ids")`: a function of many ids, kept id by id.

Calling it is `get_or_set_many` under the keys that its arguments give for each id, and the function
is called with the ids that are missing in place of those it was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from millpond.cache.decorated import Decorated
from millpond.cache.many import several
from millpond.cache.template import key_maker, parse_key
from millpond.core.durations import milliseconds
from millpond.errors import LoadManyFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from datetime import timedelta

    from millpond.cache.bulk import LoadMany
    from millpond.cache.cache import Cache
    from millpond.cache.loaded import Loaded
    from millpond.core.keys import Key

__all__ = ["CachedMany"]

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")


class CachedMany(Decorated[T], Generic[P, K, T]):
    """An async function of many ids whose results a cache keeps, made by `cache.cached_many(...)`.

    Await it as the function that it was; it returns a dict of the values that there are, by id, in
    the order of the ids. What `Cached` says of loads holds here.
    """

    def __init__(
        self,
        cache: Cache[T],
        function: Callable[P, Coroutine[Any, Any, Mapping[K, T | Loaded[T] | Exception]]],
        template: str,
        *,
        over: str,
        ttl: float | timedelta | None = None,
        ignore: Collection[str] = (),
    ) -> None:
        """Use `cache.cached_many(...)` instead."""
        super().__init__(cache, function)
        parameters = self._parameters
        parts = parse_key(template)
        one = parameters.check_many(template, parts, over, ignore)
        if ttl is not None:
            milliseconds(ttl, "ttl")
        self._over = over
        self._place = parameters.places[over]
        self._make_key = key_maker(parts, {**parameters.places, one: len(parameters.places)})
        self._ttl = ttl

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> dict[K, T]:
        """Return the stored results, and call the function for those that are missing.

        Raises:
            TypeError: The function would not take these arguments.
            ConfigError: An id, or an argument in the template, that cannot be in a key.
            Exception: As `Cache.get_or_set_many`, by id.

        Redis:
            As `Cache.get_or_set_many`.
        """
        ids, load = self._asked(args, kwargs)
        return await _by_id(ids, self._cache.get_or_set_many(list(ids), load, ttl=self._ttl))

    async def get(self, *args: P.args, **kwargs: P.kwargs) -> dict[K, T]:
        """Return the stored results, without calling the function.

        Raises:
            Exception: As `Cache.get_many`.

        Redis:
            As `Cache.get_many`.
        """
        ids, _ = self._asked(args, kwargs)
        return await _by_id(ids, self._cache.get_many(list(ids)))

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> dict[K, T]:
        """Call the function now and store its results, as `Cache.refresh_many`.

        Raises:
            Exception: As `Cache.refresh_many`.

        Redis:
            As `Cache.refresh_many`.
        """
        ids, load = self._asked(args, kwargs)
        return await _by_id(ids, self._cache.refresh_many(list(ids), load, ttl=self._ttl))

    async def bypass(self, *args: P.args, **kwargs: P.kwargs) -> dict[K, T]:
        """Call the function itself: nothing is read from Redis, and nothing stored.

        Raises:
            Exception: As `Cache.get_or_set_many` with `mode="bypass"`.

        Redis:
            Nothing.
        """
        ids, load = self._asked(args, kwargs)
        return await _by_id(ids, self._cache.get_or_set_many(list(ids), load, mode="bypass"))

    async def delete(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove the results of all these ids, as `Cache.delete`.

        Returns:
            Whether Redis acknowledged.

        Raises:
            Exception: As `Cache.delete`.

        Redis:
            As `Cache.delete`.
        """
        ids, _ = self._asked(args, kwargs)
        return await self._cache.delete(*ids)

    def keys(self, *args: P.args, **kwargs: P.kwargs) -> dict[K, str]:
        """Return the Redis key of each id.

        Raises:
            TypeError: The function would not take these arguments.
            ConfigError: An id, or an argument in the template, that cannot be in a key.
        """
        ids, _ = self._asked(args, kwargs)
        return {one: self._cache.key(key) for key, one in ids.items()}

    # -- as a method ------------------------------------------------------------------------

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: CachedMany[Concatenate[S, Q], K, T], instance: S, owner: type | None = None, /
    ) -> CachedMany[Q, K, T]: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> CachedMany[Any, K, T]:
        """Bind to an object, as a function in a class does."""
        return self._bound_to(instance)

    def _asked(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[Key, K], LoadMany[Any, T]]:
        """Return the id of each key, and the function as a loader of keys."""
        args = self._object + args
        values = self._parameters.values(args, kwargs)
        make = self._make_key
        name = self._cache.key

        def key_of(one: Any) -> Key:
            name(key := make((*values, one)))  # before it is hashed: it may be a list
            return key

        given = list(several(values[self._place], f"{self._over} of {self.__name__}()"))
        ids: dict[Key, K] = {key_of(one): one for one in given}

        async def load(keys: list[Any]) -> Any:
            wanted = [ids[key] for key in keys]
            changed = self._parameters.replaced(args, kwargs, self._over, wanted)
            answer: object = await self._function(*changed.args, **changed.kwargs)
            if not isinstance(answer, Mapping):
                return answer  # which is told what it should have been
            known = cast("Mapping[Any, T]", answer)
            found = {make((*values, one)): (one, value) for one, value in known.items()}
            for key, (one, _) in found.items():
                ids.setdefault(key, one)  # one that nobody asked for is named as it was given
            return {key: value for key, (_, value) in found.items()}

        return ids, load


async def _by_id(ids: Mapping[Key, K], answer: Coroutine[Any, Any, dict[Any, R]]) -> dict[K, R]:
    try:
        values = await answer
    except LoadManyFailed as failed:
        cause = failed.__cause__
        raise LoadManyFailed(
            {ids[key]: value for key, value in failed.values.items()},
            {ids[key]: error for key, error in failed.errors.items()},
        ) from cause
    return {ids[key]: value for key, value in values.items()}
