"""What has arrived, given to the parser a piece at a time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

from hiredis import Reader

from millpond.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NOT_READY", "PIECE", "Pieces"]

NOT_READY = object()
"""What there is in place of a reply that has not arrived whole."""

# For every kilobyte that the parser consumes it moves the rest to the front: were the replies to
# ten thousand callers given to it at once, two megabytes, each byte would be moved a thousand times
# on average, which costs more than everything else together.
PIECE = 16_384
"""Bytes that the parser is given at a time."""


class Pieces:
    """Bytes in, replies out.

    Attributes:
        gets: Takes the next reply out of what the parser has been given, or `NOT_READY`.
    """

    __slots__ = ("_arrived", "_given", "_reader", "_size", "gets")

    def __init__(self, size: int) -> None:
        """Give the parser `size` bytes at a time."""
        self._reader = Reader(replyError=ReplyError, notEnoughData=NOT_READY)
        self.gets = cast("Callable[[], Any]", self._reader.gets)
        self._arrived: deque[bytes] = deque()  # what the parser has not been given yet
        self._given = 0  # bytes that it was given of the first of these
        self._size = size

    def add(self, data: bytes) -> None:
        """Take what has arrived, perhaps nothing."""
        if self._arrived or len(data) > self._size or self._reader.has_data():
            if data:
                self._arrived.append(data)
        else:
            self._reader.feed(data)

    def give(self) -> bool:
        """Give the parser some more; False: there is no more."""
        if not self._arrived:
            return False
        data, begin = self._arrived[0], self._given
        length = min(self._size, len(data) - begin)
        self._reader.feed(data, begin, length)
        self._given = begin + length
        if self._given == len(data):
            self._given = 0
            self._arrived.popleft()
        return True

    @property
    def left(self) -> bool:
        """Whether there may be more replies in what has arrived."""
        return bool(self._arrived) or self._reader.has_data()
