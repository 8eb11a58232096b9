"""One multiplexed connection: the socket's side of an `Exchange`, and the judge of its health.

What must stay true:

1. Commands issued in one turn of the event loop leave in one write.
2. The wire is declared dead only when the oldest unanswered command is older than the timeout
   *and* no byte has arrived for as long, and only after the socket has been read dry since.
   A loop that stalled finds its timer due while a thousand replies wait in the socket; it must
   read them before it judges. And a server that is still taking a large value, over a slow
   road, cannot have answered: while what is queued here shrinks, it is not silent.
3. There is one timer for the wire, not one for each command. It re-arms itself for the moment
   at which the oldest command would become overdue (and half the timeout before, to see whether
   the socket is full), and sleeps when nothing is in flight.
4. Whatever ends the wire ends it once: every slot fails, and `on_lost` is called in the same
   turn, so that no later call can be queued where nobody would answer it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

from millpond.core.exchange import Exchange, ProtocolError
from millpond.core.loops import stay_on
from millpond.errors import BackendError, BackendTimeout, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lost", "Wire"]

# Turns of the loop after which everything that had reached the socket when the timer fired has
# been read. asyncio polls before it runs a turn's callbacks, so bytes can be one turn late;
# uvloop runs timers before it polls; one more for good measure costs nothing.
_DRY_TURNS = 3


# Replies resolved in one turn: half of the crowd, within these bounds. Were fifty callers
# answered at once, they would all ask again at once, and this process would idle while the server
# works and the server while this one does. In bites, what the first have asked is on its way while
# the rest are being answered. Of fewer than `_LEAST` each, the system calls would cost more than
# that brings.
_MOST = 64
_LEAST = 8


class Lost:
    """Why a wire ended.

    Attributes:
        reason: For people.
        hung: Whether it ended because the server did not answer, rather than by going away.
    """

    __slots__ = ("hung", "reason")

    def __init__(self, reason: str, *, hung: bool) -> None:
        """Say why."""
        self.reason = reason
        self.hung = hung


class Wire(asyncio.Protocol):
    """A connection to one server, over which many callers' commands are pipelined."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        address: str,
        timeout: float,
        limit: int,
        on_push: Callable[[list[Any]], None],
        on_lost: Callable[[Wire, Lost], None],
    ) -> None:
        """Prepare; the transport comes with `connection_made`.

        Args:
            loop: The running loop.
            address: For messages.
            timeout: Seconds without an answer and without a byte after which it is dead.
            limit: Commands in flight at most.
            on_push: Gets every push.
            on_lost: Called once, when the wire ends for whatever reason but `close`.
        """
        self._loop = loop
        self._address = address
        self._timeout = timeout
        self._on_lost = on_lost
        self._transport: asyncio.WriteTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._biting = False
        self._crowd = 0
        self._ended = False
        self.lost: Lost | None = None
        self._gone: asyncio.Future[None] = loop.create_future()
        self._given = 0  # bytes
        self._stuck: int | None = None  # bytes that the socket had taken, seen full
        self._taking = 0.0  # when it was last found to have taken more
        self.last_byte = 0.0
        self.reads = 0
        self.exchange = Exchange(
            future=loop.create_future,
            wake=self._schedule,
            on_push=on_push,
            limit=limit,
        )
        self.on_first_write: Callable[[], None] | None = None
        self.on_first_reply: Callable[[], None] | None = None

    # -- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self.last_byte = self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Resolve some of what the bytes answer, and the rest in the next turn."""
        if self._ended:
            return
        self.last_byte = self._loop.time()
        self.reads += 1
        exchange = self.exchange
        try:
            # The crowd is what was unanswered at most, of late: were it only what is unanswered
            # now, bites would be made of the pieces that earlier bites have left.
            crowd, unanswered = self._crowd, exchange.unanswered
            if unanswered < crowd:
                crowd -= (crowd - unanswered + 15) // 16
            else:
                crowd = unanswered
            self._crowd = crowd
            bite = crowd // 2
            bite = _MOST if bite > _MOST else max(bite, _LEAST)
            if exchange.feed(data, bite) and not self._biting:
                self._biting = True
                self._loop.call_soon(self._bite)
        except ProtocolError as error:
            self.end(Lost(f"not a Redis reply: {error}", hung=False))
            return
        if exchange.distress is not None:
            # The server is up and says that it cannot serve: no use in asking on.
            self.end(Lost(str(exchange.distress), hung=False))
        elif self.on_first_reply is not None:
            told, self.on_first_reply = self.on_first_reply, None
            told()

    def _bite(self) -> None:
        """Resolve some more of what has arrived.

        It counts as a read: while there are answers to be given, however slowly their callers let
        the loop turn, the server owes us nothing.
        """
        self._biting = False
        self.data_received(b"")

    def pause_writing(self) -> None:
        """Hold what is queued: the socket is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write what was held."""
        self._paused = False
        self._flush()

    def eof_received(self) -> bool:
        """Let the transport close: a half-open connection answers nobody."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was in flight."""
        if not self._gone.done():
            self._gone.set_result(None)
        self.end(Lost(f"connection lost: {exc or 'closed by the server'}", hung=False))

    @property
    def ended(self) -> bool:
        """Whether it has failed or was closed."""
        return self._ended

    def new_future(self) -> asyncio.Future[Any]:
        """Make a future of this wire's loop."""
        return self._loop.create_future()

    # -- writing ----------------------------------------------------------------------------

    def _schedule(self) -> None:
        stay_on(self._loop)
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._paused or self._ended or self._transport is None:
            return
        now = self._loop.time()
        data = self.exchange.take(now)
        if not data:
            return
        self._given += len(data)
        self._transport.write(data)
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._timeout / 2, self._look)
        if self.on_first_write is not None:
            told, self.on_first_write = self.on_first_write, None
            told()

    # -- health -----------------------------------------------------------------------------

    def _overdue_at(self) -> float | None:
        oldest = self.exchange.oldest()
        if oldest is None:
            return None
        return max(oldest, self.last_byte, self._taking) + self._timeout

    def _look(self) -> None:
        """Judge the oldest command, or sleep until it may be overdue."""
        self._timer = None
        due = self._overdue_at()
        if due is None:
            return
        now, half = self._loop.time(), due - self._timeout / 2
        if now < due:
            early = now < half
            if early:
                self._stuck = None
            elif self._stuck is None and self._paused:  # once: uvloop's clock may wake us twice
                self._stuck = self._taken()
            self._timer = self._loop.call_at(half if early else due, self._look)
            return
        if self._took():
            self._taking, self._stuck = now, None
            self._timer = self._loop.call_at(now + self._timeout / 2, self._look)
            return
        self._timer = self._loop.call_later(self._timeout, self._look)  # kept while we verify
        self._loop.call_soon(self._verify, self.reads, _DRY_TURNS)

    def _taken(self) -> int:
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._given - waiting

    def _took(self) -> bool:
        """Tell whether the socket, seen full, has taken more since; to be seen, if not looked at.

        Only a full one is asked: one that has room takes whatever is written, by itself, though
        nobody reads at its other end.
        """
        if self._stuck is None:
            return self._paused
        return self._taken() > self._stuck

    def _verify(self, reads: int, turns: int) -> None:
        """Let the loop read the socket for some turns; any byte acquits the server."""
        if self._ended or self.reads != reads:
            return
        if turns:
            self._loop.call_soon(self._verify, reads, turns - 1)
            return
        self.end(Lost(f"no answer for {self._timeout:g} s", hung=True))

    # -- the end ----------------------------------------------------------------------------

    def end(self, lost: Lost) -> None:
        """End the wire, fail everything on it and tell the owner; only the first time counts."""
        if self._finish(lost):
            if self._transport is not None:
                self._transport.abort()
            self._on_lost(self, lost)

    async def aclose(self) -> None:
        """End the wire on its owner's behalf: write what is queued, wait for no answer."""
        self._flush()
        self._finish(Lost("the client was closed", hung=False))
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(self._timeout):
                await self._gone
        except TimeoutError:
            pass  # the peer takes nothing more, or does not say farewell as TLS would have it
        finally:
            self._transport.abort()

    def drop(self) -> None:
        """End a wire that never came up, without telling its owner."""
        self._finish(Lost("the connection was given up", hung=False))
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, lost: Lost) -> bool:
        if self._ended:
            return False
        self._ended = True
        self.lost = lost
        with contextlib.suppress(ProtocolError):
            self.exchange.feed(b"")  # what has arrived was answered
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        where = self._address

        def unanswered() -> BackendError:
            kind = BackendTimeout if lost.hung else BackendUnavailable
            return kind(f"Redis at {where}: {lost.reason}; whether the command ran is unknown")

        def unsent() -> BackendError:
            return BackendUnavailable(f"Redis at {where}: {lost.reason}; nothing was sent")

        self.exchange.fail(unanswered, unsent)
        return True
