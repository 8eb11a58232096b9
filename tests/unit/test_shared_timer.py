"""One timer for many: who is called, when, and in what order."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
import weakref
from typing import TYPE_CHECKING

import pytest

from millpond.core.shared_timer import SharedTimer
from tests.support.fleet import until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.both_loops

_request = contextvars.ContextVar("request", default="none")


class Sleeper:
    """Notes when it was called."""

    def __init__(self, log: list[tuple[str, float]], name: str) -> None:
        self._log = log
        self._name = name
        self.then: Callable[[], object] | None = None

    def tick(self) -> None:
        self._log.append((self._name, time.monotonic()))
        if self.then is not None:
            self.then()


@pytest.fixture
async def timer() -> SharedTimer:
    return SharedTimer(asyncio.get_running_loop())


async def test_each_is_called_once_when_it_is_due(timer: SharedTimer) -> None:
    log: list[tuple[str, float]] = []
    due = [time.monotonic() + pause for pause in (0.02, 0.05, 0.05)]
    for number, when in enumerate(due):
        assert timer.add(Sleeper(log, str(number)), when)
    await until(lambda: len(log) == 3)
    assert [name for name, _ in log] == ["0", "1", "2"]
    assert all(0 <= at - when < 0.5 for (_, at), when in zip(log, due, strict=True))
    await asyncio.sleep(0.05)
    assert len(log) == 3


async def test_removed_one_is_not_called_nor_kept(timer: SharedTimer) -> None:
    log: list[tuple[str, float]] = []
    now = time.monotonic()
    gone, left = Sleeper(log, "gone"), Sleeper(log, "left")
    assert timer.add(gone, now + 0.01)
    assert timer.add(left, now + 0.02)
    timer.remove(gone)
    timer.remove(gone)  # twice is no harm
    remembered = weakref.ref(gone)
    del gone
    gc.collect()
    assert remembered() is None
    await until(lambda: bool(log))
    assert [name for name, _ in log] == ["left"]


async def test_it_rings_again_after_it_was_idle(timer: SharedTimer) -> None:
    log: list[tuple[str, float]] = []
    for number in range(3):
        assert timer.add(Sleeper(log, str(number)), time.monotonic() + 0.01)
        await until(lambda: len(log) == number + 1)  # noqa: B023


async def test_one_that_is_due_before_another_needs_a_timer_of_its_own(timer: SharedTimer) -> None:
    log: list[tuple[str, float]] = []
    now = time.monotonic()
    assert timer.add(Sleeper(log, "late"), now + 0.05)
    assert not timer.add(Sleeper(log, "early"), now + 0.01)
    await until(lambda: bool(log))
    assert [name for name, _ in log] == ["late"]


async def test_one_that_comes_while_others_are_called_is_called_in_its_turn(
    timer: SharedTimer,
) -> None:
    log: list[tuple[str, float]] = []
    first = Sleeper(log, "first")
    first.then = lambda: timer.add(Sleeper(log, "second"), time.monotonic() + 0.01)
    assert timer.add(first, time.monotonic() + 0.01)
    await until(lambda: len(log) == 2)
    assert [name for name, _ in log] == ["first", "second"]


async def test_one_that_comes_while_others_are_called_keeps_no_earlier_one_waiting(
    timer: SharedTimer,
) -> None:
    log: list[tuple[str, float]] = []
    first, second, third = (Sleeper(log, name) for name in ("first", "second", "third"))
    now = time.monotonic()
    first.then = lambda: timer.add(third, now + 60)
    assert timer.add(first, now + 0.01)
    assert timer.add(second, now + 0.02)
    await until(lambda: len(log) == 2)
    assert [name for name, _ in log] == ["first", "second"]


async def test_each_is_called_in_the_context_of_whoever_added_it(timer: SharedTimer) -> None:
    seen: list[str] = []
    when = time.monotonic() + 0.01
    for name in ("first", "second"):
        caller = contextvars.copy_context()
        caller.run(_request.set, name)
        sleeper = Sleeper([], name)
        sleeper.then = lambda: seen.append(_request.get())
        assert caller.run(timer.add, sleeper, when)
    await until(lambda: len(seen) == 2)
    assert seen == ["first", "second"]


async def test_one_that_raises_keeps_no_other_from_being_called(timer: SharedTimer) -> None:
    log: list[tuple[str, float]] = []
    raised: list[object] = []
    timer.loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))
    broken = Sleeper(log, "broken")
    broken.then = lambda: 1 / 0
    when = time.monotonic() + 0.01
    assert timer.add(broken, when)
    assert timer.add(Sleeper(log, "other"), when)
    await until(lambda: len(log) == 2)
    assert [type(error) for error in raised] == [ZeroDivisionError]
