"""The near cache as a model: copies in one process, and the pushes that remove them.

What must stay true, in every history:

- **As told.** A copy is never given that is older than a delete, or `clear()`, whose push the
  process has taken, or older than a delete of its own that was acknowledged.
- **On its way.** Whenever a copy is older than what was acknowledged, the message that removes it
  is on its way to the process: so it is served for the delay of a push, and no longer.
- **Freshness.** Whoever finds no copy and reads is given what a read without a near cache would be.

Copies are put by the connection's callback, in the order of replies and pushes, of the present era
only, whose own next change is pushed as well. After that push none is given until the era has been
read anew; if it is the same, for only the tags' epoch has changed, they count again. The state is
one connection: commands on their way out, run one at a time; replies and pushes on their way in,
looked at one at a time. Tracking is one-shot for each read. Who loads is outside and stores
whatever the protocol of one key allows: nothing older than what was acknowledged.

What is not here is time: the end of a copy with its entry, and the heartbeat of a process that is
cut off without noticing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from .search import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NearBounds", "NearRules", "OneProcess"]

Value: TypeAlias = tuple[int, int] | None  # version, era
NOTHING: Final = -1  # no copy, no era


@dataclass(frozen=True, slots=True)
class NearRules:
    """The near cache as shipped; each field, when true, is one tempting mistake.

    Attributes:
        put_by_task: Let the task that waited for the read put the copy, when it wakes.
        keep_own_deleted: Do not forget what this process has deleted; wait for the push.
        ignore_era: Do nothing when the namespace's version is pushed.
        era_untracked: Read the namespace's version without tracking it.
        given_unarmed: Give copies of the last era until it has been read anew.
        keep_over_era: Keep them when another era is read.
        keep_over_gap: Keep the copies when the connection is lost.
    """

    put_by_task: bool = False
    keep_own_deleted: bool = False
    ignore_era: bool = False
    era_untracked: bool = False
    given_unarmed: bool = False
    keep_over_era: bool = False
    keep_over_gap: bool = False


@dataclass(frozen=True, slots=True)
class NearBounds:
    """How much may happen in one history; everything may happen at any moment.

    Attributes:
        readers: Callers at once.
        starts: Reads in all.
        fills: Values stored from outside.
        deletes: Commits outside that are followed by a delete.
        own_deletes: Commits of this process that are followed by a delete.
        clears: Commits outside that are followed by `clear`.
        epochs: Changes of the tags' epoch, which is under the era's key.
        losses: Connections lost.
    """

    readers: int = 2
    starts: int = 4
    fills: int = 2
    deletes: int = 1
    own_deletes: int = 0
    clears: int = 0
    epochs: int = 0
    losses: int = 0


class Message(NamedTuple):
    """A command, or what comes back.

    Attributes:
        kind: Commands and their replies `era`, `key`, `delete`; pushes `key changed` and
            `era changed`; `gap`.
        must: What the caller of a read must see; the version that a delete or a push is about.
        value: What a read found; of an era, the second counts.
        tracked: Whether the next change of an era is pushed.
    """

    kind: str
    must: int = 0
    value: Value = None
    tracked: bool = False


class State(NamedTuple):
    """Everything.

    Attributes:
        value: What the key carries.
        era: The namespace's version.
        current: The version in the database.
        acked: The newest version whose delete or `clear` was acknowledged, or run for this process.
        owed: Commits outside whose delete or `clear` has not run.
        key_tracked, era_tracked: Whether the server pushes their next change.
        out: Commands that the server has not run.
        come: Replies and pushes that nobody has looked at.
        idle: Callers who may start.
        copy: The version of the copy.
        armed: Whether copies of `hit` may be put, and given.
        hit: The era of copies.
        known: The era that values are compared with.
        told: The newest version that was told of.
        waking: Values whose tasks have not woken, where these put the copies.
        left: What is left of the bounds.
    """

    value: Value
    era: int
    current: int
    acked: int
    owed: tuple[str, ...]
    key_tracked: bool
    era_tracked: bool
    out: tuple[Message, ...]
    come: tuple[Message, ...]
    idle: int
    copy: int
    armed: bool
    hit: int
    known: int
    told: int
    waking: tuple[Value, ...]
    left: tuple[int, ...]


_BOUNDS: Final = ("starts", "fills", "deletes", "own_deletes", "clears", "epochs", "losses")
_AT: Final = {name: at for at, name in enumerate(_BOUNDS)}


class OneProcess:
    """The model, for `search.explore`.

    Args:
        rules: The near cache, or a mistaken variant.
        bounds: How much may happen.
    """

    def __init__(self, rules: NearRules, bounds: NearBounds) -> None:
        """Prepare; nothing is computed yet."""
        self._rules = rules
        self._bounds = bounds

    def start(self) -> State:
        """Return the state before anything happened: version 0 is stored."""
        left = tuple(getattr(self._bounds, name) for name in _BOUNDS)
        nothing = (NOTHING, False, NOTHING, NOTHING, 0, ())
        return State(
            (0, 0), 0, 0, 0, (), False, False, (), (), self._bounds.readers, *nothing, left
        )

    def settled(self, state: State) -> bool:
        """Tell whether nothing is on its way."""
        return not (state.out or state.come)

    def steps(self, state: State) -> list[tuple[str, State]]:
        """Return every step out of `state`."""
        found: list[tuple[str, State]] = []
        for said, after in (*self._outside(state), *self._process(state), *self._redis(state)):
            _check_on_its_way(said, after)
            found.append((said, after))
        return found

    # -- outside ------------------------------------------------------------------------------

    def _outside(self, state: State) -> Iterator[tuple[str, State]]:
        if (spared := _spent(state, "fills")) and (
            state.value is None or state.value[1] != state.era
        ):
            for version in range(state.acked, state.current + 1):
                after = _key_changed(spared._replace(value=(version, state.era)))
                yield f"somebody stores version {version}", after
        for way, name in (("delete", "deletes"), ("clear", "clears")):
            if spared := _spent(state, name):
                committed = spared._replace(current=state.current + 1)
                said = f"somebody commits version {committed.current}, will {way}"
                yield said, committed._replace(owed=tuple(sorted((*state.owed, way))))
        if spared := _spent(state, "epochs"):
            yield "somebody deletes a tag", _era_changed(spared)
        for at, way in enumerate(state.owed):
            paid = state._replace(owed=state.owed[:at] + state.owed[at + 1 :])
            paid = paid._replace(acked=state.current)
            if way == "delete":
                yield "somebody deletes, acknowledged", _deleted(paid)
            else:
                paid = paid._replace(era=state.era + 1)
                yield "somebody clears, acknowledged", _era_changed(paid)

    # -- the process --------------------------------------------------------------------------

    def _process(self, state: State) -> Iterator[tuple[str, State]]:
        if state.idle and (spared := _spent(state, "starts")):
            yield self._read(spared)
        if spared := _spent(state, "own_deletes"):
            version = state.current + 1
            sent = (*state.out, Message("delete", version))
            yield (
                f"commits version {version}, sends its delete",
                spared._replace(current=version, out=sent),
            )
        for at, value in enumerate(state.waking):
            woken = state._replace(waking=state.waking[:at] + state.waking[at + 1 :])
            yield "a task wakes", self._put(woken, value)
        if state.come:
            yield self._look(state._replace(come=state.come[1:]), state.come[0])
        if spared := _spent(state, "losses"):
            callers = sum(message.kind == "key" for message in (*state.out, *state.come))
            lost = spared._replace(out=(), come=(Message("gap"),), idle=state.idle + callers)
            yield "the connection is lost", lost._replace(key_tracked=False, era_tracked=False)

    def _read(self, state: State) -> tuple[str, State]:
        if state.copy != NOTHING and (state.armed or self._rules.given_unarmed):
            said = f"a caller is given the copy of version {state.copy}"
            if state.copy < state.told:
                what = f"the process was told of the delete that followed version {state.told}"
                raise Violation("as told", what, step=said)
            return said, state
        asked = any(message.tracked for message in (*state.out, *state.come))
        arms = not (state.armed or asked)
        tracked = arms and not self._rules.era_untracked
        era = Message("era", tracked=arms, value=(0, int(tracked)))
        out = (*state.out, era, Message("key", state.acked))
        return f"a caller reads (must see {state.acked})", state._replace(
            out=out, idle=state.idle - 1
        )

    def _look(self, state: State, message: Message) -> tuple[str, State]:
        kind, value, rules = message.kind, message.value, self._rules
        if kind == "era":
            assert value is not None, "an era"
            state = state._replace(known=value[1])
            if message.tracked:
                dropped = value[1] != state.hit and not rules.keep_over_era
                copy = NOTHING if dropped else state.copy
                state = state._replace(armed=True, hit=value[1], copy=copy)
            return f"looks at era {value[1]}", state
        if kind == "key":
            said = f"looks at the read's reply: {_show(value)}"
            if value is not None and value[1] == state.known and value[0] < message.must:
                what = f"a caller who must see version {message.must} is given version {value[0]}"
                raise Violation("freshness", what, step=said)
            state = state._replace(idle=state.idle + 1)
            if rules.put_by_task:
                return said, state._replace(waking=(*state.waking, value))
            return said, self._put(state, value)
        told = state._replace(told=max(state.told, message.must))
        gone = told._replace(copy=NOTHING)
        if kind == "key changed":
            return "looks at the push about the key", gone
        if kind == "era changed":
            after = told if rules.ignore_era else told._replace(armed=False)
            return "looks at the push about the era", after
        if kind == "delete":
            after = told if rules.keep_own_deleted else gone
            return f"its delete after version {message.must} is acknowledged", after
        after = state if rules.keep_over_gap else gone._replace(armed=False, known=NOTHING)
        return "is told of the gap", after

    def _put(self, state: State, value: Value) -> State:
        if state.armed and value is not None and value[1] == state.hit:
            return state._replace(copy=value[0])
        return state

    # -- redis --------------------------------------------------------------------------------

    def _redis(self, state: State) -> Iterator[tuple[str, State]]:
        if not state.out or any(message.kind == "gap" for message in state.come):
            return
        command, ran = state.out[0], state._replace(out=state.out[1:])
        if command.kind == "era":
            tracks = command.value is not None and bool(command.value[1])
            reply = command._replace(value=(0, state.era))
            tracked = state.era_tracked or tracks
            yield f"GET finds era {state.era}", _come(ran._replace(era_tracked=tracked), reply)
        elif command.kind == "key":
            reply = command._replace(value=state.value)
            after = _come(ran._replace(key_tracked=True), reply)
            yield f"GET finds {_show(state.value)}", after
        else:  # servers differ in whether the push or the acknowledgement comes first
            ran = ran._replace(acked=max(state.acked, command.must))
            yield "DEL runs, push first", _come(_deleted(ran), command)
            yield "DEL runs, acknowledgement first", _deleted(_come(ran, command))


def _come(state: State, message: Message) -> State:
    return state._replace(come=(*state.come, message))


def _key_changed(state: State) -> State:
    if not state.key_tracked:
        return state
    return _come(state._replace(key_tracked=False), Message("key changed", state.acked))


def _era_changed(state: State) -> State:
    if not state.era_tracked:
        return state
    return _come(state._replace(era_tracked=False), Message("era changed", state.acked))


def _deleted(state: State) -> State:
    """Remove the key; where there is none nothing has changed, and nothing is pushed."""
    return state if state.value is None else _key_changed(state._replace(value=None))


def _spent(state: State, name: str) -> State | None:
    at, left = _AT[name], state.left
    if not left[at]:
        return None
    return state._replace(left=(*left[:at], left[at] - 1, *left[at + 1 :]))


def _show(value: Value) -> str:
    return "nothing" if value is None else f"version {value[0]} of era {value[1]}"


def _check_on_its_way(said: str, state: State) -> None:
    """Refuse a copy that is too old, is given, and that nothing on its way removes."""
    if not state.armed or not NOTHING < state.copy < state.acked:
        return
    if not any(message.kind in _REMOVES for message in state.come):
        what = (
            f"version {state.copy} is kept after version {state.acked} was acknowledged, and "
            "nothing that removes it is on its way"
        )
        raise Violation("on its way", what, step=said)


_REMOVES: Final = frozenset({"key changed", "era changed", "delete", "gap"})
