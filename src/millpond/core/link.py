"""A connection that comes back: connects, watches over one `Wire`, reconnects.

The link's state is the circuit breaker:

- *up*: calls go straight to the wire's exchange.
- *down*: calls fail at once, while reconnecting (exponential backoff, full jitter) is the probe.
- *trial*: after a wire that died of silence, one turn's commands are let through; until the
  first answer the rest fail at once. A server whose handshake is quick and whose commands hang
  is thereby one outage: it costs a few callers `command_timeout`, not everybody, every time.

The backoff starts afresh only after a wire has answered for a while; a wire that connects and
dies does not count as a recovery.
"""

from __future__ import annotations

import asyncio
import random
import socket
from typing import TYPE_CHECKING, Any, Protocol

from millpond.core.commands import check
from millpond.core.exchange import pack
from millpond.core.handshake import Greeting, greet
from millpond.core.loops import stay_on
from millpond.core.wire import Lost, Wire
from millpond.errors import BackendError, BackendUnavailable, ConfigError, ReplyError
from millpond.events import ServerLimited, WireDown, WireUp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.core.address import Address
    from millpond.core.commands import Arg
    from millpond.core.slots import Slot
    from millpond.core.supervisor import Supervisor
    from millpond.events import Event

__all__ = ["Lane", "Link", "Refusing", "keep_alive"]

_FIRST_DELAY = 0.02  # seconds; a restart on the same machine takes about this long
_LONGEST_DELAY = 2.0  # seconds; how late a recovery may be noticed
# A peer that vanished is given up after a minute: 30 s of silence, then three questions.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))  # seconds, times
_SUSTAINED = 1.0  # seconds of answers after which an outage counts as over


class Lane(Protocol):
    """Where calls go: an exchange, or something that refuses.

    Attributes:
        batches: How many have been sent. While it is the same number, what is called leaves
            together with what was called before.
    """

    batches: int

    def get(self, key: str, /) -> asyncio.Future[Any]:
        """Queue the GET of a key."""
        ...

    def call(self, args: tuple[Arg, ...]) -> asyncio.Future[Any]:
        """Queue one command."""
        ...

    def group(self, commands: Sequence[tuple[Arg, ...]], slots: tuple[Slot, ...]) -> None:
        """Queue commands that belong together, a slot for each reply."""
        ...

    @property
    def queued(self) -> int:
        """How many commands there have been, to see whether any came between two moments.

        Negative where nothing can be said: some wait for room, or all are refused.
        """
        ...


class Refusing:
    """A lane on which every call fails at once."""

    batches = 0

    def __init__(self, loop: asyncio.AbstractEventLoop, error: Callable[[], Exception]) -> None:
        """Fail with what `error` makes."""
        self._loop = loop
        self._error = error

    def get(self, key: str) -> asyncio.Future[Any]:
        """Fail."""
        return self.call(("GET", key))

    def call(self, args: tuple[Arg, ...]) -> asyncio.Future[Any]:
        """Fail."""
        check(args)
        future = self._loop.create_future()
        self.group([args], (future,))
        return future

    def group(self, commands: Sequence[tuple[Arg, ...]], slots: tuple[Slot, ...]) -> None:
        """Fail; what could not be sent anyway is refused as ever."""
        stay_on(self._loop)
        for args in commands:
            pack(args)
        for slot in slots:
            if not slot.done():
                slot.set_exception(self._error())

    @property
    def queued(self) -> int:
        """None; and what has failed is joined by nobody."""
        return -1


def keep_alive(held: socket.socket) -> None:
    """Have the kernel ask a silent peer; its own defaults take two hours to notice."""
    held.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        number = getattr(socket, option, None)  # macOS has other names for some
        if number is not None:
            held.setsockopt(socket.IPPROTO_TCP, number, value)


class Link:
    """Keep one wire to one server, as well as can be."""

    def __init__(
        self,
        address: Address,
        supervisor: Supervisor,
        *,
        command_timeout: float,
        connect_timeout: float,
        limit: int,
        name: str | None,
        on_push: Callable[[list[Any]], None],
        on_gap: Callable[[], None],
        on_lane: Callable[[Lane], None],
        on_rewind: Callable[[], None],
        emit: Callable[[Event], None],
    ) -> None:
        """Prepare, on the running loop; `open` connects.

        Args:
            address: The server.
            supervisor: Runs the reconnecting task.
            command_timeout: Seconds of silence after which a wire is dead.
            connect_timeout: Seconds for connecting and introducing ourselves.
            limit: Commands in flight at most.
            name: For CLIENT LIST.
            on_push: Gets pushes.
            on_gap: Called whenever pushes may have been missed: at every loss and every start.
            on_lane: Told where calls go, at every change.
            on_rewind: Called before that, when this server may not have what the last one had.
            emit: Takes events.
        """
        self._address = address
        self._supervisor = supervisor
        self._command_timeout = command_timeout
        self._connect_timeout = connect_timeout
        self._limit = limit
        self._name = name
        self._on_push = on_push
        self._on_gap = on_gap
        self._on_lane = on_lane
        self._on_rewind = on_rewind
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._lost: asyncio.Future[Lost] | None = None
        self._said: set[str] = set()
        self._up_at = 0.0
        self._failures = 0
        self._told: str | None = None  # the outage that the hooks know of
        self._hung = False
        self._batches = 0
        self._commands = 0
        self.greeting: Greeting | None = None
        self.state = "closed"
        self.reconnects = -1

    # -- opening and closing ----------------------------------------------------------------

    async def open(self) -> None:
        """Try once to connect, then keep trying in the background.

        Raises:
            ConfigError: What cannot pass by itself: a wrong password, a server too old.
        """
        self._down("not connected yet")
        error = await self._try()
        if isinstance(error, ConfigError):
            raise error
        if error is not None:
            self._down(str(error))
            self._tell_down(str(error))
        self._supervisor.start(self._keep(), name=f"millpond link {self._address}")

    async def aclose(self) -> None:
        """Close the wire; what is on it fails at once."""
        self.state = "closed"
        if self._wire is not None:
            self._count(self._wire)
            wire, self._wire = self._wire, None
            await wire.aclose()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Batches written, commands written, commands in flight."""
        wire = self._wire
        if wire is None:
            return self._batches, self._commands, 0
        exchange = wire.exchange
        return (
            self._batches + exchange.batches,
            self._commands + exchange.sent,
            exchange.in_flight,
        )

    def _count(self, wire: Wire) -> None:
        self._batches += wire.exchange.batches
        self._commands += wire.exchange.sent

    # -- the life of wires ------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            if self._lost is not None:
                await self._lost
            await asyncio.sleep(self._delay())
            error = await self._try()
            if error is not None:
                self._down(str(error))
                self._tell_down(str(error), again=isinstance(error, ConfigError))

    def _delay(self) -> float:
        ceiling = min(_LONGEST_DELAY, _FIRST_DELAY * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311

    async def _try(self) -> Exception | None:
        """Connect once; None: the wire is up."""
        trial = self._hung
        wire = Wire(
            self._loop,
            address=str(self._address),
            timeout=self._command_timeout,
            limit=self._limit,
            on_push=self._on_push,
            on_lost=self._wire_lost,
        )
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._connect(wire)
                greeting = await greet(
                    wire,
                    self._address,
                    name=self._name,
                    before=self.greeting,
                    limited=self._limited,
                )
        except (BackendError, ConfigError) as error:
            lost, answered = wire.lost, isinstance(error, ReplyError | ConfigError)
            wire.drop()
            if lost is None or answered or wire.exchange.distress is not None:
                return error  # in the server's own words
            return BackendUnavailable(self._doubt(lost.reason))
        except TimeoutError:
            wire.drop()
            return BackendUnavailable(self._doubt(f"no answer within {self._connect_timeout:g} s"))
        except OSError as error:
            wire.drop()
            return error
        except BaseException:
            wire.drop()
            raise
        if wire.ended:  # after its last answer, before this task was resumed
            return BackendUnavailable("the connection was lost in its handshake")
        self._up(wire, greeting, trial=trial)
        return None

    def _doubt(self, reason: str) -> str:
        """Add what may be wrong where somebody listens and does not answer as Redis would."""
        if self._address.tls is not None:
            return f"{reason} (rediss:// needs a port that speaks TLS)"
        if self.greeting is None:  # it never was a Redis
            return f"{reason} (is it Redis that listens there? if it speaks TLS: rediss://)"
        return reason

    async def _connect(self, wire: Wire) -> None:
        address = self._address
        context = address.ssl_context()
        if address.path is not None:
            await self._loop.create_unix_connection(lambda: wire, address.path, ssl=context)
        else:
            transport, _ = await self._loop.create_connection(
                lambda: wire, address.host, address.port, ssl=context
            )
            # A peer that vanished without a word is noticed even when nobody asks for anything.
            keep_alive(transport.get_extra_info("socket"))

    def _up(self, wire: Wire, greeting: Greeting, *, trial: bool) -> None:
        self._wire = wire
        self._lost = self._loop.create_future()
        if self.greeting is not None and not self.greeting.same_history(greeting):
            self._on_rewind()
        self.greeting = greeting
        self._up_at = self._loop.time()
        self.reconnects += 1
        self._on_gap()
        self._on_lane(wire.exchange)
        if trial:
            self.state = "trial"
            wire.on_first_write = self._trial_left
            wire.on_first_reply = self._trial_passed
        else:
            self.state = "up"
            self._tell_up(greeting)

    def _trial_left(self) -> None:
        self._on_lane(self._refusing("waiting for its first answer after an outage"))

    def _trial_passed(self) -> None:
        if self._wire is not None and self.state == "trial":
            self.state = "up"
            self._hung = False
            self._wire.on_first_write = None
            self._on_lane(self._wire.exchange)
            self._on_gap()  # reads were refused meanwhile: who watches must try again
            if self.greeting is not None:
                self._tell_up(self.greeting)

    def _wire_lost(self, wire: Wire, lost: Lost) -> None:
        if wire is not self._wire:
            return  # it died in its handshake: `_try` reports that
        self._count(wire)
        self._wire = None
        lived = (wire.last_byte if lost.hung else self._loop.time()) - self._up_at
        if lived > _SUSTAINED:
            self._failures = 0
        self._down(lost.reason)
        self._hung = self._hung or lost.hung  # until a trial has passed
        self._on_gap()
        self._tell_down(lost.reason)
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(lost)

    def _down(self, reason: str) -> None:
        self.state = "down"
        self._on_lane(self._refusing(reason))

    def _refusing(self, reason: str) -> Refusing:
        where = str(self._address)
        return Refusing(
            self._loop,
            lambda: BackendUnavailable(f"Redis at {where} is down: {reason}"),
        )

    # -- events -----------------------------------------------------------------------------

    def _tell_up(self, greeting: Greeting) -> None:
        self._told = None
        self._emit(
            WireUp(address=str(self._address), server=greeting.server, reconnects=self.reconnects)
        )

    def _tell_down(self, reason: str, *, again: bool = False) -> None:
        """Say so once an outage; `again`: for a new reason, which will not pass by itself."""
        if self._told is None or (again and self._told != reason):
            self._told = reason
            self._emit(WireDown(address=str(self._address), reason=reason))

    def _limited(self, subject: str, consequence: str) -> None:
        if subject not in self._said:
            self._said.add(subject)
            self._emit(
                ServerLimited(address=str(self._address), subject=subject, consequence=consequence)
            )
