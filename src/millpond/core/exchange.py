"""Commands out, replies in, for one connection: the queue, the framing, the matching. No I/O.

What must stay true:

1. Replies resolve slots in the order in which their commands were written. A slot is anything
   with `done`, `set_result` and `set_exception`: a plain future, or one of `slots.py`.
2. A slot, once its command may have been written, keeps its place however its caller ends. A
   cancelled future's reply is dropped; it is never handed to the next in line.
3. Commands given together (`group`) are written together, nothing in between.
4. GETs of one key share one command only while that command has not left. Joining one that has
   left could return what the key held before a delete that this caller has already seen
   acknowledged:  A sends GET; the server reads v1; B deletes, is answered; C calls GET and must
   not be given A's v1.  Any other command between two GETs ends the sharing, too, so that C,
   calling after B's SET in the same turn, reads B's value.
5. At most `limit` commands are unanswered; the others wait in order, and may leave by being
   cancelled there.
"""

from __future__ import annotations

import sys
from asyncio import InvalidStateError
from collections import deque
from itertools import repeat
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, cast

import hiredis
from hiredis import ProtocolError, PushNotification

from millpond.core.commands import READS, Arg, check, rule_of
from millpond.core.keys import LONGEST
from millpond.core.loops import ANOTHER_LOOP
from millpond.core.pieces import NOT_READY, PIECE, Pieces
from millpond.core.replies import refine
from millpond.core.slots import Shared, Slot
from millpond.errors import BackendError, ConfigError, ReplyError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

__all__ = ["Exchange", "ProtocolError", "pack"]

_PUSHES = 256  # pushes to take at a time
# Of a GET all but the key is known beforehand, but for the key's length: half the cost of framing.
_GETS = tuple(f"*2\r\n$3\r\nGET\r\n${length}\r\n" for length in range(LONGEST + 1))
_SPECIAL = frozenset((PushNotification, ReplyError))
_pack_command = cast("Callable[[tuple[Any, ...]], bytes]", hiredis.pack_command)  # untyped


def pack(args: tuple[Arg, ...]) -> bytes:
    """Frame one command.

    Raises:
        ConfigError: An argument is no str, bytes, int or float, or no valid text.
    """
    try:
        return _pack_command(args)
    except (TypeError, UnicodeEncodeError) as error:
        raise _unsendable(args, error) from error


def _unsendable(args: tuple[Any, ...], error: Exception) -> ConfigError:
    if not args:
        return ConfigError("no command was given; write for example call('GET', key)")
    bad = [arg for arg in args if isinstance(arg, bool) or not isinstance(arg, Arg)]
    what = f"{bad[0]!r} ({type(bad[0]).__name__})" if bad else str(error)
    return ConfigError(
        f"a Redis argument must be str, bytes, int or float, not {what}; "
        "encode it first, for example with str() or msgspec.json.encode()"
    )


class _Get(Protocol):
    def __call__(self, key: str, /) -> asyncio.Future[Any]: ...


class Exchange:
    """One connection's queue of commands and replies.

    Attributes:
        get: Queues the GET of a key: what a cache's hit is made of.
        issue: Queues one command, given as its arguments.
    """

    __slots__ = (
        "_batch",
        "_dead",
        "_future",
        "_home",
        "_inflight",
        "_line",
        "_on_push",
        "_parts",
        "_pieces",
        "_places",
        "_queue",
        "_room",
        "_stamps",
        "_wake",
        "batches",
        "distress",
        "get",
        "issue",
        "moved",
        "received",
        "sent",
    )

    def __init__(
        self,
        *,
        future: Callable[[], asyncio.Future[Any]],
        wake: Callable[[], object],
        on_push: Callable[[list[Any]], None],
        limit: int,
        piece: int = PIECE,
    ) -> None:
        """Start empty.

        Args:
            future: Makes a future for one reply.
            wake: Called before the first command of a batch is queued; `take` must follow. What
                it raises refuses the command.
            on_push: Called with every push, in its place between the replies.
            limit: How many commands may be unanswered at once.
            piece: Bytes that the parser is given at a time.
        """
        self._future = future
        self._wake = wake
        self._on_push = on_push
        self._pieces = Pieces(piece)
        self._dead: Callable[[], BackendError] | None = None
        self._parts: list[bytes] = []
        self._batch: list[Slot] = []
        self._places: dict[str, int] = {}  # of the GETs in the batch that may be joined
        self._inflight: deque[Slot] = deque()
        self._line: deque[tuple[tuple[bytes, ...], tuple[Slot, ...]]] = deque()
        self._stamps: deque[tuple[int, float]] = deque()
        self._room = limit
        self._home = get_ident()
        self.batches = 0
        self.sent = 0
        self.received = 0
        self.distress: BackendError | None = None
        # Where calls go that were made, once this has failed, through an `issue` kept from before.
        self.moved: Callable[..., asyncio.Future[Any]] | None = None
        self._queue = self._make_queue()
        self.get: _Get = self._make_get()
        self.issue = self._make_issue()

    # -- commands ---------------------------------------------------------------------------

    def call(self, args: tuple[Arg, ...]) -> asyncio.Future[Any]:
        """Queue one command; its reply resolves the future.

        Raises:
            ConfigError: The command must not run here, or an argument cannot be sent.
        """
        return self.issue(*args)

    def group(self, commands: Sequence[tuple[Arg, ...]], slots: tuple[Slot, ...]) -> None:
        """Queue commands that belong together, a slot for each reply, unchecked.

        Once the exchange has failed, the slots fail at once.

        Raises:
            ConfigError: An argument cannot be sent; nothing was queued.
        """
        if get_ident() != self._home:
            raise ConfigError(ANOTHER_LOOP)
        if len(commands) == 1:  # mostly, and a script: no frame more than it needs
            try:
                packed = (_pack_command(commands[0]),)
            except (TypeError, UnicodeEncodeError) as error:
                raise _unsendable(commands[0], error) from error
        else:
            packed = tuple(map(pack, commands))
        if self._dead is not None:
            for slot in slots:
                if not slot.done():
                    slot.set_exception(self._dead())
            return
        batch = self._batch
        if self._line or len(batch) >= self._room:
            self._line.append((packed, slots))
            return
        if not batch:
            self._wake()
        elif self._places:
            self._places.clear()
        self._parts.extend(packed)
        batch.extend(slots)

    # The hottest paths are closures: cells are cheaper than slots. asyncio.get_running_loop costs
    # ten times as much as what they ask instead (a system call in Python 3.11), so the loop is
    # checked by `wake`, once a batch, and by each call only that no thread races us.

    def _make_get(self) -> Callable[[str], asyncio.Future[Any]]:
        batch, parts, places = self._batch, self._parts, self._places
        future, wake, join, queue = self._future, self._wake, self._join, self._queue
        home, heads = self._home, _GETS
        add, add_part = batch.append, parts.append

        def get(key: str) -> asyncio.Future[Any]:
            if get_ident() != home:
                raise ConfigError(ANOTHER_LOOP)
            place = len(batch)
            if place >= self._room:
                return queue(("GET", key))
            try:
                framed = f"{heads[len(key)]}{key}\r\n" if key.isascii() else None
            except IndexError:  # longer than any key of ours
                framed = None
            packed = framed.encode() if framed else pack(("GET", key))
            if not place:
                wake()
            answer = future()
            earlier = places.setdefault(key, place)
            if earlier == place:
                add(answer)
                add_part(packed)
            else:
                join(earlier, answer)
            return answer

        return get

    def _make_issue(self) -> Callable[..., asyncio.Future[Any]]:
        get, queue, home = self.get, self._queue, self._home

        def issue(*args: Arg) -> asyncio.Future[Any]:
            if get_ident() != home:
                raise ConfigError(ANOTHER_LOOP)
            if not args:
                raise ConfigError("no command was given; write for example call('GET', key)")
            if args[0] == "GET":
                if len(args) == 2:
                    key = args[1]
                    if type(key) is str:
                        return get(key)
                    if type(key) is bytes and key.isascii():
                        return get(key.decode())
            else:
                try:
                    if rule_of(args[0]) != READS:
                        check(args)
                except TypeError as error:
                    raise _unsendable(args, error) from error
            return queue(args)

        return issue

    def _make_queue(self) -> Callable[[tuple[Arg, ...]], asyncio.Future[Any]]:
        batch, line, places = self._batch, self._line, self._places
        future, wake = self._future, self._wake
        add, add_part = batch.append, self._parts.append

        def queue(args: tuple[Arg, ...]) -> asyncio.Future[Any]:
            try:
                packed = _pack_command(args)
            except (TypeError, UnicodeEncodeError) as error:
                raise _unsendable(args, error) from error
            answer = future()
            if len(batch) < self._room:
                if not batch:
                    wake()
                elif places:
                    places.clear()
                add(answer)
                add_part(packed)
            elif self._dead is None:
                line.append(((packed,), (answer,)))
            elif self.moved is not None:
                return self.moved(*args)
            else:
                answer.set_exception(self._dead())
            return answer

        return queue

    def _join(self, place: int, caller: asyncio.Future[Any]) -> None:
        """Have a GET answered by one that has not left, and has no other command behind it."""
        slot = self._batch[place]
        if type(slot) is Shared:
            slot.join(caller)
        else:
            self._batch[place] = Shared(slot, caller)

    def _enqueue(self, packed: tuple[bytes, ...], slots: tuple[Slot, ...]) -> None:
        if not self._batch:
            self._wake()
        elif self._places:
            self._places.clear()
        self._parts.extend(packed)
        self._batch.extend(slots)

    def _admit(self) -> None:
        """Let waiting commands into the batch, in order, while there is room."""
        line = self._line
        while line and len(self._batch) < self._room:
            packed, slots = line.popleft()
            if not all(slot.done() for slot in slots):
                self._enqueue(packed, slots)

    # -- to and from the socket -------------------------------------------------------------

    def take(self, now: float) -> bytes:
        """Hand over what is to be written; from here on its slots await replies."""
        if not self._batch:
            return b""
        data = b"".join(self._parts) if len(self._parts) > 1 else self._parts[0]
        self._inflight.extend(self._batch)
        self.sent += len(self._batch)
        self._room -= len(self._batch)
        self.batches += 1
        self._parts.clear()
        self._batch.clear()
        self._places.clear()
        stamps, received = self._stamps, self.received
        while stamps and stamps[0][0] <= received:
            stamps.popleft()
        stamps.append((self.sent, now))
        return data

    def feed(self, data: bytes, bite: int = sys.maxsize) -> bool:
        """Take bytes from the server and resolve what they answer.

        Args:
            data: What was received; nothing, to go on with what was received before.
            bite: Replies to take at most; of pushes, a fixed number more.

        Returns:
            Whether there may be more to take.

        Raises:
            ProtocolError: The bytes are no RESP, or answer something that was never asked.
        """
        pieces, inflight = self._pieces, self._inflight
        pieces.add(data)
        gets, not_ready = pieces.gets, NOT_READY
        before = len(inflight)
        more = bite
        pushes = 0
        try:
            while more > 0:
                told = pushes
                for _ in repeat(None, more):
                    reply = gets()
                    while reply is not_ready:
                        if not pieces.give():
                            return False
                        reply = gets()
                    kind: object = type(reply)  # pyright: ignore[reportUnknownVariableType]
                    if kind is not bytes and kind in _SPECIAL:
                        pushes += self._special(reply)
                        continue
                    try:  # to ask each first whether it is done would cost them all something
                        inflight.popleft().set_result(reply)
                    except InvalidStateError:
                        continue  # its caller has gone
                # Nobody asks again because of a push, so that they do not count.
                more = min(pushes - told, _PUSHES - pushes)
        except IndexError as error:
            raise ProtocolError("the server sent a reply to no command") from error
        finally:
            count = before - len(inflight)
            self.received += count
            self._room += count
            if self._line:
                self._admit()
        return pieces.left

    def _special(self, reply: PushNotification | ReplyError) -> bool:
        """Take what is no plain reply: an error, or a push, which it says it was."""
        if isinstance(reply, PushNotification):
            self._on_push(reply)
            return True
        self._refused(self._inflight.popleft(), reply)
        return False

    def _refused(self, slot: Slot, reply: ReplyError) -> None:
        error = refine(reply)
        if not isinstance(error, ReplyError):
            self.distress = error
        if not slot.done():
            slot.set_exception(error)

    def oldest(self) -> float | None:
        """Tell when the oldest unanswered command was taken to be written; None: none is."""
        stamps, received = self._stamps, self.received
        while stamps and stamps[0][0] <= received:
            stamps.popleft()
        return stamps[0][1] if stamps else None

    @property
    def unanswered(self) -> int:
        """How many commands await replies."""
        return len(self._inflight)

    @property
    def queued(self) -> int:
        """How many commands have a place in the order of writing; negative: some wait for one."""
        return -1 if self._line else self.sent + len(self._batch)

    @property
    def in_flight(self) -> int:
        """How many commands await replies or their turn."""
        return len(self._inflight) + len(self._batch) + sum(len(s) for _, s in self._line)

    def fail(
        self, unanswered: Callable[[], BackendError], unsent: Callable[[], BackendError]
    ) -> None:
        """End: fail every slot, those that may have run and those that never left."""
        self._dead = unsent
        self._room = 0  # so that calls, too, find out
        sent, batch, line = list(self._inflight), list(self._batch), list(self._line)
        self._inflight.clear()
        self._batch.clear()
        self._parts.clear()
        self._places.clear()
        self._line.clear()
        self._stamps.clear()
        for slot in sent:
            if not slot.done():
                slot.set_exception(unanswered())
        for slot in [*batch, *(slot for _, slots in line for slot in slots)]:
            if not slot.done():
                slot.set_exception(unsent())
