"""`with cache_mode("bypass"):` caches that behave otherwise for as long as a block runs.

The choice travels in a context variable: it holds for what the block awaits, for tasks started
inside (those keep it, even past the end of the block), and for nobody else. Loads that the block
begins run in its context too. Of nested scopes the innermost that covers a cache decides.

What must stay true: *no mode ever keeps a delete from Redis*, or a write mark. A process that
reads past the cache is not alone in the fleet, and those who do read it were promised that nothing
stale outlives a write.

A hit pays for all this with two loads of attributes: the context variable is read only in a process
that has ever entered a scope.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from millpond.core.client import Client
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from types import TracebackType

    from millpond.cache.cache import Cache

__all__ = ["CacheMode", "Scope", "cache_mode", "check_mode", "mode_of", "open_scopes", "scopes"]

CacheMode: TypeAlias = Literal["normal", "bypass", "refresh", "disable"]
"""How a cache behaves: see `cache_mode`."""

_MODES: tuple[str, ...] = get_args(CacheMode)


class _Scopes:
    """Whether this process has ever entered one."""

    __slots__ = ("entered",)

    def __init__(self) -> None:
        self.entered = False


scopes = _Scopes()

_Covered: TypeAlias = "tuple[CacheMode, tuple[object, ...]]"
_open: ContextVar[tuple[_Covered, ...]] = ContextVar("millpond_cache_mode", default=())

open_scopes = _open.get
"""The scopes around the caller, innermost first: none, mostly, and then there is nothing to ask."""


def cache_mode(mode: CacheMode, *only: Cache[Any] | Client) -> Scope:
    """Have caches behave otherwise in a `with` block, and in tasks started inside it.

    - `"normal"`: as ever.
    - `"bypass"`: reads find nothing; `get_or_set` and cached functions call the loader, and store
      nothing. What is `set` is stored.
    - `"refresh"`: `get_or_set` and cached functions load and store over what is there.
    - `"disable"`: as if there were no cache: what is `set` is not stored either.

    Past the cache every call runs its own loader: nothing is shared, and no `load_timeout` ends it.
    Deletes and `writing()` reach Redis in every mode, since other processes go on reading. Only
    with `"disable"` and a client that is not open, as in a test without Redis, they do nothing.

    A scope entered in an async generator, such as a FastAPI dependency with `yield`, holds for
    whoever runs it, until it is resumed: the way to bypass caches for one request.

    Args:
        mode: Of these; `"normal"` ends another scope's effect inside it.
        only: Caches, or clients for all caches made with them; none: every cache.

    Raises:
        ConfigError: Another mode, or something that is neither cache nor client.
    """
    return Scope(check_mode(mode), only)


def check_mode(mode: CacheMode) -> CacheMode:
    """Refuse what is no mode.

    Raises:
        ConfigError: Naming those there are.
    """
    if mode not in _MODES:
        raise ConfigError(f"mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}")
    return mode


class Scope:
    """A block's choice; made by `cache_mode`."""

    __slots__ = ("_covered", "_tokens")

    def __init__(self, mode: CacheMode, only: tuple[object, ...]) -> None:
        """Use `cache_mode(...)` instead."""
        for one in only:
            if not (isinstance(one, Client) or isinstance(getattr(one, "client", None), Client)):
                raise ConfigError(
                    f"cache_mode() covers caches and clients, not a {type(one).__name__}; "
                    "leave it out to cover every cache"
                )
        self._covered: _Covered = (mode, only)
        self._tokens: list[Token[tuple[_Covered, ...]]] = []

    def __enter__(self) -> None:
        """Begin."""
        scopes.entered = True
        self._tokens.append(_open.set((self._covered, *_open.get())))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, where it began; a generator closed in another context has nothing to end there."""
        try:
            _open.reset(self._tokens.pop())
        except ValueError:
            return


def mode_of(cache: Cache[Any]) -> CacheMode:
    """Return the mode that the innermost scope around the caller chooses for a cache."""
    for mode, only in open_scopes():
        if not only or any(one is cache or one is cache.client for one in only):
            return mode
    return "normal"
