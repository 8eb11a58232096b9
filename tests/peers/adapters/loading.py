"""The loader of a call, for libraries that decorate a function once and for all.

Their decorated function is `async def fetch(key): return await load_current()`: each call sets its
own loader before, and a task that a library starts for the call inherits it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.peers.contract import Load

__all__ = ["LOADER", "load_current"]

LOADER: ContextVar[Load] = ContextVar("loader")


async def load_current() -> Any:
    """Load as the calling task said."""
    return await LOADER.get()()
