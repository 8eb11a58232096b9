"""What a case may ask of a library, and what it may answer.

One protocol for each kind of thing. An adapter opens with `async with adapter(url) as peer`, and
has connections of its own, as a process would; it is written as the library's documentation has
it, and holds no cleverness of ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = [
    "Adapter",
    "Answer",
    "CachePeer",
    "Key",
    "LimitPeer",
    "Load",
    "LockPeer",
    "Meter",
    "NearPeer",
    "NotApplicable",
    "Outcome",
    "Page",
    "Quota",
    "ResponsePeer",
    "Verdict",
    "broken",
    "kept",
]

Outcome = Literal["kept", "broken", "not applicable", "failed"]
"""`failed` is about the case or the adapter: it came to no verdict."""

Key = str | tuple[str, str]
"""A key, or two arguments that the library's own key builder makes one of."""

Load = Callable[[], Awaitable[Any]]

Page = Callable[[Mapping[str, str]], str]
"""What a route answers, by the request's headers."""


class NotApplicable(Exception):
    """The library does not have what the case is about; the message says what."""


@dataclass(frozen=True)
class Verdict:
    """What one case found out about one library."""

    outcome: Outcome
    evidence: str


def kept(evidence: str) -> Verdict:
    """Return the verdict that the promise was kept."""
    return Verdict("kept", evidence)


def broken(evidence: str) -> Verdict:
    """Return the verdict that it was not."""
    return Verdict("broken", evidence)


class CachePeer(Protocol):
    """A cache that loads what it has not; entries live 60 s."""

    async def get_or_compute(self, key: Key, load: Load) -> Any:
        """Return what is cached, or load it and cache it; JSON values."""
        ...

    async def delete(self, key: Key) -> None:
        """Delete one entry."""
        ...


class ResponsePeer(Protocol):
    """A web application whose GET routes are cached as wholes; responses live 60 s."""

    async def get(self, path: str, headers: Mapping[str, str], page: Page) -> str:
        """Ask for `/pages/...`; the route answers with what `page` makes of the request."""
        ...


class NearPeer(Protocol):
    """A client that keeps copies in the process; entries live 60 s."""

    async def get(self, key: str) -> str | None:
        """Return a value, or None."""
        ...

    async def set(self, key: str, value: str) -> None:
        """Store a value."""
        ...


class LockPeer(Protocol):
    """Named locks.

    Attributes:
        not_acquired: What entering raises when the lock was not to be had in time.
        shares_objects: Whether the documentation gives one lock object to several tasks.
    """

    not_acquired: tuple[type[BaseException], ...]
    shares_objects: bool

    def lock(
        self, name: str, *, lease: float, wait: float | None
    ) -> AbstractAsyncContextManager[Any]:
        """Return what is entered to hold the lock; 0 tries once, None waits for ever."""
        ...

    def fence(self, held: Any) -> int:
        """Return the fencing token of what entering gave.

        Raises:
            NotApplicable: There is none.
        """
        ...


@dataclass(frozen=True)
class Quota:
    """`limit` in any `per` seconds; a bucket lets `burst` through at once."""

    limit: int
    per: int
    burst: int


@dataclass(frozen=True)
class Answer:
    """Whether a hit was admitted, and when to come again if the library says so."""

    allowed: bool
    retry_after: float | None = None


class Meter(Protocol):
    """One limiter for many keys."""

    async def hit(self, key: str, cost: int = 1) -> Answer:
        """Count a hit, or deny it at once.

        Raises:
            NotApplicable: The library knows no costs.
        """
        ...

    async def wait(self, key: str, timeout: float) -> bool:
        """Wait for a hit to be admitted.

        Raises:
            NotApplicable: The library does not wait.
        """
        ...


class LimitPeer(Protocol):
    """Rate limits.

    Attributes:
        shape: What the documentation promises of the chosen algorithm: at most so many in any
            period ("window"), in each period of a row ("fixed"), or on average ("bucket").
    """

    shape: Literal["window", "fixed", "bucket"]

    async def meter(self, quota: Quota) -> Meter:
        """Make a limiter."""
        ...


class Adapter(Protocol):
    """What every adapter's class is, beside its kind: made from a URL, entered to be opened."""

    def __init__(self, url: str) -> None:
        """Take the address, `redis://127.0.0.1:port/0`."""
        ...

    async def __aenter__(self) -> Self:
        """Connect as the documentation does."""
        ...

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect."""
        ...
