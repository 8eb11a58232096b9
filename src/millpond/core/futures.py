"""Errors of futures: those that concern nobody, and one for each of several who wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from millpond.core.slots import Slot

__all__ = ["consumed", "own", "refuse"]


def consumed(future: asyncio.Future[Any]) -> None:
    """Take note of an error that nobody asks for, lest it be told as one never retrieved."""
    if not future.cancelled():
        future.exception()


def own(error: BaseException) -> BaseException:
    """Make one like it, for one more who is told: no traceback is shared."""
    return type(error)(*error.args)


def refuse(slots: Iterable[Slot], error: BaseException) -> None:
    """Give everybody an error of his own, who has not gone."""
    for slot in slots:
        if not slot.done():
            slot.set_exception(own(error))
