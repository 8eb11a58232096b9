"""The one-key cache protocol as a model: two processes, one key, one row, every interleaving.

What must stay true, in every history:

- **Freshness.** A caller who came after a delete was acknowledged is never given a version older
  than the one committed before that delete.
- **No stale fill.** What the key carries is never older than that version either: a load that
  was overtaken by a delete cannot store.
- **Nothing outlives a mark.** A writer that is killed in its `writing()`, having committed, counts
  as acknowledged once its mark has lapsed: the two promises above hold for its version as well.
- **One load.** No claim is granted over a lease, and nothing but a delete, its own fill or its
  expiry ends a lease: two loads run under leases at once only where one of them was revoked.
  Within a process the flight table has one place for the key and loaders run nowhere else.
- **One failure.** Callers who share a load that raised, or who waited for it in the other process,
  fail with it; none of them runs the loader again.
- **Kept.** A load that fails over a stale value leaves it where it is; and what a caller falls back
  on is fresh enough for him.
- **Progress.** From every state some continuation lets every caller return. It needs no
  `wait_timeout`: a waiter is woken by the push of what happened to the lease, or, where nothing
  is pushed in time (expiry), by the deadline that came with its read.

Why they hold, in short. A fill is accepted only if the key still carries the lease, so no delete
ran between claim and fill: whoever joined before the fill left came before any later delete.
A fill that is refused proves nothing of the sort, so its value is only for those who came before
the loader was called; and a value found by a claim or a tracked read only for those who came
before it was sent. Who comes later starts over.

How the world is cut into steps. Redis runs one command at a time. A process turns in steps too: a
caller starts, the turn's commands leave, one reply is looked at, the loader reads or returns.
Everything between is a queue that may be slow. The writer is outside: it commits, and its DEL is
executed and acknowledged in one step, because an acknowledgement that comes later only promises
less; and a writer inside one of the processes adds nothing, because its DEL runs at a moment at
which the outside one's can run as well. Writers who mark the key are outside, too (`writers.py`).

Time is not modelled: a lease may expire at any moment, however often it was renewed, and a
deadline comes at some moment after the lease is gone. Commands of a lost connection may still run
at any later time, as behind a proxy, on a server that may not be told to kill it.

What is not here: `error_ttl` (a caller who finds a remembered error raises at once), cancelled
callers (one fewer in a group of callers), two versions of an application. Tags and eras have a
model of their own (`tags.py`), and so has the near cache (`near.py`).

Two rules look redundant as long as one connection lives, answers in order, and replies are looked
at in that order: that the flight is left when its fill is sent and not when it is answered, and
that what a claim or tracked read finds is only for those who joined before it was sent. There, a
caller joins only after its own GET was answered, and a GET sent behind the fill is answered behind
the fill: by then the flight has landed. The rules carry weight as soon as the order is loose by
one turn (`Bounds.unordered`): a fill is sent again after NOSCRIPT, a task resumes later than its
neighbour; or the connection ends, and a caller whose GET fails at once joins a flight whose reply
has come but was not looked at yet. The tests show both halves.
"""

from __future__ import annotations

from typing import Final

from .process import Mind
from .rules import Bounds, Rules
from .search import Violation
from .server import (
    ABSENT,
    ERROR,
    FOREIGN,
    GENERATIONS,
    HELD,
    LEASE,
    MARK,
    STALE,
    VALUE,
    Message,
    entry,
    execute,
    generation_in,
    kind_of,
    show,
    stale,
    version_in,
)
from .state import (
    Process,
    expired,
    fresh_generation,
    holds,
    known_by,
    mentions,
    pushed,
    waiting,
)
from .writers import Writer, deleted, writers_steps

__all__ = ["Bounds", "OneKey", "Rules", "State"]

State = tuple[int, int, int, int, int, int, int]
"""The key's content, the database's version, the newest version whose delete was acknowledged,
what is left of the bounds, the two processes by number, and the marking writers by number."""

_SPENT = (
    *("starts", "expiries", "renewals", "crashes", "losses", "failures", "timeouts", "sets"),
    *("fresh_sets", "lapses", "kills", "softens"),
)
_UNIT: Final = {name: 1 << 3 * at for at, name in enumerate(_SPENT)}
_MASK: Final = {name: 7 * unit for name, unit in _UNIT.items()}
_EXPIRIES, _EXPIRY, _LOSSES = _MASK["expiries"], _UNIT["expiries"], _MASK["losses"]

_Own = tuple[str, int, int, int]  # said, process after it, the bound it needs, what it spends
_Served = tuple[str, int, int, bool, int]  # said, content, process, whether it pushes, version


class OneKey:
    """The model, for `search.explore`.

    A process's own steps depend on little besides the process, and so does what the server does
    with its next command. Processes are therefore numbered and their steps remembered: the search
    visits hundreds of thousands of states, but thinks only about some thousands of processes.

    Args:
        rules: The protocol, or a mistaken variant.
        bounds: How much may happen.
    """

    def __init__(self, rules: Rules, bounds: Bounds) -> None:
        """Prepare; nothing is computed yet."""
        self._rules = rules
        self._bounds = bounds
        self._mind = Mind(rules, bounds)
        self._numbers: dict[Process, int] = {}
        self._processes: list[Process] = []
        self._waiting: list[bool] = []  # by number, as the next two
        self._mentions: list[int] = []
        self._holds: list[int] = []
        self._pushed: dict[int, int] = {}
        self._expired: dict[tuple[int, int], int] = {}
        self._own: dict[tuple[int, int, int, int, int, int], list[_Own]] = {}
        self._served: dict[tuple[int, int, int], list[_Served]] = {}
        self._crews: list[tuple[Writer, ...]] = [(Writer(),) * bounds.marks]  # by number
        self._crew: dict[tuple[Writer, ...], int] = {self._crews[0]: 0}

    def start(self) -> State:
        """Return the state before anything happened."""
        left = sum(getattr(self._bounds, name) * unit for name, unit in _UNIT.items())
        first, second = (self._number(Process(idle)) for idle in self._bounds.readers)
        begins = entry(FOREIGN) if self._bounds.foreign else ABSENT
        begins = stale(0) if self._bounds.stale else begins
        return (begins, 0, 0, left, first, second, 0)

    def settled(self, state: State) -> bool:
        """Tell whether no caller waits."""
        return not (self._waiting[state[4]] or self._waiting[state[5]])

    def steps(self, state: State) -> list[tuple[str, State]]:
        """Return every step out of `state`: the writer's, Redis's own, and the processes'."""
        content, current, acked, left, first, second, crew = state
        found: list[tuple[str, State]] = []
        if current < self._bounds.writes:
            said = f"writer: commits version {current + 1}"
            found.append((said, (content, current + 1, acked, left, first, second, crew)))
        if acked < current:
            p, q = first, second
            if content != ABSENT:
                p, q = self._push(p), self._push(q)
            after = deleted(self._rules, content)
            said = f"writer: DEL removes {show(content)}, acknowledged"
            if after != ABSENT:
                said = f"writer: DEL meets {show(content)} and leaves {show(after)}, acknowledged"
            found.append((said, (after, current, current, left, p, q, crew)))
        if self._bounds.marks:
            found += self._writers_steps(state)
        if left & _MASK["fresh_sets"] and (kind_of(content) != MARK or self._rules.set_over_mark):
            said, spared = f"a set stores version {current}", left - _UNIT["fresh_sets"]
            p, q = self._push(first), self._push(second)
            found.append((said, (entry(VALUE, current), current, acked, spared, p, q, crew)))
        used = self._mentions[first] | self._mentions[second]
        kind, carried = content & 7, content >> 3
        used |= known_by(content)
        if kind == HELD:
            carried = generation_in(content)
        if kind == VALUE and left & _MASK["softens"]:
            said, spared = f"redis: {show(content)} becomes stale", left - _UNIT["softens"]
            after = stale(carried)
            found.append((said, (after, current, acked, spared, first, second, crew)))
        if kind in (LEASE, HELD):
            orphan = not self._holds[first if carried < GENERATIONS else second] >> carried & 1
            if orphan or left & _EXPIRIES:
                spared = left if orphan else left - _EXPIRY
                p, q = self._expire(first, carried), self._expire(second, carried)
                said = f"redis: {show(content)} expires"
                after = stale(version_in(content), carried) if kind == HELD else ABSENT
                found.append((said, (after, current, acked, spared, p, q, crew)))
        elif kind in (VALUE, ERROR, STALE) and left & _EXPIRIES:
            said = f"redis: {show(content)} expires"
            found.append((said, (ABSENT, current, acked, left - _EXPIRY, first, second, crew)))
        found += [
            (said, (content, current, acked, left - cost, p, second, crew))
            for said, p, needs, cost in self._steps_of(0, first, acked, current, used, left)
            if not needs or left & needs
        ]
        found += [
            (said, (content, current, acked, left - cost, first, q, crew))
            for said, q, needs, cost in self._steps_of(1, second, acked, current, used, left)
            if not needs or left & needs
        ]
        for said, after, p, pushes, version in self._commands_of(0, content, first):
            _check_stored(said, version, acked)
            q = self._push(second) if pushes else second
            found.append((said, (after, current, acked, left, p, q, crew)))
        for said, after, q, pushes, version in self._commands_of(1, content, second):
            _check_stored(said, version, acked)
            p = self._push(first) if pushes else first
            found.append((said, (after, current, acked, left, p, q, crew)))
        return found

    def _writers_steps(self, state: State) -> list[tuple[str, State]]:
        """Return what the writers who mark the key may do."""
        content, current, acked, left, first, second, crew = state
        found: list[tuple[str, State]] = []
        for act in writers_steps(self._rules, content, current, self._crews[crew]):
            if act.spends and not left & _MASK[act.spends]:
                continue
            known = max(acked, act.acked)
            stored = act.content >> 3 if kind_of(act.content) == VALUE else -1
            _check_stored(act.said, stored, known)
            spared = left - (_UNIT[act.spends] if act.spends else 0)
            p, q = (self._push(first), self._push(second)) if act.pushes else (first, second)
            after = self._crew.setdefault(act.writers, len(self._crew))
            if after == len(self._crews):
                self._crews.append(act.writers)
            found.append((act.said, (act.content, act.version, known, spared, p, q, after)))
        return found

    # -- remembered parts -------------------------------------------------------------------

    def _number(self, process: Process) -> int:
        number = self._numbers.get(process)
        if number is None:
            number = self._numbers[process] = len(self._processes)
            self._processes.append(process)
            self._waiting.append(waiting(process))
            self._mentions.append(mentions(process))
            self._holds.append(holds(process))
        return number

    def _steps_of(
        self, who: int, number: int, acked: int, current: int, used: int, left: int
    ) -> list[_Own]:
        """Return what process `who` may do on its own."""
        fresh = fresh_generation(who, used)
        key = (who, number, acked, current, fresh, left & _LOSSES)
        known = self._own.get(key)
        if known is None:
            process = self._processes[number]
            try:
                steps = [*self._mind.steps(process, acked, current, fresh)]
                if left & _LOSSES:
                    steps += self._mind.losses(process, fresh)
            except Violation as broken:
                broken.step = f"p{who}: {broken.step}"
                raise
            known = self._own[key] = [
                (
                    f"p{who}: {said}",
                    self._number(after),
                    _MASK[spends] if spends else 0,
                    _UNIT[spends] if spends else 0,
                )
                for said, after, spends in steps
                if not spends or getattr(self._bounds, spends)
            ]
        return known

    def _commands_of(self, who: int, content: int, number: int) -> list[_Served]:
        """Return what Redis may run next of process `who`: the first of its line, any stray."""
        key = (who, content, number)
        known = self._served.get(key)
        if known is None:
            process = self._processes[number]
            known = self._served[key] = []
            within_reach = len(process.sent) if self._bounds.unordered else 1
            for at, command in enumerate(process.sent[:within_reach]):
                rest = process._replace(sent=process.sent[:at] + process.sent[at + 1 :])
                known.append(self._run(who, content, rest, command, answered=True))
            for at, command in enumerate(process.stray):
                rest = process._replace(stray=process.stray[:at] + process.stray[at + 1 :])
                known.append(self._run(who, content, rest, command, answered=False))
        return known

    def _run(
        self, who: int, content: int, process: Process, command: Message, *, answered: bool
    ) -> _Served:
        try:
            effect = execute(self._rules, content, command)
        except Violation as broken:
            broken.step = f"redis: p{who}'s {broken.step}"
            raise
        if answered and effect.reply:
            tracked = process.tracked or command.op == "read"
            arrived = (*process.arrived, effect.reply)
            process = process._replace(arrived=arrived, tracked=tracked)
        number = self._number(pushed(process) if effect.pushes else process)
        stored = command.content if command.op in ("fill", "set") and effect.pushes else -1
        return f"redis: p{who}'s {effect.said}", effect.content, number, effect.pushes, stored

    def _push(self, number: int) -> int:
        after = self._pushed.get(number)
        if after is None:
            after = self._pushed[number] = self._number(pushed(self._processes[number]))
        return after

    def _expire(self, number: int, gen: int) -> int:
        after = self._expired.get((number, gen))
        if after is None:
            after = self._number(expired(self._processes[number], gen))
            self._expired[number, gen] = after
        return after


def _check_stored(said: str, version: int, acked: int) -> None:
    """Refuse that a version (-1: none) is stored that an acknowledged delete has removed."""
    if 0 <= version < acked:
        what = f"version {version} is stored after the delete that followed version {acked}"
        raise Violation("no stale fill", what, step=said)
