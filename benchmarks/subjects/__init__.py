"""The rivals and ours: what an adapter offers, and the table of all of them.

Two kinds of adapter. `Commands` is a bare client: one GET at a time. `Shop` is a cache before the
catalogue: read through, forget after a write. An adapter does what its library's documentation
tells its users to do and nothing else; its module is imported only in the worker that drives it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, cast

import msgspec

from benchmarks.source import Product

__all__ = ["SUBJECTS", "Commands", "Load", "Shop", "Subject", "commands", "shop"]

Load: TypeAlias = Callable[[], Awaitable[Product]]


class Commands(Protocol):
    """A client that can GET."""

    async def open(self) -> None:
        """Connect, with every connection that `tasks` concurrent calls will use."""
        ...

    async def aclose(self) -> None:
        """Disconnect."""
        ...

    def get(self, key: str, /) -> Awaitable[object]:
        """Read one string, as bytes."""
        ...


class Shop(Protocol):
    """A cache before the catalogue."""

    async def open(self) -> None:
        """Connect, with every connection that `tasks` concurrent calls will use."""
        ...

    async def aclose(self) -> None:
        """Disconnect."""
        ...

    def key(self, product_id: int, /) -> str:
        """Name the Redis key that holds the product."""
        ...

    def fetch(self, product_id: int, load: Load, /) -> Awaitable[Product]:
        """Read the product, loading and storing it when it is not there."""
        ...

    async def store(self, product: Product, /) -> None:
        """Put a product there without loading."""
        ...

    async def forget(self, product_id: int, /) -> bool:
        """Invalidate after a committed write; True once the server has acknowledged it."""
        ...


class Subject(msgspec.Struct, frozen=True):
    """One line of `python -m benchmarks list`."""

    summary: str
    commands: str | None = None  # "module:Class", for scenarios that need a bare client
    shop: str | None = None  # the same, for those that need a cache


SUBJECTS: dict[str, Subject] = {
    "floor": Subject(
        "a bare asyncio.Protocol on hiredis: one future a command, one write a turn, no checks",
        commands="benchmarks.subjects.floor:FloorCommands",
    ),
    "redis-py": Subject(
        "redis.asyncio with hiredis, as its documentation shows",
        commands="benchmarks.subjects.redis_py:RedisPyCommands",
    ),
    "unprotected": Subject(
        "cache-aside on redis-py without protection: GET, load, SETEX; DEL on write",
        shop="benchmarks.subjects.recipe:UnprotectedShop",
    ),
    "recipe": Subject(
        "the common recipe on redis-py: SET NX EX 10, 100 ms sleep, retry, DEL",
        shop="benchmarks.subjects.recipe:RecipeShop",
    ),
    "millpond": Subject(
        "millpond's Client and Cache with their defaults",
        commands="benchmarks.subjects.millpond_:MillpondCommands",
        shop="benchmarks.subjects.millpond_:MillpondShop",
    ),
    "millpond-stale": Subject(
        "the same, with values that may be served stale",
        shop="benchmarks.subjects.millpond_:MillpondStaleShop",
    ),
}


class _MakeCommands(Protocol):
    def __call__(self, url: str, *, tasks: int) -> Commands: ...


class _MakeShop(Protocol):
    def __call__(self, url: str, *, tasks: int, ttl: float) -> Shop: ...


def commands(name: str, url: str, *, tasks: int) -> Commands:
    """Make the named subject's bare client.

    Args:
        name: A subject that has one.
        url: The server's.
        tasks: How many calls will run at once in this process.
    """
    make = cast("_MakeCommands", _resolve(name, SUBJECTS[name].commands))
    return make(url, tasks=tasks)


def shop(name: str, url: str, *, tasks: int, ttl: float) -> Shop:
    """Make the named subject's cache.

    Args:
        name: A subject that has one.
        url: The server's.
        tasks: How many calls will run at once in this process.
        ttl: Seconds a product stays cached.
    """
    make = cast("_MakeShop", _resolve(name, SUBJECTS[name].shop))
    return make(url, tasks=tasks, ttl=ttl)


def _resolve(name: str, path: str | None) -> object:
    if path is None:
        raise LookupError(f"the subject {name!r} has no adapter for this scenario")
    return cast("object", pkgutil.resolve_name(path))
