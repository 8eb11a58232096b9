"""The rivals and ours: what an adapter offers, and how all of them are found.

An adapter is one file in this folder that ends with `SUBJECTS`: what it is called, which roles it
can play, in which environment, with which settings. It does what its library's documentation
tells its users to do and nothing else. It imports its library inside its classes: the parent
lists every adapter, installed or not, and a rival's interpreter has no millpond, so nothing
here but the adapters of millpond itself may import that.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast

import msgspec

from benchmarks.source import Product

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = [
    "Commands",
    "Limiter",
    "Load",
    "Locker",
    "Many",
    "Role",
    "Shop",
    "Subject",
    "make",
    "subjects",
]

Load: TypeAlias = Callable[[], Awaitable[Product]]
Role = Literal["commands", "shop", "near", "many", "lock", "limiter", "endpoint", "page"]


class Opened(Protocol):
    """What every adapter but a web application has."""

    async def open(self) -> None:
        """Connect, with every connection that `tasks` concurrent calls will use."""
        ...

    async def aclose(self) -> None:
        """Disconnect."""
        ...


class Commands(Opened, Protocol):
    """A client that can GET. Made with `(url, tasks=...)`."""

    def get(self, key: str, /) -> Awaitable[object]:
        """Read one string, as bytes."""
        ...


class Shop(Opened, Protocol):
    """A cache before the catalogue. Made with `(url, tasks=..., ttl=...)`, in seconds.

    The roles `near` (a copy in the process as well) and `many` are shops, too.
    """

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


class Many(Shop, Protocol):
    """A cache that is asked for many products at once, all of them there."""

    def fetch_many(self, product_ids: Sequence[int], /) -> Awaitable[Sequence[Product]]:
        """Read the products, in the order asked for."""
        ...


class Locker(Opened, Protocol):
    """Locks by name. Made with `(url, tasks=...)`."""

    def hold(self, name: str, /) -> AbstractAsyncContextManager[object]:
        """Hold the lock while a block runs, waiting for it as long as it takes."""
        ...


class Limiter(Opened, Protocol):
    """A rate limit. Made with `(url, tasks=..., limit=..., per=...)`, in seconds."""

    def hit(self, key: str, /) -> Awaitable[object]:
        """Count a hit; something true if it is allowed."""
        ...


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `python -m benchmarks list`, and all that the parent knows of an adapter."""

    name: str
    summary: str
    settings: str  # pool, codec, timeouts: whatever decides the figures, and whose choice it was
    roles: dict[Role, str]  # "Class" in the adapter's module; `make` reads "module:Class"
    module: str = ""  # the library's import name; "" for what the parent itself needs anyway
    requires: str = ""  # what pip is to be asked for
    versions: tuple[str, ...] = ()  # distributions to name in the results
    group: str = "bench"  # the dependency group, and so the environment, it runs in
    absent: dict[Role, str] = {}  # roles it has no part for yet, and why


@functools.cache
def subjects() -> dict[str, Subject]:
    """Read every adapter in this folder; the parent's business, not a worker's."""
    found: dict[str, Subject] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        adapter = importlib.import_module(module.name)
        for one in cast("tuple[Subject, ...]", getattr(adapter, "SUBJECTS", ())):
            roles: dict[Role, str] = {
                role: f"{module.name}:{name}" for role, name in one.roles.items()
            }
            found[one.name] = msgspec.structs.replace(one, roles=roles)
    order = sorted(found, key=lambda name: (found[name].group != "bench", name))
    return {name: found[name] for name in order}


def make(path: str, url: str, **options: Any) -> Any:
    """Make an adapter; the caller casts it to the protocol of the role that it asked for.

    Args:
        path: `module:name`, from `Subject.roles`.
        url: The server's.
        options: As the role's protocol says.
    """
    return cast("Callable[..., Any]", pkgutil.resolve_name(path))(url, **options)
