"""What a loader may say besides a value: how long to keep it, or that the old one still holds."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

from millpond.core.durations import milliseconds
from millpond.core.entry import Unreadable
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from datetime import timedelta

    from millpond.cache.decision import Verdict
    from millpond.cache.store import Store
    from millpond.core.keys import Key

__all__ = [
    "NOT_MODIFIED",
    "Loaded",
    "Loader",
    "NotModified",
    "Revalidate",
    "Settled",
    "asked",
    "unwrapped",
]

T = TypeVar("T")


class NotModified(Enum):
    """The type of `NOT_MODIFIED`; an enum, so that type checkers narrow on it."""

    NOT_MODIFIED = "NOT_MODIFIED"

    def __repr__(self) -> str:
        """Show the name."""
        return "NOT_MODIFIED"


NOT_MODIFIED: Final = NotModified.NOT_MODIFIED
"""What `revalidate` returns when the value that it was given is still right."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A loader's value, and what is to become of this one: `return Loaded(user, ttl=5)`.

    Attributes:
        value: The value.
        ttl: Seconds or timedelta that it lives; None: as the call or the cache has it.
        tags: What it is to be deleted by, besides the tags of the call: 50 at most. They need not
            be known before the load; if any tag of the namespace was deleted while it ran, the
            value is given but not stored.
    """

    value: T
    _: KW_ONLY
    ttl: float | timedelta | None = None
    tags: Collection[Key] = ()


if TYPE_CHECKING:
    Loader: TypeAlias = Callable[[], Awaitable[T | Loaded[T]]]
    Revalidate: TypeAlias = Callable[[T], Awaitable[T | Loaded[T] | NotModified]]
else:
    Loader = Revalidate = Any


def asked(
    store: Store[T],
    key: str,
    loader: Loader[T],
    revalidate: Revalidate[T] | None,
    kept: Verdict | None,
) -> Awaitable[T | Loaded[T] | NotModified]:
    """Call the loader, or show the value that is there to whoever can tell whether it still holds.

    Args:
        store: Whose codec decodes it: a copy of its own.
        key: The Redis key.
        loader: Called where there is nothing to be shown, or nobody to show it to.
        revalidate: Is shown it.
        kept: The value, claimed in place.
    """
    if kept is None or revalidate is None:
        return loader()
    try:
        old = None if kept.payload is None else store.codec.decode(kept.payload)
    except Unreadable as problem:
        store.verdicts.unreadable(key, problem.reason)
        return loader()
    return revalidate(cast("T", old))


class Settled(NamedTuple, Generic[T]):
    """A loader's value, the milliseconds that it may live, and the tags that only it knew."""

    value: T
    ttl: int | None
    tags: tuple[str, ...] = ()


def unwrapped(
    key: str, result: T | Loaded[T] | NotModified, ttl: int | None, store: Store[T]
) -> Settled[T]:
    """Take apart what a loader returned.

    Args:
        key: For messages.
        result: What the loader returned.
        ttl: Milliseconds for values that say nothing themselves.
        store: Refuses what the cache cannot give.

    Raises:
        ConfigError: A TTL or tag that cannot be one; or `NOT_MODIFIED`, where there was nothing
            that it could be said of.
    """
    if result is NOT_MODIFIED:
        raise ConfigError(
            f"the loader for {key!r} returned NOT_MODIFIED, and was given no value that it could "
            "be said of; only what is passed as revalidate= may return it"
        )
    if not isinstance(result, Loaded):
        return Settled(cast("T", result), ttl)
    loaded = cast("Loaded[T]", result)
    if loaded.ttl is not None:
        ttl = store.lifetimes.checked(milliseconds(loaded.ttl, "Loaded.ttl"))
    return Settled(loaded.value, ttl, store.tag_names(loaded.tags) if loaded.tags else ())
