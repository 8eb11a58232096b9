"""Who waits for whom among loads: circles are found, and what is none is let be."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from itertools import pairwise

import pytest

from millpond.cache.waiting import Waiter, current, would_deadlock


def chain(length: int) -> list[Waiter]:
    waiters = [Waiter() for _ in range(length)]
    for waiter, following in pairwise(waiters):
        waiter.wait_for(following)
    return waiters


def test_load_reaches_itself_at_once() -> None:
    waiter = Waiter()
    assert waiter.reaches(waiter)


@pytest.mark.parametrize("length", [2, 3, 50])
def test_load_reaches_whatever_it_waits_for_through_others(length: int) -> None:
    waiters = chain(length)
    assert waiters[0].reaches(waiters[-1])
    assert not waiters[-1].reaches(waiters[0])


def test_wait_that_is_over_reaches_nobody() -> None:
    one, other = chain(2)
    one.waited_for(other)
    assert not one.reaches(other)


def test_two_tasks_of_one_load_that_wait_for_the_same_are_two_waits() -> None:
    one, other = chain(2)
    one.wait_for(other)
    one.waited_for(other)
    assert one.reaches(other)
    one.waited_for(other)
    assert not one.reaches(other)


def test_search_ends_in_a_net_of_waits_and_finds_what_is_behind_it() -> None:
    first, second, third, behind = (Waiter() for _ in range(4))
    for one, other in [(first, second), (second, third), (third, first), (third, behind)]:
        one.wait_for(other)
    assert first.reaches(behind)
    assert not behind.reaches(first)
    assert not first.reaches(Waiter())


def test_outside_any_load_nothing_can_deadlock() -> None:
    assert current.get() is None
    assert not would_deadlock(Waiter())


def test_inside_a_load_whoever_waits_for_it_cannot_be_waited_for() -> None:
    here, other, stranger = Waiter(), Waiter(), Waiter()

    def inside() -> None:
        current.set(here)
        other.wait_for(here)
        assert would_deadlock(here)
        assert would_deadlock(other)
        assert not would_deadlock(stranger)

    copy_context().run(inside)


async def test_tasks_that_a_loader_starts_are_part_of_its_load() -> None:
    here = Waiter()
    token = current.set(here)
    try:
        found = await asyncio.create_task(asyncio.to_thread(current.get))
    finally:
        current.reset(token)
    assert found is here
