"""One direction of a proxied connection, as a queue that obeys rules.

What comes in is queued, the sender's end-of-file last, and leaves in order when no rule holds it.
No sockets here: bytes are fed in by one side and written to another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Flow", "Flows", "Side"]


class Side(Protocol):
    """What a flow needs of the sockets at its two ends."""

    def read(self, on: bool, /) -> None:
        """Read from the socket, or leave its bytes in the kernel."""
        ...

    def write(self, data: bytes, /) -> None:
        """Pass bytes on."""
        ...

    def finish(self) -> None:
        """Pass the end-of-file on."""
        ...


@dataclass
class _Rules:
    held: bool = False
    swallowing: bool = False
    reading: bool = True
    delay: float = 0.0
    cut_at: int | None = None  # compared with the bytes delivered so far


class Flow:
    """One direction of one connection.

    Attributes:
        received: Bytes that came in.
        delivered: Bytes that were passed on.
        swallowed: Bytes that were dropped.
    """

    def __init__(self, rules: _Rules | None = None, cut: Callable[[], None] | None = None) -> None:
        """Begin with nothing received; the two sides are attached as they connect."""
        self.received = self.delivered = self.swallowed = 0
        self.rules = _Rules() if rules is None else replace(rules)
        self._cut = cut
        self._queue: deque[tuple[float, bytes]] = deque()  # when it is due; b"" is end-of-file
        self._source: Side | None = None
        self._sink: Side | None = None
        self._sink_is_full = False
        self._timer: asyncio.TimerHandle | None = None
        self._arrivals: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> int:
        """Bytes that came in and have not left."""
        return sum(len(chunk) for _, chunk in self._queue)

    def hold(self) -> None:
        """Keep back what has come and what will come, the end-of-file too."""
        self.rules.held = True

    def release(self) -> None:
        """Let go of what was held, at once, and hold no more."""
        self.rules.held = False
        self._pump()

    def release_before(self, words: bytes) -> None:
        """Let go of what was held before these bytes, of all where they are not, and hold on."""
        whole = b"".join([chunk for _, chunk in self._queue])
        cut = whole.find(words) if words in whole else len(whole)
        self._queue.clear()
        if whole[cut:]:
            self._queue.append((0.0, whole[cut:]))
        if self._sink is not None:
            self._deliver(whole[:cut], self._sink)

    def swallow(self) -> None:
        """Drop what would be passed on, as if it had been lost."""
        self.rules.swallowing = True

    def stop_reading(self) -> None:
        """Leave bytes in the kernel, so that the sender's buffers fill up."""
        self.rules.reading = False
        self._throttle()

    def delay(self, seconds: float) -> None:
        """Pass on so much later what comes from now on."""
        self.rules.delay = seconds

    def cut_after(self, count: int) -> None:
        """Pass on `count` more bytes, then cut the connection; with 0, when the next one comes."""
        self.rules.cut_at = self.delivered + count

    def behave(self) -> None:
        """Undo every rule: release, read, swallow nothing, cut nowhere."""
        self.rules = _Rules()
        self._throttle()
        self._pump()

    def half_close(self) -> None:
        """Send an end-of-file to the receiver; what is queued or comes later is dropped."""
        self.rules = _Rules(swallowing=True)
        self._queue.clear()
        self._queue.append((0.0, b""))
        self._pump()

    async def received_at_least(self, count: int) -> None:
        """Wait until `count` bytes in all have come in."""
        if self.received < count:
            arrival = asyncio.get_running_loop().create_future()
            self._arrivals.append((count, arrival))
            await arrival

    def attach(self, *, source: Side | None = None, sink: Side | None = None) -> None:
        """Take over a side that has connected."""
        self._source = source or self._source
        self._sink = sink or self._sink
        self._throttle()
        self._pump()

    def feed(self, chunk: bytes) -> None:
        """Take a chunk from the source; `b""` is its end-of-file."""
        self.received += len(chunk)
        for count, arrival in self._arrivals:
            if self.received >= count and not arrival.done():
                arrival.set_result(None)
        due = asyncio.get_running_loop().time() + self.rules.delay if self.rules.delay else 0.0
        self._queue.append((max(due, self._queue[-1][0]) if self._queue else due, chunk))
        self._pump()

    def drop(self) -> None:
        """Forget what is queued: the connection is cut."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

    def sink_is_full(self, full: bool, /) -> None:
        """Read no more from the source while the sink takes no more."""
        self._sink_is_full = full
        self._throttle()

    def _throttle(self) -> None:
        if self._source is not None:
            self._source.read(self.rules.reading and not self._sink_is_full)

    def _pump(self) -> None:
        """Pass on all that is due."""
        while self._queue and not self.rules.held and self._sink is not None:
            due, chunk = self._queue[0]
            if due:
                loop = asyncio.get_running_loop()
                if due > loop.time():
                    if self._timer is not None:
                        self._timer.cancel()
                    self._timer = loop.call_at(due, self._pump)
                    return
            self._queue.popleft()
            if not chunk:
                self._sink.finish()
            elif self.rules.swallowing:
                self.swallowed += len(chunk)
            else:
                self._deliver(chunk, self._sink)

    def _deliver(self, chunk: bytes, sink: Side) -> None:
        limit = self.rules.cut_at
        passed = chunk if limit is None else chunk[: limit - self.delivered]
        self.delivered += len(passed)
        sink.write(passed)
        if self.delivered == limit and self._cut is not None:
            self._cut()


class Flows:
    """One direction of all connections, those to come included."""

    def __init__(self) -> None:
        """Begin with no rule and no connection."""
        self.each: list[Flow] = []
        self._next = Flow()  # never connected: it keeps the rules for those to come

    @property
    def received(self) -> int:
        """Bytes that came in on all connections."""
        return sum(flow.received for flow in self.each)

    @property
    def delivered(self) -> int:
        """Bytes that were passed on, on all connections."""
        return sum(flow.delivered for flow in self.each)

    def add(self, cut: Callable[[], None]) -> Flow:
        """Make the flow of one more connection."""
        flow = Flow(self._next.rules, cut)
        self.each.append(flow)
        return flow

    def hold(self) -> None:
        """Hold on every connection."""
        self._tell(Flow.hold)

    def release(self) -> None:
        """Release on every connection, the oldest first."""
        self._tell(Flow.release)

    def swallow(self) -> None:
        """Swallow on every connection."""
        self._tell(Flow.swallow)

    def stop_reading(self) -> None:
        """Stop reading on every connection."""
        self._tell(Flow.stop_reading)

    def delay(self, seconds: float) -> None:
        """Delay on every connection."""
        self._tell(lambda flow: flow.delay(seconds))

    def cut_after(self, count: int) -> None:
        """Cut each connection after `count` more bytes of its own."""
        self._tell(lambda flow: flow.cut_after(count))

    def behave(self) -> None:
        """Undo every rule on every connection."""
        self._tell(Flow.behave)

    def _tell(self, rule: Callable[[Flow], None]) -> None:
        for flow in (*self.each, self._next):
            rule(flow)
