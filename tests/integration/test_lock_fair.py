"""`fair=True`: tasks of all processes in the order in which they came."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from millpond.errors import ConfigError, LockTimeout
from tests.integration.test_lock_shared import Inside, left_keys, settled
from tests.support.fleet import until
from tests.support.lockers import Locker, cancel_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server


@pytest.fixture
async def one(url: str) -> AsyncIterator[Locker]:
    async with Locker(url) as locker:
        yield locker


@pytest.fixture
async def other(url: str) -> AsyncIterator[Locker]:
    async with Locker(url) as locker:
        yield locker


async def wait_for(locker: Locker, tickets: int) -> None:
    """Wait until so many tickets were taken in Redis."""
    async with asyncio.timeout(5):
        while await locker.client.call("ZCARD", locker.locks.key("a") + ":tickets") < tickets:
            await asyncio.sleep(0.001)


async def test_tasks_of_two_processes_are_served_in_the_order_they_came(
    flavoured_server: Server,
) -> None:
    async with Locker(flavoured_server.url) as one, Locker(flavoured_server.url) as other:
        order: list[int] = []
        fences: list[int] = []

        async def work(locker: Locker, number: int) -> None:
            async with locker.locks.hold("a", fair=True) as held:
                order.append(number)
                fences.append(held.fence)

        tasks: list[asyncio.Task[None]] = []
        async with one.locks.hold("a", fair=True):
            for number, locker in enumerate([one, other, other, one, other, one, one, one, other]):
                tasks.append(asyncio.create_task(work(locker, number)))
                await wait_for(one, number + 1)
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks)
        assert order == list(range(9))
        assert fences == sorted(set(fences))
        await settled(one, other)
        assert [key for key in await left_keys(one) if not key.endswith(b":alive")] == []


async def test_fair_and_other_holders_exclude_each_other(one: Locker, other: Locker) -> None:
    inside = Inside()

    async def work(locker: Locker, *, fair: bool) -> None:
        for _ in range(5):
            await inside.visit(locker.locks.hold("a", fair=fair))

    async with asyncio.timeout(20):
        await asyncio.gather(
            *[work(locker, fair=fair) for locker in (one, other) for fair in (True, False)]
        )
    assert (inside.times, inside.most) == (20, 1)


async def test_fair_lock_works_on_memory() -> None:
    async with Locker("memory://fair") as one, Locker("memory://fair") as other:
        inside = Inside()
        async with asyncio.timeout(10):
            await asyncio.gather(
                *[
                    inside.visit(locker.locks.hold("a", fair=True))
                    for locker in (one, other)
                    for _ in range(4)
                ]
            )
        assert (inside.times, inside.most) == (8, 1)


async def test_dead_waiter_does_not_block_the_line_for_long(one: Locker) -> None:
    key = one.locks.key("a")
    now = int(time.time() * 1000)
    await one.client.call("ZADD", f"{key}:tickets", 1, "dead:token")
    await one.client.call("ZADD", f"{key}:alive", now + 500, "dead")
    for part in ("tickets", "alive"):
        await one.client.call("PEXPIRE", f"{key}:{part}", 60_000)
    async with asyncio.timeout(4), one.locks.hold("a", fair=True):
        assert time.time() * 1000 >= now + 500
    await one.client.call("DEL", f"{key}:tickets", f"{key}:alive")


async def test_waiter_that_gives_up_makes_way(one: Locker, other: Locker) -> None:
    async with one.locks.hold("a", fair=True):
        giving_up = asyncio.create_task(
            _timed_out(other, 0.2)  # the oldest ticket
        )
        await wait_for(one, 1)
        inside = Inside()
        waiter = asyncio.create_task(inside.visit(one.locks.hold("a", fair=True)))
        await wait_for(one, 2)
        await giving_up
    async with asyncio.timeout(0.5):
        await waiter


async def _timed_out(locker: Locker, wait: float) -> None:
    with pytest.raises(LockTimeout):
        async with locker.locks.hold("a", fair=True, wait=wait):
            pytest.fail("it is held")


async def test_no_waiting_takes_no_place(one: Locker, other: Locker) -> None:
    async with one.locks.hold("a", fair=True):
        await _timed_out(other, 0)
        assert await one.client.call("EXISTS", one.locks.key("a") + ":tickets") == 0
    async with other.locks.hold("a", fair=True, wait=0):
        pass


async def test_nesting_fair_in_plain_is_an_error(one: Locker) -> None:
    async with one.locks.hold("a"):
        with pytest.raises(ConfigError, match="already"):
            async with one.locks.hold("a", fair=True):
                pytest.fail("never")


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("behind", [False, True])
async def test_cancelled_at_any_await_leaves_no_ticket(
    one: Locker, other: Locker, answered: bool, behind: bool
) -> None:
    async def use() -> None:
        async with one.locks.hold("a", fair=True):
            await asyncio.sleep(0)

    struck, step = True, 0
    while struck:
        step += 1
        inside = Inside()
        before = None
        async with other.locks.hold("a", fair=True):
            if behind:
                before = asyncio.create_task(inside.visit(one.locks.hold("a", fair=True)))
                await wait_for(one, 1)
            run = asyncio.create_task(cancel_at(step, use(), answered=answered))
            await asyncio.sleep(0.005)
        async with asyncio.timeout(0.9):
            struck, _ = await run
            if before is not None:
                await before
            await inside.visit(other.locks.hold("a", fair=True))
        await settled(one, other, one)
        await until(lambda: one.locks.statistics().waiting == 0)
        assert [key for key in await left_keys(one) if not key.endswith(b":alive")] == [], step
    assert step >= 3
