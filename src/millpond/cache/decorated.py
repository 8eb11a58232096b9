"""What stands where an async function stood: its name, its signature, a method where it was one."""

from __future__ import annotations

import asyncio
import functools
import inspect
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from millpond.cache.parameters import Parameters
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from millpond.cache.cache import Cache

__all__ = ["Decorated", "check_function"]

T = TypeVar("T")


class Decorated(Generic[T]):
    """An async function that a cache of `T` has to do with."""

    __name__: str
    __qualname__: str

    def __init__(self, cache: Cache[T], function: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        """Look like the function.

        Raises:
            ConfigError: It is no coroutine function, or has no signature to look at.
        """
        check_function(function)
        self._parameters = Parameters(function)
        functools.update_wrapper(cast("Any", self), function)
        self.__wrapped__: Callable[..., Coroutine[Any, Any, Any]] = function
        # FastAPI resolves annotations among these; older frameworks ask asyncio what to await.
        self.__globals__ = getattr(inspect.unwrap(function), "__globals__", {})
        self._is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", None)
        mark = getattr(inspect, "markcoroutinefunction", None)  # Python 3.12
        if mark is not None:
            mark(self)
        self._cache = cache
        self._function: Callable[..., Coroutine[Any, Any, Any]] = function
        self._object: tuple[Any, ...] = ()

    @property
    def cache(self) -> Cache[T]:
        """Where the results are kept."""
        return self._cache

    def _bound_to(self, instance: Any) -> Self:
        """Bind to an object, as a function in a class does; to None, which is the class: not."""
        if instance is None:
            return self
        bound = object.__new__(type(self))
        bound.__dict__ = self.__dict__.copy()
        bound.__wrapped__ = MethodType(self._function, instance)
        bound._object = (instance,)
        return bound

    def __eq__(self, other: object) -> bool:
        """Be equal to the same function bound to the same object, as methods are."""
        return (
            isinstance(other, Decorated)
            and self._parameters is other._parameters
            and (self._object[:1] or (None,))[0] is (other._object[:1] or (None,))[0]
        )

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash((id(self._parameters), *map(id, self._object)))

    def __repr__(self) -> str:
        """Name the function."""
        return f"<cached {getattr(self._function, '__qualname__', self._function)}>"


def check_function(function: object) -> None:
    """Refuse what is no coroutine function.

    Raises:
        ConfigError: Naming the fix.
    """
    name = getattr(function, "__qualname__", None) or repr(function)
    if isinstance(function, staticmethod | classmethod):
        kind = type(cast("object", function)).__name__
        raise ConfigError(f"write @{kind} above @cached, not below it")
    if isinstance(function, Decorated):
        raise ConfigError(f"{name} is cached already; take one of the two decorators away")
    if inspect.isasyncgenfunction(function):
        raise ConfigError(
            f"{name} is an async generator, which has no one result to keep; return a list"
        )
    called = getattr(function, "__call__", None)  # noqa: B004
    if not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)):
        raise ConfigError(
            f"{name} is no 'async def' function: the cache awaits what it keeps; write 'async "
            "def', and call what blocks with 'await asyncio.to_thread(...)' inside"
        )
