"""Breadth-first search of everything that a small model can do, with shortest counterexamples.

A model is a start state and the steps out of each state. States are hashable and compared by
value, so two histories that lead to the same state are explored once. Two things are looked for:

- *A broken promise.* The model raises `Violation` while it takes a step. Breadth first means that
  the history found is among the shortest.
- *A dead end.* After the whole graph is known, states from which no continuation at all reaches a
  state that the model calls settled: deadlock and livelock alike. The search does not ask that
  every continuation gets there (a fair scheduler is the event loop's business), only that none of
  the states has lost the way.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Model", "Outcome", "Violation", "explore"]

State = TypeVar("State")


class Violation(Exception):
    """A promise was broken by the step being taken.

    Attributes:
        promise: The promise's short name, for tests to compare.
        step: The step that broke it; `explore` puts it at the trace's end.
        what: One sentence for the reader of the trace.
    """

    def __init__(self, promise: str, what: str, *, step: str = "") -> None:
        """Name the promise and say how it was broken."""
        super().__init__(f"{promise}: {what}")
        self.promise = promise
        self.step = step
        self.what = what


class Model(Protocol[State]):
    """What `explore` needs to know of a model."""

    def start(self) -> State:
        """Return the state in which every history begins."""
        ...

    def steps(self, state: State, /) -> Sequence[tuple[str, State]]:
        """Return every step possible in `state`, each with its description for a trace.

        Raises:
            Violation: One of the steps breaks a promise.
        """
        ...

    def settled(self, state: State, /) -> bool:
        """Tell whether nobody is waiting for anything in `state`."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found.

    Attributes:
        states: Distinct states seen.
        transitions: Steps taken between them.
        said: The descriptions of all steps taken: what the search has covered.
        broken: The name of the promise that fell, or None.
        what: How it fell.
        trace: The shortest history that breaks it, one step a line, the last one breaking it.
    """

    states: int
    transitions: int
    said: frozenset[str]
    broken: str | None = None
    what: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Tell the size of the search, and the counterexample as a numbered list."""
        size = f"{self.states:,} states, {self.transitions:,} transitions"
        if self.broken is None:
            return f"nothing broken in {size}"
        steps = [f"{number:3}. {step}" for number, step in enumerate(self.trace, 1)]
        return "\n".join([f"{self.broken} broken ({size})", *steps, f"     => {self.what}"])


def explore(model: Model[State], *, limit: int = 2_000_000) -> Outcome:
    """Visit every state of `model`, stopping at the first violation.

    Args:
        model: The thing to check.
        limit: States after which the model counts as too large for a test.

    Returns:
        The outcome. With a violation its counts are those at the moment it was found.

    Raises:
        OverflowError: More than `limit` states.
    """
    first = model.start()
    index = {first: 0}
    order = [first]  # grows while it is iterated: the queue and the list of states in one
    parents = array("l", [-1])
    how = [""]
    said: set[str] = set()
    edges = array("l")
    ends = array("l")
    steps: Callable[[State], Sequence[tuple[str, State]]] = model.steps

    def history(at: int) -> tuple[str, ...]:
        lines: list[str] = []
        while at > 0:
            lines.append(how[at])
            at = parents[at]
        return tuple(reversed(lines))

    for here, state in enumerate(order):
        try:
            options = steps(state)
        except Violation as broken:
            trace = (*history(here), broken.step)
            return Outcome(
                len(order), len(edges), frozenset(said), broken.promise, broken.what, trace
            )
        for label, following in options:
            there = index.get(following)
            if there is None:
                there = index[following] = len(order)
                order.append(following)
                parents.append(here)
                how.append(label)
            edges.append(there)
            said.add(label)
        ends.append(len(edges))
        if len(order) > limit:
            raise OverflowError(f"more than {limit:,} states")

    lost = _lost(order, edges, ends, model.settled)
    if lost is None:
        return Outcome(len(order), len(edges), frozenset(said))
    what = "from here no continuation lets everybody who waits return"
    return Outcome(len(order), len(edges), frozenset(said), "progress", what, history(lost))


def _lost(
    order: list[State], edges: array[int], ends: array[int], settled: Callable[[State], bool]
) -> int | None:
    """Return the first state, in breadth-first order, that cannot reach a settled one.

    Most steps lead to states discovered later, so sweeping backwards settles nearly everything in
    the first pass; the passes repeat until one changes nothing.
    """
    fine = bytearray(settled(state) for state in order)
    todo = [at for at in range(len(order) - 1, -1, -1) if not fine[at]]
    while todo:
        left: list[int] = []
        for at in todo:
            for edge in range(ends[at - 1] if at else 0, ends[at]):
                if fine[edges[edge]]:
                    fine[at] = 1
                    break
            else:
                left.append(at)
        if len(left) == len(todo):
            return left[-1]
        todo = left
    return None
