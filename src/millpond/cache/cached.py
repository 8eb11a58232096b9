"""`@users.cached("{user_id}")`: an async function whose results a cache keeps.

Calling it is `get_or_set` under the key that its arguments give, and everything else that a cache
does for one key is an attribute that takes the same arguments: `get_user.delete(42)`.

The object stands where the function stood: the same signature for FastAPI and for type checkers,
the same name and docstring, a method where it was defined in a class.
"""

from __future__ import annotations

from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    overload,
)

from millpond.cache.decorated import Decorated
from millpond.cache.tags import check_tags
from millpond.cache.template import Field, key_maker, parse_key
from millpond.core.durations import milliseconds
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from datetime import timedelta

    from millpond.cache.cache import Cache
    from millpond.cache.loaded import Loaded
    from millpond.cache.missing import Missing
    from millpond.core.keys import Key

__all__ = ["Cached"]

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")


class Cached(Decorated[T], Generic[P, T]):
    """An async function whose results a cache keeps; made by `cache.cached(...)`.

    Await it as the function that it was. The load runs on its own, shared by all who ask for the
    same key, and outlives the caller: whatever is passed that ends with a request, such as its
    database session, may be closed by then. Arguments that are not in the key are those of
    whoever asked first.
    """

    def __init__(
        self,
        cache: Cache[T],
        function: Callable[P, Coroutine[Any, Any, T | Loaded[T]]],
        template: str,
        *,
        ttl: float | timedelta | None = None,
        tags: Collection[str] = (),
        ignore: Collection[str] = (),
    ) -> None:
        """Use `cache.cached(...)` instead."""
        super().__init__(cache, function)
        parameters = self._parameters
        parts = parse_key(template)
        parameters.check(template, parts, ignore)
        self._of_class = next(iter(parameters.places), "") == "cls"
        self._make_tags = tuple([self._tag_maker(tag) for tag in check_tags(tags)])
        if ttl is not None:
            milliseconds(ttl, "ttl")
        self._get_or_set = cache.get_or_set
        self._values = parameters.values
        self._complete = parameters.complete
        self._make_key = key_maker(parts, parameters.places)
        self._ttl = ttl

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the stored result, or call the function and store it.

        Raises:
            TypeError: The function would not take these arguments.
            ConfigError: An argument in the template that cannot be in a key.
            Exception: As `Cache.get_or_set`.

        Redis:
            As `Cache.get_or_set`.
        """
        # As `_key` and `_loader` have it: a hit is worth a few calls less.
        function, given = self._function, self._object + args if self._object else args
        whole = not kwargs and len(given) == self._complete
        values = given if whole else self._values(given, kwargs)
        return await self._get_or_set(
            self._make_key(values),
            lambda: function(*given, **kwargs),
            ttl=self._ttl,
            tags=[make(values) for make in self._make_tags] if self._make_tags else (),
        )

    async def get(self, *args: P.args, **kwargs: P.kwargs) -> T | Missing:
        """Return the stored result, or `MISSING`, without calling the function.

        Raises:
            Exception: As `Cache.get`.

        Redis:
            As `Cache.get`.
        """
        return await self._cache.get(self._key(args, kwargs))

    async def set(self, value: T, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Store a result for these arguments, as `Cache.set`: the last writer wins.

        Args:
            value: Comes first, so that the arguments behind it are the function's own:
                `get_user.set(ada, 42)`.
            args: The function's.
            kwargs: The function's.

        Returns:
            Whether it was stored.

        Raises:
            Exception: As `Cache.set`.

        Redis:
            As `Cache.set`.
        """
        tags = self.tags(*args, **kwargs)
        return await self._cache.set(self._key(args, kwargs), value, ttl=self._ttl, tags=tags)

    async def delete(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove the result, and revoke a load of it that is under way, as `Cache.delete`.

        Returns:
            Whether Redis acknowledged.

        Raises:
            Exception: As `Cache.delete`.

        Redis:
            As `Cache.delete`.
        """
        return await self._cache.delete(self._key(args, kwargs))

    async def expire(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Make the result stale now, to be served once more and refreshed, as `Cache.expire`.

        Returns:
            Whether Redis acknowledged.

        Raises:
            Exception: As `Cache.expire`.

        Redis:
            As `Cache.expire`.
        """
        return await self._cache.expire(self._key(args, kwargs))

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function now and store its result over what is there, as `Cache.refresh`.

        Raises:
            Exception: As `Cache.refresh`.

        Redis:
            As `Cache.refresh`.
        """
        tags = self.tags(*args, **kwargs)
        return await self._cache.refresh(
            self._key(args, kwargs), self._loader(args, kwargs), ttl=self._ttl, tags=tags
        )

    async def bypass(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function itself: nothing is read from Redis, and nothing stored.

        Raises:
            TypeError: The function would not take these arguments.
            ConfigError: An argument in the template that cannot be in a key.
            Exception: Whatever the function raises.

        Redis:
            Nothing.
        """
        return await self._cache.get_or_set(
            self._key(args, kwargs), self._loader(args, kwargs), mode="bypass"
        )

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the Redis key for these arguments, as `Cache.key`.

        Raises:
            TypeError: The function would not take these arguments.
            ConfigError: An argument in the template that cannot be in a key.
        """
        return self._cache.key(self._key(args, kwargs))

    def tags(self, *args: P.args, **kwargs: P.kwargs) -> tuple[Key, ...]:
        """Return the tags that a result for these arguments is stored with.

        They are what `Cache.delete_tags` takes: of `"org:{org_id}"`, `("org", 7)`.

        Raises:
            TypeError: The function would not take these arguments.
        """
        values = self._values(self._with_object(args), kwargs)
        return tuple([make(values) for make in self._make_tags])

    # -- as a method ------------------------------------------------------------------------

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: Cached[Concatenate[S, Q], T], instance: S, owner: type | None = None, /
    ) -> Cached[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Cached[Any, T]:
        """Bind to an object, as a function in a class does."""
        return self._bound_to(instance)

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        return self._make_key(self._values(self._with_object(args), kwargs))

    def _with_object(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if self._object:
            return self._object + args
        if self._of_class and not isinstance(args[0] if args else None, type):
            # From Python 3.13 on `@classmethod` binds the call and none of the attributes: the
            # arguments would be taken one place too far to the left.
            name = self.__name__
            raise ConfigError(
                f"{name} is a classmethod, and its class has to be passed here: "
                f"Class.{name}.delete(Class, ...)"
            )
        return args

    def _tag_maker(self, template: str) -> Callable[[tuple[Any, ...]], Key]:
        """Check a tag's template as one of a key, but that it may leave out what it likes."""
        parts = parse_key(template)
        for part in parts:
            if isinstance(part, Field):
                self._parameters.check_field(template, part, alone=len(parts) == 1)
        return key_maker(parts, self._parameters.places)

    def _loader(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[], Coroutine[Any, Any, T | Loaded[T]]]:
        return partial(self._function, *self._object, *args, **kwargs)
