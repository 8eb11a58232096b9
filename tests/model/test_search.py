"""The search itself, on models small enough to check by eye."""

from __future__ import annotations

import pytest

from .search import Violation, explore


class Numbers:
    """Begin at 0; from each number go where the table says."""

    def __init__(self, table: dict[int, list[int]], *, bad: int = -1) -> None:
        self._table = table
        self._bad = bad

    def start(self) -> int:
        return 0

    def steps(self, state: int, /) -> list[tuple[str, int]]:
        following = self._table.get(state, [])
        if self._bad in following:
            raise Violation("never", f"{self._bad} was reached", step=f"to {self._bad}")
        return [(f"to {number}", number) for number in following]

    def settled(self, state: int, /) -> bool:
        return state == 9


def test_every_state_is_visited_once() -> None:
    outcome = explore(Numbers({0: [1, 2], 1: [9], 2: [9, 0]}))
    assert (outcome.states, outcome.transitions, outcome.broken) == (4, 5, None)


def test_the_trace_of_a_violation_is_a_shortest_one() -> None:
    outcome = explore(Numbers({0: [1, 4], 1: [2], 2: [3], 3: [5], 4: [5]}, bad=5))
    assert outcome.broken == "never"
    assert outcome.trace == ("to 4", "to 5")
    assert "2. to 5" in str(outcome)


def test_a_state_without_steps_that_is_not_settled_is_a_dead_end() -> None:
    outcome = explore(Numbers({0: [1, 9], 1: [2]}))
    assert (outcome.broken, outcome.trace) == ("progress", ("to 1",))


def test_a_circle_that_cannot_be_left_is_a_dead_end() -> None:
    outcome = explore(Numbers({0: [9, 3], 3: [4], 4: [3]}))
    assert (outcome.broken, outcome.trace) == ("progress", ("to 3",))


def test_a_circle_that_can_be_left_is_none() -> None:
    assert explore(Numbers({0: [1], 1: [0, 9]})).broken is None


def test_a_model_that_is_too_large_is_refused() -> None:
    with pytest.raises(OverflowError, match="more than 50 states"):
        explore(Numbers({number: [number + 1] for number in range(100)}), limit=50)
