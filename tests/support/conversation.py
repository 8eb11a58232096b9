"""An exchange without a connection: what would be sent is read back, answers are made up.

Nothing here runs an event loop: a future of a loop that stands still has its result as soon as it
is given one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import hiredis

from millpond.core.backends import Counts, Host
from millpond.core.exchange import Exchange
from millpond.errors import BackendTimeout, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.core.commands import Arg
    from millpond.core.slots import Slot
    from millpond.core.watch import Watches

__all__ = ["Conversation", "ConversationBackend", "bulk", "push", "text"]

NULL = b"_\r\n"
OK = b"+OK\r\n"


def bulk(value: bytes | str) -> bytes:
    """Frame a string as a server does."""
    data = value.encode() if isinstance(value, str) else value
    return b"$%d\r\n%s\r\n" % (len(data), data)


def push(*words: bytes) -> bytes:
    """Frame an invalidation of these keys, or of everything when there are none."""
    keys = b"".join(bulk(word) for word in words)
    body = b"*%d\r\n%s" % (len(words), keys) if words else NULL
    return b">2\r\n" + bulk(b"invalidate") + body


def text(packed: bytes) -> list[str]:
    """Read commands back from their frames, each as its words joined by spaces."""
    reader = hiredis.Reader()
    reader.feed(packed)
    commands: list[str] = []
    while (words := cast("list[bytes] | bool", reader.gets())) is not False:
        commands.append(b" ".join(cast("list[bytes]", words)).decode(errors="replace"))
    return commands


class Conversation:
    """Both ends of one connection.

    Attributes:
        exchange: What is tested.
        pushes: What it passed on as pushes.
        wakes: How often it asked to be written.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, limit: int = 1000, piece: int = 16_384
    ) -> None:
        """Begin with nothing said."""
        self.pushes: list[list[Any]] = []
        self.wakes = 0
        self.exchange = Exchange(
            future=loop.create_future,
            wake=self._wake,
            on_push=self.pushes.append,
            limit=limit,
            piece=piece,
        )

    def _wake(self) -> None:
        self.wakes += 1

    def call(self, *args: Arg) -> asyncio.Future[Any]:
        """Queue one command."""
        return self.exchange.call(args)

    def group(self, commands: Sequence[tuple[Arg, ...]], *slots: Slot) -> None:
        """Queue commands that belong together."""
        self.exchange.group(commands, slots)

    def sent(self, now: float = 0.0) -> list[str]:
        """Take what is to be written, as text."""
        return text(self.exchange.take(now))

    def answer(self, *replies: bytes) -> None:
        """Let the server say this, in one read."""
        self.exchange.feed(b"".join(replies))

    def fail(self) -> None:
        """Lose the connection: `BackendTimeout` where sent, `BackendUnavailable` where not."""
        self.exchange.fail(lambda: BackendTimeout("sent"), lambda: BackendUnavailable("unsent"))


class ConversationBackend:
    """A way to Redis that is a conversation, for a client without a connection."""

    pushes = True
    tracks = True
    run_id = "a run"

    def __init__(self, *, limit: int = 1000) -> None:
        """Begin when the client is opened."""
        self.limit = limit
        self.talk = cast("Conversation", None)
        self._own = cast("Watches", None)

    def watches(self, own: Watches) -> Watches:
        """The client's own."""
        self._own = own
        return own

    async def open(self, host: Host) -> None:
        """Begin."""
        self.talk = Conversation(asyncio.get_running_loop(), limit=self.limit)
        host.on_lane(self.talk.exchange)

    def push(self, *keys: bytes) -> None:
        """Announce that these keys changed, or all of them, through the wire's callback."""
        self._own.pushed([b"invalidate", list(keys) or None])

    async def aclose(self) -> None:
        """End; what is in flight fails."""
        self.talk.fail()

    def counts(self) -> Counts:
        """Nothing is counted."""
        return Counts()
