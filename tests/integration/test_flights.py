"""Shared loads on a real server: one load, callers who leave, leases that run out.

Two members stand for two processes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest

from millpond import CachePolicy
from millpond.cache import keeping
from millpond.core.scripts import Script
from millpond.events import FillRefused, LoadFinished
from tests.support.fleet import Member, Source, ask, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.fixture
async def other(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


# -- one load ----------------------------------------------------------------------------------


@pytest.mark.both_loops
async def test_many_callers_in_two_processes_cause_one_load_and_no_polling(
    one: Member[int], other: Member[int], server: Server
) -> None:
    warm = Source(0)
    await ask(one, warm.load, key=0)  # the server knows the scripts from here on
    before = server.execute("INFO", "commandstats")
    source = Source(1, held=True)
    callers = [ask(one, source.load) for _ in range(100)]
    await source.called()
    callers += [ask(other, source.load) for _ in range(100)]
    await other.waiting()
    await asyncio.sleep(0.3)  # a long load, in which a waiter that polls would be seen
    source.release()
    assert await asyncio.gather(*callers) == [1] * 200
    assert source.calls == 1
    assert other.cache.statistics().waits == 1
    after = server.execute("INFO", "commandstats")
    calls = {
        name: counts["calls"] - before.get(name, {"calls": 0})["calls"]
        for name, counts in after.items()
    }
    # Scripts: two claims and a fill, with the namespace's version behind it. GETs: one of each
    # process's callers, one inside each claim and in that of the version; the waiter's tracked read
    # when it began to wait, and one more after the push. And that version ahead of all of these but
    # those inside scripts.
    assert calls.get("cmdstat_evalsha") == 3 + 1
    assert calls.get("cmdstat_get") == 2 + 3 + 2 + 2 + 2 + 2
    assert calls.get("cmdstat_pttl") == 1 + 1 + 2
    about_keys = {name for name, count in calls.items() if count and "|" not in name}
    expected = {"get", "pttl", "evalsha", "set", "getrange", "info", "hello", "client", "command"}
    assert about_keys <= {f"cmdstat_{name}" for name in expected}


async def test_waiters_take_the_value_within_moments_of_the_fill(
    one: Member[int], other: Member[int]
) -> None:
    source = Source(1, held=True)
    leader = ask(one, source.load)
    await source.called()
    waiter = ask(other, source.load)
    await other.waiting()
    source.release()
    assert await leader == 1
    async with asyncio.timeout(1):  # the lease would last 3 s: this was a push, no deadline
        assert await waiter == 1
    assert source.calls == 1


async def test_callers_during_a_load_share_it_without_asking_again(one: Member[int]) -> None:
    source = Source(1, held=True)
    first = ask(one, source.load)
    await source.called()
    late = ask(one, source.load)
    await one.joined(2)
    source.release()
    assert [await first, await late] == [1, 1]
    assert source.calls == 1
    assert len(one.told(LoadFinished)) == 1


async def test_one_slow_key_does_not_hold_up_another(one: Member[int]) -> None:
    slow, quick = Source(1, held=True), Source(2)
    waiting = ask(one, slow.load, key=1)
    await slow.called()
    assert await ask(one, quick.load, key=2) == 2
    slow.release()
    assert await waiting == 1


# -- cancelled callers -------------------------------------------------------------------------


async def test_caller_who_began_the_load_is_cancelled_and_the_others_have_the_value(
    one: Member[int], other: Member[int]
) -> None:
    source = Source(1, held=True)
    leader = ask(one, source.load)
    await source.called()
    joiner, waiter = ask(one, source.load), ask(other, source.load)
    await one.joined(2)
    await other.waiting()
    leader.cancel()
    await asyncio.wait([leader])
    assert leader.cancelled()
    source.release()
    assert [await joiner, await waiter] == [1, 1]
    assert source.calls == 1


async def test_waiter_cancelled_while_another_loads_leaves_the_load_and_the_other_waiters(
    one: Member[int], other: Member[int]
) -> None:
    source = Source(1, held=True)
    leader = ask(one, source.load)
    await source.called()
    gone, staying = ask(other, source.load), ask(other, source.load)
    await other.waiting()
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    source.release()
    assert [await leader, await staying] == [1, 1]
    assert source.calls == 1


async def test_load_whose_callers_are_all_cancelled_is_stored_nonetheless(one: Member[int]) -> None:
    source = Source(1, held=True)
    callers = [ask(one, source.load) for _ in range(3)]
    await source.called()
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    source.release()
    await until(lambda: one.cache.statistics().flights == 0 and one.told(LoadFinished))
    assert await one.cache.get(1) == 1


@pytest.mark.both_loops
async def test_cancellation_at_every_step_of_a_caller_harms_nobody(one: Member[int]) -> None:
    """The caller is cancelled one turn of the loop later each time, until it is too late."""
    for steps in range(1000):
        source = Source(steps)
        victim, bystander = ask(one, source.load, steps), ask(one, source.load, steps)
        for _ in range(steps):
            await asyncio.sleep(0)
        was_late = victim.done()
        victim.cancel()
        await asyncio.wait([victim])
        assert await bystander == steps
        assert source.calls == 1
        if was_late:
            break
    else:
        pytest.fail("the caller never finished")


@pytest.mark.both_loops
async def test_cancelled_anyio_scope_leaves_the_load_running(one: Member[int]) -> None:
    source = Source(1, held=True)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def call() -> None:
                await one.cache.get_or_set(1, source.load)

            group.start_soon(call)
            await source.called()
            scope.cancel()
    assert scope.cancelled_caught
    late = ask(one, source.load)
    await one.joined(2)
    source.release()
    assert await late == 1
    assert source.calls == 1


async def test_timeout_of_one_caller_is_not_the_loads(one: Member[int]) -> None:
    source = Source(1, held=True)
    patient = ask(one, source.load)
    await source.called()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await one.cache.get_or_set(1, source.load)
    source.release()
    assert await patient == 1


# -- leases that run out -----------------------------------------------------------------------


async def test_slow_load_renews_its_lease_and_stays_the_only_one(url: str) -> None:
    policy = CachePolicy(lease_ttl=0.8)
    async with Member[int](url, policy=policy) as one, Member[int](url, policy=policy) as other:
        source = Source(1, held=True)
        leader = ask(one, source.load)
        await source.called()
        waiter = ask(other, source.load)
        await other.waiting()
        await asyncio.sleep(1.5)  # the load's own time, almost two leases
        source.release()
        assert [await leader, await waiter] == [1, 1]
        assert source.calls == 1


@pytest.mark.both_loops
async def test_load_that_lost_its_lease_stores_nothing_over_its_successor(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the process had been frozen: nothing renews.
    monkeypatch.setattr(keeping, "_RENEW", Script("return 1"))
    policy = CachePolicy(lease_ttl=0.2)
    async with Member[int](url, policy=policy) as one, Member[int](url, policy=policy) as other:
        source, successor = Source(1, held=True), Source(2, held=True)
        early = ask(one, source.load)
        await source.called()
        waiter = ask(other, successor.load)
        await successor.called()  # at the lease's end, though nobody pushed
        late = ask(one, source.load)
        await one.joined(2)
        source.release()
        assert await early == 1
        assert [event.reason for event in one.told(FillRefused)] == ["revoked"]
        successor.release()
        assert [await waiter, await late] == [2, 2]
        assert source.calls == successor.calls == 1
