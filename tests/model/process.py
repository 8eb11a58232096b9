"""What a process does, in the model: every step that one process can take on its own.

A step is what one turn of a task does between two awaits. It sees nothing but the process itself
and what it was told; in particular no generation, lease or version that has not been replied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .search import Violation
from .server import (
    ABSENT,
    ERROR,
    FOREIGN,
    HELD,
    LEASE,
    MARK,
    STALE,
    VALUE,
    Message,
    entry,
    generation_in,
    is_stale,
    kind_of,
    name_of,
    show,
    stale,
    version_in,
)
from .state import (
    EARLY,
    WATCHING,
    Flight,
    Process,
    adrift,
    answered,
    fallen_back,
    merged,
    turned,
    with_fallback,
    without_fallback,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rules import Bounds, Rules

__all__ = ["Mind", "Step"]


class Step(NamedTuple):
    """A step of one process, and the bound that it uses up, if any."""

    said: str
    after: Process
    spends: str = ""


class Mind:
    """Everything a process may do next.

    Args:
        rules: The protocol.
        bounds: Whether replies are looked at in order.
    """

    def __init__(self, rules: Rules, bounds: Bounds) -> None:
        """Keep the rules."""
        self._rules = rules
        self._unordered = bounds.unordered

    def steps(self, process: Process, acked: int, current: int, fresh: int) -> Iterator[Step]:
        """Yield the process's own steps, except losing its connection.

        Args:
            process: The state it is in.
            acked: The newest version whose delete has been acknowledged: what a caller who starts
                now must see.
            current: The version in the database: what a loader reads now.
            fresh: A generation that nobody knows.

        Raises:
            Violation: A caller is given something too old.
        """
        if process.link != "dead":
            if process.idle:
                shared = "joins the GET" if self._open_get(process) else "asks"
                rest = process._replace(idle=process.idle - 1)
                started = self._ask(rest, (acked,), fresh)
                yield Step(f"a caller starts and {shared} (must see {acked})", started, "starts")
            if process.unsent:
                yield Step("sends", turned(process))
            for at, message in enumerate(process.arrived):
                if self._may_look(process.arrived[:at], message):
                    rest = process.arrived[:at] + process.arrived[at + 1 :]
                    looking = process._replace(arrived=rest)
                    if message.op != "push" and is_stale(message.content):
                        yield from self._learn_stale(looking, message, fresh)
                    else:
                        yield self._learn(looking, message, fresh)
            if process.flight:
                yield from self._fly(process, process.flight, current, fresh)
            if process.link == "down":
                yield Step("reconnects", process._replace(link="up"))
            else:
                store = Message("set", content=current)
                said = f"sets version {current}, which it has just read"
                yield Step(said, process._replace(unsent=(*process.unsent, store)), "sets")
            left = adrift(*process.sent, *process.stray)
            yield Step("is killed", Process(idle=0, link="dead", stray=left), "crashes")
        for at, message in enumerate(process.stray):
            rest = process.stray[:at] + process.stray[at + 1 :]
            yield Step(f"{message.op} is lost on the way", process._replace(stray=rest))

    def losses(self, process: Process, fresh: int) -> Iterator[Step]:
        """Yield the ways to lose the connection: with the replies on their way, or after them."""
        if process.link == "up":
            yield Step("loses its connection", self._lose(process, (), fresh), "losses")
            if process.arrived:
                said = "loses its connection, replies already read"
                yield Step(said, self._lose(process, process.arrived, fresh), "losses")

    def _may_look(self, before: tuple[Message, ...], message: Message) -> bool:
        """Tell whether a reply can be looked at before those that came `before` it.

        A watch hears its push in the connection's own callback, so never before its reply.
        """
        if message.op == "push" and any(earlier.op.startswith("read") for earlier in before):
            return False
        return self._unordered or not before

    # -- asking and joining -----------------------------------------------------------------

    def _open_get(self, process: Process) -> bool:
        """Tell whether a GET can be shared: only one that has not left."""
        queues = process.unsent
        if self._rules.share_sent_get:
            queues += process.sent + process.arrived
        return any(message.op == "get" for message in queues)

    def _ask(self, process: Process, callers: tuple[int, ...], fresh: int) -> Process:
        """Send `callers` to the start: a GET, or straight to the flight when there is no Redis."""
        if not callers:
            return process
        callers = without_fallback(callers)
        if process.link == "down":
            return self._join(process, callers, ABSENT, fresh)
        if self._open_get(process):
            for field in ("unsent", "sent", "arrived"):
                queue: tuple[Message, ...] = getattr(process, field)
                for at, message in enumerate(queue):
                    if message.op == "get":
                        shared = message._replace(early=merged(message.early, callers))
                        return process._replace(**{field: (*queue[:at], shared, *queue[at + 1 :])})
        return process._replace(unsent=(*process.unsent, Message("get", early=callers)))

    def _join(self, process: Process, callers: tuple[int, ...], dead: int, fresh: int) -> Process:
        """Let callers whose GET was a miss join the flight, or start one."""
        flight = process.flight
        if flight is None:
            return self._claim(process, callers, dead, fresh)
        if flight.phase in EARLY:
            flight = flight._replace(early=merged(flight.early, callers))
        else:
            flight = flight._replace(late=merged(flight.late, callers))
        return process._replace(flight=flight)

    def _claim(self, process: Process, callers: tuple[int, ...], dead: int, fresh: int) -> Process:
        """Claim what was seen: nothing, or the dead bytes `dead`. Everybody is early now."""
        if process.link == "down":
            return process._replace(flight=Flight("bare", early=callers))
        command = Message("claim", fresh, dead)
        flight = Flight("claim", fresh, early=callers)
        return process._replace(unsent=(*process.unsent, command), flight=flight)

    def _read(self, process: Process, callers: tuple[int, ...], awaited: int) -> Process:
        """Read the key, tracked, while it carries another's lease. Everybody is early now."""
        if process.link == "down":
            return process._replace(flight=Flight("bare", early=callers))
        flight = Flight("read", awaited, early=callers)
        return process._replace(unsent=(*process.unsent, Message("read")), flight=flight)

    # -- replies ----------------------------------------------------------------------------

    def _learn(self, process: Process, message: Message, fresh: int) -> Step:
        """Look at one reply or push; everything it decides is decided in this one step."""
        op, content, flight = message.op, message.content, process.flight
        if op == "push":
            if flight and flight.phase in WATCHING:
                process = self._read(process, flight.early, flight.gen)
            return Step("looks at a push", process)
        if op in ("filled", "refused"):
            return self._filled(process, message, fresh)
        said = f"looks at the {op}'s reply: {show(content)}"
        if op == "get":
            if kind_of(content) == VALUE:
                return Step(said, answered(process, message.early, content >> 3, said))
            dead = content if kind_of(content) in (ERROR, FOREIGN) else ABSENT
            return Step(said, self._join(process, message.early, dead, fresh))
        assert flight is not None, "claims and tracked reads belong to the flight"
        everybody = merged(flight.early, flight.late)
        process = process._replace(flight=None)
        if kind_of(content) == VALUE:
            taking, late = flight.early, flight.late
            if self._rules.late_take_read:
                taking, late = everybody, ()
            return self._answer(process, taking, late, content >> 3, said, fresh)
        if op == "claim" and content == entry(LEASE, flight.gen):
            loading = Flight("load", flight.gen, early=everybody)
            return Step(said, process._replace(flight=loading))
        if flight.phase == "refresh sent":
            return Step(said, self._ask(process, everybody, fresh))
        if kind_of(content) == LEASE:
            if op == "claim":
                return Step(said, self._read(process, everybody, content >> 3))
            phase = "resume" if self._rules.late_watch else "watch"
            phase = "lapsed" if op == "read, lapsed" else phase
            watching = Flight(phase, content >> 3, early=everybody)
            return Step(said, process._replace(flight=watching))
        if kind_of(content) == MARK:
            return Step(said, process._replace(flight=Flight("bare", early=everybody)))
        if op != "claim" and content == entry(ERROR, flight.gen):
            if self._rules.waiter_reloads:
                what = "callers who waited for a load that failed run the loader again"
                raise Violation("one failure", what, step=said)
            # The load that they waited for has failed: so have they, and nobody loads again.
            said += "; its callers get RemoteLoadError"
            return Step(said, self._fall_back(process, everybody, said))
        return Step(said, self._claim(process, everybody, content, fresh))

    def _learn_stale(self, process: Process, message: Message, fresh: int) -> Iterator[Step]:
        """Look at a reply that found a stale value: claimed by somebody, by us, or by nobody.

        Which window a reader finds it in is open: clocks and policies differ.
        """
        op, content, flight = message.op, message.content, process.flight
        said, version = f"looks at the {op}'s reply: {show(content)}", version_in(content)
        seen = stale(version, generation_in(content)) if generation_in(content) >= 0 else content
        if op == "get":
            served = answered(process, message.early, version, said)
            yield Step(f"{said}; serves it", served)
            if flight is None and kind_of(content) == STALE and process.link == "up":
                refresh = Flight("refresh", fresh)
                unsent = (*served.unsent, Message("claim", fresh, seen))
                refreshing = served._replace(flight=refresh, unsent=unsent)
                yield Step(f"{said}; serves it and refreshes it", refreshing)
            waiting = with_fallback(message.early, version)
            yield Step(f"{said}; wants a load", self._join(process, waiting, seen, fresh))
            return
        assert flight is not None, "claims and tracked reads belong to the flight"
        everybody = merged(flight.early, flight.late)
        process = process._replace(flight=None)
        if op == "claim" and content == stale(version, flight.gen, held=True):
            loading = Flight("load", flight.gen, early=everybody)
            yield Step(said, process._replace(flight=loading))
            return
        if flight.phase == "refresh sent":
            yield Step(said, self._ask(process, everybody, fresh))
            return
        taking, late = flight.early, flight.late
        if self._rules.late_take_read:
            taking, late = everybody, ()
        yield self._answer(process, taking, late, version, f"{said}; serves it", fresh)
        if kind_of(content) == HELD and op == "claim":
            yield Step(said, self._read(process, everybody, generation_in(content)))
        elif kind_of(content) == HELD:
            phase = "resume" if self._rules.late_watch else "watch"
            phase = "lapsed" if op == "read, lapsed" else phase
            watching = Flight(phase, generation_in(content), seen, early=everybody)
            yield Step(said, process._replace(flight=watching))
        else:
            yield Step(f"{said}; claims it", self._claim(process, everybody, seen, fresh))

    def _fall_back(self, process: Process, callers: tuple[int, ...], said: str) -> Process:
        return fallen_back(process, callers, said, shared=self._rules.shared_fallback)

    def _filled(self, process: Process, message: Message, fresh: int) -> Step:
        """Resolve those who rode on a fill."""
        said = f"looks at the fill's reply: {message.op}"
        early, late = message.early, message.late
        if process.flight and process.flight.phase == "fill":  # only when joined until the reply
            early, late = process.flight.early, process.flight.late
            process = process._replace(flight=None)
        if message.op == "filled" or self._rules.late_take_refused:
            early, late = merged(early, late), ()
        return self._answer(process, early, late, message.content, said, fresh)

    def _answer(
        self,
        process: Process,
        taking: tuple[int, ...],
        late: tuple[int, ...],
        version: int,
        said: str,
        fresh: int,
    ) -> Step:
        """Give `version` to those before the cut; the late start over."""
        return Step(said, self._ask(answered(process, taking, version, said), late, fresh))

    # -- the flight's own steps -------------------------------------------------------------

    def _fly(self, process: Process, flight: Flight, current: int, fresh: int) -> Iterator[Step]:
        phase, everybody = flight.phase, merged(flight.early, flight.late)
        if phase in ("load", "bare load"):
            read = flight._replace(phase=f"{phase}ed", version=current)
            yield Step(f"the loader reads version {current}", process._replace(flight=read))
            said = "the loader raises; its callers get the exception, or what they fall back on"
            failed = self._fall_back(process._replace(flight=None), everybody, said)
            if phase == "load" and process.link == "up":
                failed = failed._replace(unsent=(*process.unsent, Message("fail", flight.gen)))
            yield Step(said, failed, "failures")
        if phase in ("load", "loaded") and process.link == "up":
            renewed = tuple(sorted((*process.stray, Message("renew", flight.gen))))
            said = f"sends a renewal of {name_of(flight.gen)}"
            yield Step(said, process._replace(stray=renewed), "renewals")
        if phase == "loaded":
            yield self._finish(process, flight, fresh)
        elif phase == "bare":
            begun = Flight("bare load", early=flight.early)
            yield Step("calls the loader without a lease", process._replace(flight=begun))
        elif phase == "bare loaded":
            said = f"the unleased load returns version {flight.version}"
            taking, late = flight.early, flight.late
            if self._rules.late_take_bare:
                taking, late = everybody, ()
            ended = process._replace(flight=None)
            yield self._answer(ended, taking, late, flight.version, said, fresh)
        elif phase == "resume":
            listening = flight._replace(phase="watch")
            yield Step("the waiting task resumes", process._replace(flight=listening))
        elif phase in WATCHING:
            if phase == "lapsed" and not self._rules.deaf_to_expiry:
                claiming = self._claim(process, flight.early, flight.version, fresh)
                yield Step("the lease's deadline has come", claiming)
            bare = process._replace(flight=Flight("bare", early=flight.early))
            yield Step("has waited long enough", bare, "timeouts")

    def _finish(self, process: Process, flight: Flight, fresh: int) -> Step:
        """Send the fill; the flight leaves the table with it, its callers ride along."""
        said = f"the load returns version {flight.version}; the fill is next"
        if process.link == "down":
            return Step(said, self._unknown(process._replace(flight=None), flight, said, fresh))
        fill = Message("fill", flight.gen, flight.version, flight.early, flight.late)
        after = None
        if self._rules.join_until_filled:
            fill, after = fill._replace(early=(), late=()), flight._replace(phase="fill")
        return Step(said, process._replace(unsent=(*process.unsent, fill), flight=after))

    def _unknown(self, process: Process, fill: Flight | Message, said: str, fresh: int) -> Process:
        """Resolve those of a fill whose outcome nobody knows: the same as refused."""
        version = fill.version if isinstance(fill, Flight) else fill.content
        taking, late = fill.early, fill.late
        if self._rules.late_take_refused:
            taking, late = merged(taking, late), ()
        return self._answer(process, taking, late, version, said, fresh).after

    def _lose(self, process: Process, read: tuple[Message, ...], fresh: int) -> Process:
        """Fail what is unanswered; what was sent may still reach the server, in any order.

        Args:
            process: The process.
            read: Replies that are in the process already.
            fresh: A generation that nobody knows.
        """
        said, flight = "loses its connection", process.flight
        failed = process.unsent + process.sent + (() if read else process.arrived)
        waking = () if self._rules.deaf_to_loss else (Message("push"),)  # wakes every watch
        stray = adrift(*process.sent, *process.stray)
        lost = Process(process.idle, "down", arrived=read + waking, flight=flight, stray=stray)
        for message in failed:
            if message.op in ("claim", "read", "read, lapsed"):
                assert flight is not None, "claims and tracked reads belong to the flight"
                everybody = merged(flight.early, flight.late)
                if flight.phase.startswith("refresh"):
                    lost = self._ask(lost._replace(flight=None), everybody, fresh)
                    continue
                lost = lost._replace(flight=Flight("bare", early=everybody))
            elif message.op in ("fill", "filled", "refused"):
                if flight and flight.phase == "fill":  # only when joined until the reply
                    message = message._replace(early=flight.early, late=flight.late)  # noqa: PLW2901
                    lost = lost._replace(flight=None)
                lost = self._unknown(lost, message, said, fresh)
        for message in failed:
            if message.op == "get":
                lost = self._join(lost, message.early, ABSENT, fresh)
        return lost
