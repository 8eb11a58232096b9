"""Who is given what a flight brings: everybody before its cut; the rest start over.

Where the cut is, and why, is told in `flight.py`. Nothing here waits for anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    import asyncio

__all__ = ["START_OVER", "Callers", "Landed", "Landing", "StartOver"]

T = TypeVar("T")
Landing: TypeAlias = "asyncio.Future[Landed[T] | StartOver]"


class StartOver:
    """The answer to those who joined after the cut."""


START_OVER = StartOver()


class Landed(Generic[T]):
    """What a flight brought: the value's bytes, and the loader's own object for one caller.

    The others decode for themselves, unless values of the type cannot be changed: no caller can
    alter what another was given.
    """

    __slots__ = ("_value", "has_value", "payload", "stale")

    def __init__(
        self, payload: bytes | None, value: T | StartOver = START_OVER, *, stale: bool = False
    ) -> None:
        """Keep the encoded value (None: the value is None) and perhaps the object."""
        self.payload = payload
        self.stale = stale
        self.has_value = value is not START_OVER
        self._value = value

    @property
    def value(self) -> T:
        """The object, where there is one."""
        return cast("T", self._value)


class Callers(Generic[T]):
    """The callers of one flight, in the order in which they came.

    Attributes:
        cut: How many came before the last read was handed to the connection.
    """

    __slots__ = ("_futures", "_loop", "cut")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with nobody."""
        self._loop = loop
        self._futures: list[Landing[T]] = []
        self.cut = 0

    def __len__(self) -> int:
        """How many came so far."""
        return len(self._futures)

    def join(self) -> Landing[T]:
        """Add a caller; cancelling its future concerns nobody else."""
        future: Landing[T] = self._loop.create_future()
        self._futures.append(future)
        return future

    def mark(self) -> None:
        """Cut here: a read is about to leave."""
        self.cut = len(self._futures)

    def land(self, landed: Landed[T], cut: int, *, shareable: bool) -> None:
        """Give the value to those before the cut; the rest start over.

        Args:
            landed: What there is to give.
            cut: How many may have it.
            shareable: Whether all may have one object, which nobody can change.
        """
        rest = landed if shareable else Landed[T](landed.payload)
        for place, future in enumerate(self._depart()):
            if place >= cut:
                _answer(future, START_OVER)
            else:
                _answer(future, landed if place == 0 else rest)

    def turn_away(self, cut: int, answer: StartOver) -> None:
        """Give those before the cut an answer that is no value; the rest start over."""
        for place, future in enumerate(self._depart()):
            _answer(future, answer if place < cut else START_OVER)

    def fail(self, error: Exception) -> None:
        """Give everyone the exception."""
        for future in self._depart():
            if not future.done():
                future.set_exception(error)

    def _depart(self) -> list[Landing[T]]:
        futures, self._futures = self._futures, []
        return futures


def _answer(future: Landing[T], answer: Landed[T] | StartOver) -> None:
    if not future.done():
        future.set_result(answer)
