"""The copies of a near cache, within bounds of number and size.

What is over the bounds goes by CLOCK: the oldest that was not read since it was last looked at. A
hit sets one attribute, where LRU would move the copy to the end of a list.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Copies", "Copy"]

_OVERHEAD = 250  # bytes of Python around one copy, about


class Copy:
    """One value, or its bytes."""

    __slots__ = ("ends", "kept", "size", "used")

    def __init__(self, kept: Any, ends: float, size: int) -> None:
        """Keep it until then, by the event loop's clock."""
        self.kept = kept
        self.ends = ends
        self.size = size
        self.used = False


class Copies:
    """Values by their Redis keys; whoever changes them holds the lock of the near cache.

    Attributes:
        by_name: The copies, which a reader may look into without asking; always the same dict.
        size: Their bytes.
    """

    __slots__ = ("_max_bytes", "_max_entries", "by_name", "size")

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        """Keep nothing yet, and so much at most."""
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.by_name: dict[str, Copy] = {}
        self.size = 0

    def size_of(self, name: str, raw: bytes) -> int:
        """Return what an entry would take; 0: it is too large by itself."""
        size = len(raw) + len(name) + _OVERHEAD
        return size if size <= self._max_bytes else 0

    def put(self, name: str, kept: Any, ends: float, size: int) -> None:
        """Keep a copy, in place of what was there and of what is over the bounds."""
        self.forget(name)
        self.by_name[name] = Copy(kept, ends, size)
        self.size += size
        while len(self.by_name) > self._max_entries or self.size > self._max_bytes:
            self._evict()

    def forget(self, name: str) -> None:
        """Forget one."""
        copy = self.by_name.pop(name, None)
        if copy is not None:
            self.size -= copy.size

    def clear(self) -> None:
        """Forget all."""
        self.by_name.clear()
        self.size = 0

    def _evict(self) -> None:
        oldest = next(iter(self.by_name))
        copy = self.by_name[oldest]
        if copy.used:
            copy.used = False
            self.by_name[oldest] = self.by_name.pop(oldest)
        else:
            self.forget(oldest)
