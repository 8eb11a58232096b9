"""Places in line, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio

__all__ = ["Gift", "Ticket"]


class Gift(NamedTuple):
    """A token that is being given up, and who is to have the lock instead."""

    ticket: Ticket
    to: Ticket | None
    passed: bool  # in one step; otherwise released, and the next is to ask
    sent: float


class Ticket:
    """One task's place in line, and its acquisition once it has the lock.

    Attributes:
        token: Of this acquisition.
        ms: The lease that it wants.
        asked: Whether Redis may hold the lock under this token, for all we know.
        began: Whether it has waited, or asked over a connection that was up.
        future: While it stands in line: None when the lock was passed on to it; otherwise it is
            to ask, and this says whether a rival has just been let through.
        place: The answer to its asking for a place in Redis, where it has one of its own.
        fence: What the acquisition brought.
        sent: When the request that brought it left, by the monotonic clock.
    """

    __slots__ = ("asked", "began", "fence", "future", "ms", "place", "sent", "token")

    def __init__(self, token: str, ms: int) -> None:
        """Take a place; nobody was asked."""
        self.token = token
        self.ms = ms
        self.asked = self.began = False
        self.future: asyncio.Future[bool | None] | None = None
        self.place: asyncio.Future[int] | None = None
        self.fence = 0
        self.sent = 0.0

    @property
    def gone(self) -> bool:
        """Whether its task waits no longer."""
        return self.future is None or self.future.done()
