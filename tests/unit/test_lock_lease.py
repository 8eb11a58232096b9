"""A lease's clock, without a server: renewals are answered by the test, time is made up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millpond.core.lease import Lease, new_token
from millpond.errors import BackendTimeout, ClosedError


class Holding:
    """A lease of 9 s taken at 100, its clock, and what it sent."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.sent: list[int] = []
        self.answers: list[asyncio.Future[int]] = []
        self.lost: list[str] = []
        self.closed = False
        options = {"seconds": 9.0, "sent": 100.0} | options
        self.lease = Watched(self, clock=lambda: self.now, **options)

    def renew(self, ms: int) -> asyncio.Future[int]:
        if self.closed:
            raise ClosedError("closed")
        self.sent.append(ms)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    async def at(self, now: float) -> None:
        """Let the timer fire, as the loop would at that time."""
        self.now = now
        self.lease.tick()
        await asyncio.sleep(0)

    async def answer(self, reply: int | Exception) -> None:
        future = self.answers[-1]
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)
        await asyncio.sleep(0)


class Watched(Lease):
    """Tells a holding everything."""

    def __init__(self, holding: Holding, **options: Any) -> None:
        self.holding = holding
        super().__init__(**options)

    def renew(self, ms: int) -> asyncio.Future[int]:
        return self.holding.renew(ms)

    def lost(self, reason: str) -> None:
        self.holding.lost.append(reason)


async def test_renewal_leaves_at_a_third_and_not_before() -> None:
    holding = Holding()
    await holding.at(102.9)
    assert holding.sent == []
    await holding.at(103)
    assert holding.sent == [9000]
    await holding.at(104)
    assert holding.sent == [9000]  # one at a time
    holding.lease.stop()


async def test_deadline_moves_when_the_renewal_is_confirmed_and_counts_from_its_sending() -> None:
    holding = Holding()
    await holding.at(103)
    holding.now = 105
    assert holding.lease.deadline == 109  # sent is not confirmed
    await holding.answer(1)
    assert holding.lease.deadline == 112  # from 103, not from 105
    assert holding.lease.remaining() == 7
    assert holding.lease.stop() == ""


async def test_deadline_passes_while_a_renewal_is_unanswered() -> None:
    holding = Holding()
    await holding.at(103)
    await holding.at(109)
    assert holding.lost == ["expired"]
    assert holding.lease.remaining() == 0
    await holding.answer(1)
    assert holding.lease.ended == "expired"  # what was lost stays lost
    assert holding.lost == ["expired"]


async def test_stalled_loop_sends_nothing_past_the_deadline() -> None:
    holding = Holding()
    await holding.at(110)
    assert holding.sent == []
    assert holding.lost == ["expired"]


async def test_clock_is_asked_before_any_timer_has_fired() -> None:
    holding = Holding()
    holding.now = 109
    assert holding.lease.check() == "expired"
    assert holding.lost == ["expired"]
    assert holding.lease.stop() == "expired"


async def test_refused_renewal_ends_the_lease_at_once() -> None:
    holding = Holding()
    await holding.at(103)
    await holding.answer(0)
    assert holding.lost == ["gone"]
    assert holding.lease.remaining() == 0


async def test_failed_renewal_is_tried_again_until_the_deadline() -> None:
    holding = Holding()
    await holding.at(103)
    await holding.answer(BackendTimeout("no answer"))
    assert holding.lost == []
    await holding.at(104)
    assert len(holding.sent) == 2
    await holding.answer(1)
    assert holding.lease.deadline == 113
    holding.lease.stop()


async def test_closed_client_lets_the_lease_run_out() -> None:
    holding = Holding()
    holding.closed = True
    await holding.at(103)
    assert holding.lost == []
    await holding.at(109)
    assert holding.lost == ["expired"]


async def test_confirmation_read_late_proves_that_nothing_was_interrupted() -> None:
    holding = Holding()
    await holding.at(103)
    holding.now = 110  # the loop stalled past 109, and reads its socket before it runs its timers
    await holding.answer(1)
    assert holding.lease.check() == ""
    assert holding.lease.deadline == 112
    holding.lease.stop()


async def test_limit_ends_what_is_renewed() -> None:
    holding = Holding(limit=111.0)
    await holding.at(103)
    await holding.answer(1)
    assert holding.lease.deadline == 111
    await holding.at(106)
    await holding.answer(1)
    await holding.at(111)
    assert holding.lost == ["max_hold"]


async def test_shorter_extension_counts_before_it_is_confirmed() -> None:
    holding = Holding()
    extending = asyncio.create_task(holding.lease.extend(2))
    await asyncio.sleep(0)
    assert holding.sent == [2000]
    assert holding.lease.deadline == 102
    await holding.answer(BackendTimeout("its answer was lost"))
    with pytest.raises(BackendTimeout):
        await extending
    assert holding.lease.deadline == 102
    holding.lease.stop()


async def test_longer_extension_counts_once_it_is_confirmed() -> None:
    holding = Holding()
    extending = asyncio.create_task(holding.lease.extend(20))
    await asyncio.sleep(0)
    assert holding.lease.deadline == 109
    await holding.answer(1)
    await extending
    assert holding.lease.deadline == 120
    holding.lease.stop()


async def test_earlier_renewal_answered_after_a_shorter_extension_moves_nothing() -> None:
    holding = Holding()
    await holding.at(103)
    earlier = holding.answers[-1]
    extending = asyncio.create_task(holding.lease.extend(1))
    await asyncio.sleep(0)
    earlier.set_result(1)
    await asyncio.sleep(0)
    assert holding.lease.deadline == 104
    await holding.answer(1)
    await extending
    holding.lease.stop()


async def test_released_lease_tells_nobody_anything() -> None:
    holding = Holding()
    await holding.at(103)
    assert holding.lease.stop() == ""
    await holding.answer(0)
    holding.now = 200
    assert holding.lease.check() == "released"
    assert holding.lost == []


def test_tokens_have_one_length_and_differ() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {24}
