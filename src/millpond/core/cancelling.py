"""Ending a task's work by cancelling it, and telling our cancellation from somebody else's.

As `asyncio.timeout` does it: ours is taken back when the work is left, and one from outside stays:
    the work is to end, we cancel; somebody else cancels the task, too; one of the two is ours to
    take back, the other stays, and the work is left by `CancelledError`.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["take_back"]


def take_back(task: asyncio.Task[Any], before: int, error: BaseException | None) -> bool:
    """Take back one cancellation of our own.

    Args:
        task: What we cancelled.
        before: Its `cancelling()` when the work began.
        error: By which the work was left.

    Returns:
        Whether it is left by a cancellation from outside.
    """
    # Taken back whatever the work was left by: it may have turned ours into an error of its own.
    return task.uncancel() > before and isinstance(error, asyncio.CancelledError)
