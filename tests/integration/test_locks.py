"""Locks on real servers: exclusion, fences, order, loss, cancellation.

Two members stand for two processes; what only real processes can show is in `tests/faults` and
`tests/properties`.
"""

# ruff: noqa: PT012  (a block that is left by an error is what is tested)

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import itertools
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from redis.asyncio import Redis

from millpond import Client
from millpond.core.lease import Lease
from millpond.core.shared_timer import SharedTimer
from millpond.errors import (
    BackendUnavailable,
    ClosedError,
    ConfigError,
    LockError,
    LockLost,
    LockTimeout,
)
from millpond.events import EvictionPossible, LockFailed
from millpond.lock.held import Grip, Held
from millpond.lock.locks import Locks
from tests.support.fleet import until
from tests.support.lockers import Locker, cancel_at
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from millpond.events import Event

_request = contextvars.ContextVar("request", default="none")


@pytest.fixture
async def one(url: str) -> AsyncIterator[Locker]:
    async with Locker(url) as locker:
        yield locker


@pytest.fixture
async def other(url: str) -> AsyncIterator[Locker]:
    async with Locker(url) as locker:
        yield locker


async def keep(locker: Locker, name: Any, gate: asyncio.Event, **options: Any) -> int:
    """Hold a lock until the gate opens; gives the fence."""
    async with locker.locks.hold(name, **options) as held:
        await gate.wait()
        return held.fence


async def started(locker: Locker, name: Any, gate: asyncio.Event, **options: Any) -> Any:
    """Start a task that holds the lock, and return it once it does."""
    task = asyncio.create_task(keep(locker, name, gate, **options))
    before = locker.locks.statistics().acquired
    await until(lambda: locker.locks.statistics().acquired > before)
    return task


async def queued(locker: Locker, waiting: int) -> None:
    """Wait until so many tasks wait, and the contender among them watches."""
    await until(
        lambda: (
            locker.locks.statistics().waiting == waiting
            and not locker.client.statistics().in_flight
        )
    )


def commands_run(server: Server) -> dict[str, int]:
    """Count those that waiting could send."""
    statistics = server.execute("INFO", "commandstats")
    names = ("get", "pttl", "evalsha", "eval", "client|caching", "exists", "set")
    return {name: statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names}


# -- holding -----------------------------------------------------------------------------------


async def test_lock_is_there_while_it_is_held_and_gone_afterwards(flavoured_server: Server) -> None:
    async with Locker(flavoured_server.url) as one, Locker(flavoured_server.url) as other:
        async with one.locks.hold("a", lease=5) as held:
            value = await one.token("a")
            assert value is not None
            assert value.startswith(b"%d:" % held.fence)
            assert 4 < held.remaining() <= 5
            assert 4000 < await one.client.call("PTTL", one.locks.key("a")) <= 5000
            async with other.locks.try_hold("a") as refused:
                assert refused is None
            held.ensure_held()
        assert await one.token("a") is None
        async with other.locks.try_hold("a") as taken:
            assert taken is not None
            assert taken.fence > held.fence


async def test_waiters_of_two_processes_share_a_lock_on_every_server(
    flavoured_server: Server,
) -> None:
    async with Locker(flavoured_server.url) as one, Locker(flavoured_server.url) as other:
        fences = await contend(one, other, tasks=5, rounds=10)
        assert len(set(fences)) == 100
        assert fences == sorted(fences)


async def test_locks_work_on_memory() -> None:
    async with Locker("memory://locks") as one, Locker("memory://locks") as other:
        fences = await contend(one, other, tasks=3, rounds=5)
        assert fences == sorted(set(fences))
        assert len(fences) == 30


async def test_locks_work_through_a_redis_client(server: Server) -> None:
    redis = Redis(unix_socket_path=server.socket_path)
    try:
        async with Client.from_redis(redis, prefix="t") as client, Locker(server.url) as other:
            locks = Locks(client, "n")
            gate = asyncio.Event()
            holder = await started(other, "a", gate)
            waiter = asyncio.create_task(_fence(locks, "a"))
            await until(lambda: locks.statistics().waits)
            gate.set()
            assert await waiter > await holder
    finally:
        await redis.aclose()


async def _fence(locks: Locks, name: str) -> int:
    async with locks.hold(name) as held:
        return held.fence


async def contend(one: Locker, other: Locker, *, tasks: int, rounds: int) -> list[int]:
    """Let tasks of two members take one lock in turn; gives the fences in order of holding."""
    fences: list[int] = []
    inside = 0

    async def work(locker: Locker) -> None:
        nonlocal inside
        for _ in range(rounds):
            async with locker.locks.hold("a") as held:
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                fences.append(held.fence)
                inside -= 1

    await asyncio.gather(*[work(locker) for locker in (one, other) for _ in range(tasks)])
    return fences


@pytest.mark.both_loops
async def test_long_block_is_renewed_under_the_same_fence(url: str) -> None:
    async with Locker(url, lease=0.3) as one, Locker(url) as other:
        async with one.locks.hold("a") as held:
            value = await one.token("a")
            for _ in range(10):
                await asyncio.sleep(0.1)
                held.ensure_held()
                assert held.remaining() > 0.05
                async with other.locks.try_hold("a") as rival:
                    assert rival is None
            assert await one.token("a") == value
            assert not held.lost.is_set()


async def test_fence_rises_although_the_servers_clock_went_back(one: Locker) -> None:
    ahead = int(time.time() * 1e6) + 10**12
    await one.client.call("SET", one.locks.key("a") + ":fence", ahead, "EX", 100)
    async with one.locks.hold("a") as held:
        assert held.fence == ahead + 1


async def test_fence_rises_although_the_last_one_was_lost(one: Locker) -> None:
    async with one.locks.hold("a") as first:
        pass
    assert await one.client.call("DEL", one.locks.key("a") + ":fence") == 1
    async with one.locks.hold("a") as second:
        assert second.fence > first.fence


async def test_two_tasks_on_one_object_have_a_token_each(one: Locker, other: Locker) -> None:
    """A overruns its lease while the loop stalls, B acquires, A leaves: B keeps its lock."""
    gate = asyncio.Event()
    rivals: list[asyncio.Task[int]] = []
    with pytest.raises(LockLost):
        async with one.locks.hold("a", lease=0.05):
            time.sleep(0.1)
            rivals.append(asyncio.create_task(keep(one, "a", gate)))
            try:
                await asyncio.sleep(5)
            finally:
                await until(lambda: one.locks.statistics().acquired == 2)
    async with other.locks.try_hold("a") as held:
        assert held is None
    gate.set()
    await asyncio.gather(*rivals)


async def test_fence_and_mark_keys_expire(one: Locker, other: Locker) -> None:
    gate = asyncio.Event()
    holder = await started(one, "a", gate)
    waiter = asyncio.create_task(keep(other, "a", gate))
    await queued(other, 1)
    key = one.locks.key("a")
    assert 80_000_000 < await one.client.call("PTTL", f"{key}:fence") <= 86_410_000
    assert 10_000 < await one.client.call("PTTL", f"{key}:waiting") <= 15_000
    gate.set()
    await asyncio.gather(holder, waiter)
    assert await one.client.call("EXISTS", f"{key}:waiting") == 0


# -- waiting -----------------------------------------------------------------------------------


async def test_tasks_of_a_process_are_served_in_order(one: Locker) -> None:
    order: list[int] = []

    async def work(number: int) -> None:
        async with one.locks.hold("a"):
            order.append(number)
            await asyncio.sleep(0)

    gate = asyncio.Event()
    holder = await started(one, "a", gate)
    tasks = [asyncio.create_task(work(number)) for number in range(20)]
    await queued(one, 20)
    gate.set()
    await asyncio.gather(holder, *tasks)
    assert order == list(range(20))
    assert one.locks.statistics().passed >= 15


async def test_waiter_in_another_process_is_pushed_awake(one: Locker, other: Locker) -> None:
    gate = asyncio.Event()
    holder = await started(one, "a", gate)
    waiter = asyncio.create_task(keep(other, "a", gate))
    await queued(other, 1)
    gate.set()
    fence = await holder
    async with asyncio.timeout(1):  # the lease would last 10 s
        assert await waiter > fence


async def test_waiting_sends_no_commands(one: Locker, other: Locker, server: Server) -> None:
    gate = asyncio.Event()
    holder = await started(one, "a", gate)
    waiters = [asyncio.create_task(keep(other, "a", gate)) for _ in range(20)]
    await queued(other, 20)
    before = commands_run(server)
    await asyncio.sleep(0.5)  # in which a waiter that polls would be seen
    assert commands_run(server) == before
    gate.set()
    await asyncio.gather(holder, *waiters)


async def test_waiter_takes_over_when_a_dead_holders_lease_ends(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(args=["--enable-debug-command", "yes"]))
    server.execute("DEBUG", "SET-ACTIVE-EXPIRE", "0")  # so that no expiry is ever pushed
    async with Locker(server.url) as other:
        key = other.locks.key("a")
        await other.client.call("SET", key, "1:somebody-who-died", "PX", 200)
        began = time.monotonic()
        async with asyncio.timeout(5), other.locks.hold("a"):
            assert 0.15 < time.monotonic() - began < 0.6


async def test_waiter_takes_a_lock_that_an_operator_deleted(one: Locker, other: Locker) -> None:
    await one.client.call("SET", one.locks.key("a"), "1:somebody", "EX", 100)
    gate = asyncio.Event()
    gate.set()
    waiter = asyncio.create_task(keep(other, "a", gate))
    await queued(other, 1)
    await one.client.call("DEL", one.locks.key("a"))
    async with asyncio.timeout(2):
        await waiter


async def test_wait_shorter_than_any_poll_gets_the_lock(one: Locker, other: Locker) -> None:
    gate = asyncio.Event()
    holder = await started(one, "a", gate)
    asyncio.get_running_loop().call_later(0.03, gate.set)
    async with other.locks.hold("a", wait=0.09):
        pass
    await holder


@pytest.mark.parametrize("same_process", [True, False])
async def test_wait_that_ends_is_an_error_and_leaves_nothing(
    one: Locker, other: Locker, same_process: bool
) -> None:
    gate = asyncio.Event()
    holder = await started(one, "a", gate)
    value = await one.token("a")
    waiting = one if same_process else other
    began = time.monotonic()
    with pytest.raises(LockTimeout, match="t:n:a") as caught:
        async with waiting.locks.hold("a", wait=0.1):
            pytest.fail("it is held")
    assert 0.1 <= caught.value.waited < 0.5
    assert time.monotonic() - began < 0.5
    assert isinstance(caught.value, TimeoutError)
    assert await one.token("a") == value
    assert await one.client.call("EXISTS", one.locks.key("a") + ":waiting") == 0
    gate.set()
    await holder
    assert await one.token("a") is None
    assert waiting.locks.statistics().timeouts == 1
    assert waiting.locks.statistics().waiting == 0


async def test_wait_of_nothing_asks_once(one: Locker, other: Locker) -> None:
    async with one.locks.hold("a"):
        with pytest.raises(LockTimeout):
            async with other.locks.hold("a", wait=0):
                pytest.fail("it is held")
    async with other.locks.hold("a", wait=0) as held:
        held.ensure_held()


async def test_neither_process_starves_the_other(one: Locker, other: Locker) -> None:
    """The holder's process has twenty waiters of its own; the other's only one comes in between."""
    inside: list[str] = []
    done = asyncio.Event()

    async def work(locker: Locker, name: str) -> None:
        while not done.is_set():
            async with locker.locks.hold("a"):
                inside.append(name)
                await asyncio.sleep(0.001)
                if inside.count("other") >= 5:
                    done.set()

    async with asyncio.timeout(10):
        await asyncio.gather(*[work(one, "one") for _ in range(20)], work(other, "other"))
    places = [place for place, name in enumerate(inside) if name == "other"]
    gaps = [later - sooner for sooner, later in itertools.pairwise(places)]
    assert max(gaps) <= 15, inside  # a turn of 5 ms, of 1 ms each, and some for a busy machine


async def test_neither_of_two_tasks_that_come_again_at_once_starves_the_other(
    one: Locker, other: Locker
) -> None:
    """Neither has a waiter beside it, to whom it could pass the lock on."""
    inside: list[str] = []

    async def work(locker: Locker, name: str) -> None:
        while len(inside) < 100:
            async with locker.locks.hold("a"):
                inside.append(name)
                await asyncio.sleep(0.002)

    async with asyncio.timeout(10):
        await asyncio.gather(work(one, "one"), work(other, "other"))
    assert min(inside.count("one"), inside.count("other")) >= 30, inside
    assert max(len(list(same)) for _, same in itertools.groupby(inside)) <= 15, inside


async def test_waiters_cancelled_at_random_break_no_queue(one: Locker, other: Locker) -> None:
    gate = asyncio.Event()
    gate.set()
    tasks = [
        asyncio.create_task(keep(locker, "a", gate)) for _ in range(50) for locker in (one, other)
    ]
    for turn in range(100):
        await asyncio.sleep(0)
        tasks[(turn * 37) % 100].cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [end for end in ends if not isinstance(end, int | asyncio.CancelledError)]
    await until(lambda: not one.client.statistics().in_flight)
    await other.client.call("PING")
    await one.client.call("PING")
    assert await one.token("a") is None
    assert await one.client.call("EXISTS", one.locks.key("a") + ":waiting") == 0


# -- cancellation ------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("flushed", [False, True])
async def test_cancelled_at_any_await_of_acquire_and_release_leaves_no_lock(
    one: Locker, server: Server, answered: bool, flushed: bool
) -> None:
    async def use() -> None:
        async with one.locks.hold("a"):
            await asyncio.sleep(0)

    struck, step = True, 0
    while struck:
        step += 1
        if flushed:  # then every script is sent twice
            server.execute("SCRIPT", "FLUSH")
        struck, end = await cancel_at(step, use(), answered=answered)
        assert isinstance(end, asyncio.CancelledError) or not struck
        for _ in range(3):
            await one.client.call("PING")
        assert await one.token("a") is None, step
        assert one.locks.statistics().held == 0
    assert step >= 4  # acquire, body, release: and one past the end


@pytest.mark.parametrize("answered", [False, True])
async def test_cancelled_at_any_await_of_waiting_leaves_the_lock_to_others(
    one: Locker, other: Locker, answered: bool
) -> None:
    async def use() -> None:
        async with one.locks.hold("a"):
            pass

    struck, step = True, 0
    while struck:
        step += 1
        gate = asyncio.Event()
        holder = await started(other, "a", gate)
        run = asyncio.create_task(cancel_at(step, use(), answered=answered))
        successor = None
        if not answered:
            await until(lambda: one.locks.statistics().waiting == 1 or run.done())  # noqa: B023
            successor = asyncio.create_task(keep(one, "a", gate))
        await asyncio.sleep(0.01)
        gate.set()
        fence = await holder
        struck, _ = await run
        if successor is not None:
            async with asyncio.timeout(2):
                assert await successor > fence
        await one.client.call("PING")
        await other.client.call("PING")
        await one.client.call("PING")
        assert await one.token("a") is None, step
        assert await one.client.call("EXISTS", one.locks.key("a") + ":waiting") == 0, step
    assert step >= 4


@pytest.mark.parametrize("answered", [False, True])
async def test_cancelled_while_in_line_passes_the_lock_to_the_next(
    one: Locker, answered: bool
) -> None:
    async def use() -> None:
        async with one.locks.hold("a"):
            pass

    struck, step = True, 0
    while struck:
        step += 1
        gate = asyncio.Event()
        holder = await started(one, "a", gate)
        run = asyncio.create_task(cancel_at(step, use(), answered=answered))
        await until(lambda: one.locks.statistics().waiting == 1 or run.done())  # noqa: B023
        successor = asyncio.create_task(keep(one, "a", gate))
        await asyncio.sleep(0)
        gate.set()
        fence = await holder
        async with asyncio.timeout(2):
            assert await successor > fence
        struck, _ = await run
        await one.client.call("PING")
        assert await one.token("a") is None, step
    assert step >= 2


async def test_block_in_a_cancelled_anyio_scope_releases(one: Locker) -> None:
    with anyio.move_on_after(0.02) as scope:
        async with one.locks.hold("a"):
            await anyio.sleep(10)
    assert scope.cancelled_caught
    assert await one.token("a") is None


async def test_task_cancelled_twice_releases(one: Locker) -> None:
    gate = asyncio.Event()
    holder = await started(one, "a", gate)
    holder.cancel()
    await asyncio.sleep(0)
    holder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder
    assert await one.token("a") is None


# -- loss --------------------------------------------------------------------------------------


async def test_deleted_lock_cancels_the_block_and_is_not_made_again(one: Locker) -> None:
    blocks: list[Held] = []
    with pytest.raises(LockLost, match="no longer has it") as caught:
        async with one.locks.hold("a", lease=0.3) as held:
            blocks.append(held)
            await one.client.call("DEL", one.locks.key("a"))
            await asyncio.sleep(5)
    held = blocks[0]
    assert caught.value.reason == "gone"
    assert caught.value.fence == held.fence
    assert caught.value.key == one.locks.key("a")
    assert held.lost.is_set()
    assert held.remaining() == 0
    assert await one.token("a") is None
    assert [(event.key, event.reason) for event in one.told(LockFailed)] == [
        (one.locks.key("a"), "gone")
    ]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert one.locks.statistics().lost == 1
    assert one.locks.statistics().held == 0


async def test_lock_gone_before_any_renewal_is_found_when_it_is_released(one: Locker) -> None:
    with pytest.raises(LockLost, match="no longer has it"):
        async with one.locks.hold("a"):
            await one.client.call("DEL", one.locks.key("a"))
    assert len(one.told(LockFailed)) == 1


async def test_blocks_own_exception_is_the_cause_of_the_loss(one: Locker) -> None:
    with pytest.raises(LockLost) as caught:
        async with one.locks.hold("a", lease=0.15):
            await one.client.call("DEL", one.locks.key("a"))
            try:
                await asyncio.sleep(5)
            finally:
                raise KeyError("the body's own")
    assert isinstance(caught.value.__cause__, KeyError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0  # ours was taken back, although the block turned it into another


async def test_exception_of_a_block_that_kept_its_lock_passes_unchanged(one: Locker) -> None:
    with pytest.raises(KeyError) as caught:
        async with one.locks.hold("a"):
            raise KeyError("the body's own")
    assert caught.value.__cause__ is None
    assert await one.token("a") is None


async def test_cancellation_from_outside_stays_a_cancellation_beside_a_loss(one: Locker) -> None:
    entered = asyncio.Event()

    async def use() -> None:
        async with one.locks.hold("a", lease=0.15) as held:
            entered.set()
            await one.client.call("DEL", one.locks.key("a"))
            try:
                await asyncio.sleep(5)
            finally:
                assert held.lost.is_set()
                task = asyncio.current_task()
                assert task is not None
                task.cancel()  # as somebody else would, in the same moment

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(use())


async def test_timeout_around_a_lost_block_does_not_take_our_cancellation(one: Locker) -> None:
    with pytest.raises(LockLost):
        async with asyncio.timeout(5):
            async with one.locks.hold("a", lease=0.15):
                await one.client.call("DEL", one.locks.key("a"))
                async with asyncio.timeout(5):
                    await asyncio.sleep(5)
    await asyncio.sleep(0.01)  # nothing is left to be delivered


async def test_timeout_inside_a_block_is_not_a_loss(one: Locker) -> None:
    async with one.locks.hold("a") as held:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        held.ensure_held()


async def test_stalled_loop_is_noticed_before_the_next_side_effect(url: str) -> None:
    async with Locker(url, lease=0.1) as one, Locker(url) as other:
        effects: list[str] = []
        with pytest.raises(LockLost, match="lease ran out") as caught:
            async with one.locks.hold("a") as held:
                time.sleep(0.15)
                held.ensure_held()
                effects.append("late")
        assert effects == []
        async with other.locks.hold("a", wait=1) as rival:
            assert rival.fence > caught.value.fence


async def test_stalled_block_that_asks_nobody_still_raises(url: str) -> None:
    async with Locker(url, lease=0.1) as one:
        with pytest.raises(LockLost, match="lease ran out"):
            async with one.locks.hold("a"):
                time.sleep(0.15)
        assert len(one.told(LockFailed)) == 1
        await one.client.call("PING")
        assert await one.token("a") is None


async def test_block_that_swallows_the_cancellation_still_raises(one: Locker) -> None:
    with pytest.raises(LockLost):
        async with one.locks.hold("a", lease=0.15):
            await one.client.call("DEL", one.locks.key("a"))
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(5)


async def test_max_hold_ends_a_block_that_could_go_on(one: Locker) -> None:
    began = time.monotonic()
    with pytest.raises(LockLost, match="max_hold"):
        async with one.locks.hold("a", lease=0.3, max_hold=0.5) as held:
            try:
                await asyncio.sleep(5)
            finally:
                assert held.lost.is_set()
    assert 0.45 < time.monotonic() - began < 1.5
    assert await one.token("a") is None


async def test_waiting_task_gets_the_lock_when_the_holders_is_lost(one: Locker) -> None:
    async def lose() -> None:
        async with one.locks.hold("a", lease=0.15):
            await one.client.call("DEL", one.locks.key("a"))
            try:
                await asyncio.sleep(5)
            finally:
                await asyncio.sleep(0.2)  # a long clean-up holds up nobody

    losing = asyncio.create_task(lose())
    await until(lambda: one.locks.statistics().held == 1)
    async with asyncio.timeout(0.3), one.locks.hold("a"):
        assert not losing.done()
    with pytest.raises(LockLost):
        await losing


async def test_lost_lock_that_another_took_is_not_passed_on_to_the_next_in_line(
    one: Locker, server: Server
) -> None:
    gate = asyncio.Event()
    gate.set()
    waiters: list[asyncio.Task[int]] = []
    with pytest.raises(LockLost):
        async with one.locks.hold("a"):
            waiters.append(asyncio.create_task(keep(one, "a", gate)))
            await queued(one, 1)
            server.execute("SET", one.locks.key("a"), "9:rival", "PX", 300)
    assert await one.token("a") == b"9:rival"
    await asyncio.sleep(0.1)
    assert not waiters[0].done()
    await waiters[0]


async def test_of_several_one_lost_while_another_is_waited_for_is_told_before_the_block_begins(
    one: Locker, other: Locker
) -> None:
    gate = asyncio.Event()
    holder = await started(other, "b", gate)
    entered: list[Held] = []

    async def use() -> None:
        async with one.locks.hold("a", "b", lease=0.15) as held:
            entered.append(held)

    task = asyncio.create_task(use())
    await until(lambda: one.locks.statistics().held == 1)
    await other.client.call("DEL", one.locks.key("a"))
    await until(lambda: one.locks.statistics().lost == 1)
    gate.set()
    await holder
    with pytest.raises(LockLost, match="no longer has it"):
        await task
    assert entered == []
    await one.client.call("PING")
    assert await one.token("b") is None
    assert one.locks.statistics().held == 0


async def test_max_hold_of_several_counts_from_when_the_block_begins(
    one: Locker, other: Locker
) -> None:
    gate = asyncio.Event()
    holder = await started(other, "b", gate)
    asyncio.get_running_loop().call_later(0.3, gate.set)
    async with one.locks.hold("a", "b", max_hold=0.25) as held:
        assert 0.2 < held.remaining() <= 0.25
    await holder
    with pytest.raises(LockLost, match="max_hold"):
        async with one.locks.hold("a", "b", max_hold=0.1):
            await asyncio.sleep(5)


async def test_fence_outlives_a_lock_that_is_held_for_longer_than_a_day(url: str) -> None:
    async with Locker(url, lease=0.15) as one:
        key = one.locks.key("a") + ":fence"
        async with one.locks.hold("a"):
            await one.client.call("PEXPIRE", key, 1000)  # as if the day were nearly over
            await asyncio.sleep(0.15)
            assert await one.client.call("PTTL", key) > 86_000_000


# -- extending, releasing, misuse --------------------------------------------------------------


async def test_extend_prolongs_and_shortens(one: Locker) -> None:
    async with one.locks.hold("a", lease=1) as held:
        await held.extend(5)
        assert 4.5 < held.remaining() <= 5
        assert 4500 < await one.client.call("PTTL", one.locks.key("a")) <= 5000
        await held.extend(0.5)
        assert 0 < held.remaining() <= 0.5
        assert 0 < await one.client.call("PTTL", one.locks.key("a")) <= 500
        await asyncio.sleep(0.7)  # renewed by the new time
        held.ensure_held()


async def test_extend_of_a_lock_that_is_gone_raises(one: Locker) -> None:
    with pytest.raises(LockLost):
        async with one.locks.hold("a") as held:
            await one.client.call("DEL", one.locks.key("a"))
            with pytest.raises(LockLost):
                await held.extend()
            raise held.failure()


async def test_released_early_it_is_free_and_no_longer_usable(one: Locker, other: Locker) -> None:
    async with one.locks.hold("a") as held:
        await held.release()
        async with other.locks.try_hold("a") as rival:
            assert rival is not None
        assert held.remaining() == 0
        with pytest.raises(LockError, match="released"):
            held.ensure_held()
        with pytest.raises(LockError, match="released"):
            await held.extend()
        with pytest.raises(LockError, match="already"):
            await held.release()


async def test_held_is_no_longer_usable_after_its_block(one: Locker) -> None:
    async with one.locks.hold("a") as held:
        fence = held.fence
    assert held.fence == fence
    assert held.remaining() == 0
    assert not held.lost.is_set()
    with pytest.raises(LockError, match="released"):
        held.ensure_held()
    with pytest.raises(LockError, match="already"):
        await held.release()


@pytest.mark.parametrize("way", ["hold", "try_hold"])
async def test_nesting_a_name_in_one_task_is_an_error_and_no_deadlock(
    one: Locker, way: str
) -> None:
    async with one.locks.hold("a") as held:
        with pytest.raises(ConfigError, match="holds the lock"):
            async with asyncio.timeout(2), getattr(one.locks, way)("a"):
                pytest.fail("it is held")
        held.ensure_held()
        async with one.locks.hold("b"):
            pass
    async with one.locks.hold("a"):
        pass


async def test_block_is_entered_once(one: Locker) -> None:
    block = one.locks.hold("a")
    async with block:
        pass
    with pytest.raises(ConfigError, match="once"):
        async with block:
            pass


@pytest.mark.parametrize("lease", [0, -1, float("nan"), float("inf"), 0.049, True, "10", None])
def test_lease_that_cannot_be_is_refused(lease: Any) -> None:
    client = Client.from_url("memory://")
    with pytest.raises(ConfigError, match="lease"):
        Locks(client, "n", lease=lease)
    if lease is not None:
        with pytest.raises(ConfigError, match="lease"):
            Locks(client, "n").hold("a", lease=lease)


@pytest.mark.parametrize("wait", [-1, -0.001, float("nan"), float("inf"), False, "5"])
def test_wait_that_cannot_be_is_refused(wait: Any) -> None:
    with pytest.raises(ConfigError, match="wait"):
        Locks(Client.from_url("memory://"), "n").hold("a", wait=wait)


@pytest.mark.parametrize(
    "name", ["", ("",), "x" * 2000, None, True, 1.5, b"a", (), ["a"], object()]
)
def test_name_that_cannot_be_is_refused(name: Any) -> None:
    locks = Locks(Client.from_url("memory://"), "n")
    for use in (locks.hold, locks.try_hold, locks.key):
        with pytest.raises(ConfigError):
            use(name)


def test_names_and_limits_that_cannot_be_are_refused() -> None:
    locks = Locks(Client.from_url("memory://"), "n")
    with pytest.raises(ConfigError, match="name what"):
        locks.hold()
    with pytest.raises(ConfigError, match="twice"):
        locks.hold("a", "b", "a")
    with pytest.raises(ConfigError, match="twice"):
        locks.hold(42, "42")
    with pytest.raises(ConfigError, match="max_hold"):
        locks.hold("a", max_hold=0)
    with pytest.raises(ConfigError, match="namespace"):
        Locks(locks.client, "not a namespace")


async def test_locks_of_a_client_that_is_not_open_say_so() -> None:
    locks = Locks(Client.from_url("memory://"), "n")
    for _ in range(2):
        with pytest.raises(ClosedError):
            async with locks.hold("a"):
                pytest.fail("it is closed")
    assert locks.statistics().waiting == 0


# -- several names -----------------------------------------------------------------------------


async def test_several_names_are_held_together(one: Locker, other: Locker) -> None:
    async with one.locks.hold("b", "a", 3) as held:
        assert list(held.fences) == ["b", "a", 3]
        assert len(set(held.fences.values())) == 3
        for name in ("a", "b", "3"):
            async with other.locks.try_hold(name) as rival:
                assert rival is None
        with pytest.raises(ConfigError, match="fences"):
            _ = held.fence
    for name in ("a", "b", "3"):
        assert await one.token(name) is None


async def test_several_names_are_all_or_none(one: Locker, other: Locker) -> None:
    async with other.locks.hold("b"):
        async with one.locks.try_hold("a", "b", "c") as held:
            assert held is None
        await one.client.call("PING")
        assert await one.token("a") is None
        assert await one.token("c") is None
        with pytest.raises(LockTimeout):
            async with one.locks.hold("c", "b", "a", wait=0.05):
                pytest.fail("b is held")
        await one.client.call("PING")
        assert await one.token("a") is None


async def test_holders_of_crossing_names_do_not_deadlock(one: Locker, other: Locker) -> None:
    async def work(locker: Locker, *names: str) -> None:
        for _ in range(20):
            async with locker.locks.hold(*names, wait=5):
                await asyncio.sleep(0)

    await asyncio.gather(
        work(one, "a", "b"), work(other, "b", "a"), work(one, "b", "c"), work(other, "c", "a")
    )


async def test_losing_one_of_several_loses_the_block(one: Locker) -> None:
    with pytest.raises(LockLost, match="t:n:b"):
        async with one.locks.hold("a", "b", lease=0.15):
            await one.client.call("DEL", one.locks.key("b"))
            await asyncio.sleep(5)
    await one.client.call("PING")
    assert await one.token("a") is None


# -- the server --------------------------------------------------------------------------------


async def test_server_that_may_evict_locks_is_warned_of_once(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(maxmemory="50mb", maxmemory_policy="volatile-lru"))
    async with Locker(server.url) as one:
        for _ in range(2):
            async with one.locks.hold("a"):
                await one.client.call("PING")
        events = one.told(EvictionPossible)
        assert [event.policy for event in events] == ["volatile-lru"]
        assert "noeviction" in events[0].fix


async def test_server_that_evicts_nothing_is_not_warned_of(one: Locker) -> None:
    async with one.locks.hold("a"):
        await one.client.call("PING")
    assert not one.told(EvictionPossible)


async def test_foreign_value_under_a_locks_key_is_waited_for_and_left_alone(one: Locker) -> None:
    await one.client.call("SET", one.locks.key("a"), "not ours", "EX", 100)
    async with one.locks.try_hold("a") as held:
        assert held is None
    with pytest.raises(LockTimeout):
        async with one.locks.hold("a", wait=0.05):
            pytest.fail("it is taken")
    assert await one.token("a") == b"not ours"


async def test_redis_that_was_never_there_is_an_error_at_once() -> None:
    async with Locker("redis://127.0.0.1:1") as one:
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(BackendUnavailable):
                async with one.locks.hold("a", wait=5):
                    pytest.fail("there is no Redis")
        assert time.monotonic() - began < 1
        assert one.locks.statistics().waiting == 0


async def test_loss_is_told_in_the_context_of_whose_lock_it_was(server: Server) -> None:
    told: list[tuple[str, str]] = []

    def hook(event: Event) -> None:
        if isinstance(event, LockFailed):
            told.append((event.key, _request.get()))

    async with Client.from_url(server.url, prefix="t", hooks=[hook]) as client:
        locks = Locks(client, "n", lease=0.3)

        async def keep(name: str) -> None:
            _request.set(name)
            async with locks.hold(name):
                await client.call("DEL", locks.key(name))
                await asyncio.sleep(5)

        for name in ("a", "b"):  # the first sets the timer that is shared
            keeping = [asyncio.create_task(keep(f"{name}{number}")) for number in range(2)]
            ends = await asyncio.gather(*keeping, return_exceptions=True)
            assert [type(end) for end in ends] == [LockLost, LockLost]
    assert sorted(told) == [(f"{{t:n:{name}}}", name) for name in ("a0", "a1", "b0", "b1")]


async def test_locks_made_for_each_request_share_a_timer(one: Locker) -> None:
    def timers() -> int:
        gc.collect()
        return sum(isinstance(each, SharedTimer) for each in gc.get_objects())

    before = timers()
    for _ in range(50):
        async with Locks(one.client, "n", lease=300).hold("a"):
            pass
    assert timers() <= before + 1


async def test_what_a_released_lock_consisted_of_is_freed_without_the_garbage_collector(
    one: Locker,
) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            async with one.locks.hold("order:42"):
                pass
        left = [each for each in gc.get_objects() if type(each) in {Grip, Held, Lease}]
    finally:
        gc.enable()
    assert left == []
