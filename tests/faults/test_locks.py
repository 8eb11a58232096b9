"""Locks when things break: lost replies, silence, stopped processes, emptied and dead servers."""

# ruff: noqa: PT012  (a block that is left by an error is what is tested)

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, cast

import pytest

from millpond import Client
from millpond.errors import BackendError, BackendUnavailable, LockLost
from millpond.events import LockFailed, ReleaseUnconfirmed
from millpond.lock.locks import Locks
from millpond.lock.store import LockStore
from tests.support.fleet import until
from tests.support.lock_process import fenced_write
from tests.support.lockers import Locker
from tests.support.proxy import Proxy
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# -- lost replies ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["hold", "try_hold"])
async def test_lost_reply_at_acquire_costs_nothing_but_a_reconnect(
    server: Server, way: str
) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one, Locker(server.url) as behind:
        async with one.locks.hold("warm"):
            pass
        proxy.connections[0].to_client.cut_after(0)
        async with asyncio.timeout(5), getattr(one.locks, way)("a") as held:
            assert held is not None
            assert one.client.statistics().reconnects == 1
            value = await behind.token("a")
            assert value is not None
            assert value.startswith(b"%d:" % held.fence)  # of the first try: it was not taken twice
            fence = await behind.client.call("GET", behind.locks.key("a") + ":fence")
            assert int(fence) == held.fence
        assert await behind.token("a") is None


async def test_lost_reply_at_release_frees_the_lock_and_is_no_error(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one, Locker(server.url) as behind:
        async with one.locks.hold("a"):
            proxy.connections[0].to_client.cut_after(0)
        assert await behind.token("a") is None
        assert len(one.told(ReleaseUnconfirmed)) == 1
        assert not one.told(LockFailed)


async def test_lost_release_is_sent_again(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one, Locker(server.url) as behind:
        async with one.locks.hold("a"):
            proxy.connections[0].to_server.swallow()
            proxy.connections[0].to_client.cut_after(0)
            leaving = asyncio.get_running_loop().call_later(0.05, proxy.cut_all)
        leaving.cancel()
        async with asyncio.timeout(5), behind.locks.hold("a"):  # its lease would last 10 s
            pass


async def test_release_that_is_cancelled_and_lost_is_sent_again(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one, Locker(server.url) as behind:
        inside = asyncio.Event()

        async def use() -> None:
            async with one.locks.hold("a"):
                proxy.connections[0].to_server.swallow()
                inside.set()

        task = asyncio.create_task(use())
        await inside.wait()
        await asyncio.sleep(0)
        assert not task.done()  # it waits for the answer
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await behind.token("a") is not None
        proxy.cut_all()
        async with asyncio.timeout(5), behind.locks.hold("a"):  # its lease would last 10 s
            pass


async def test_lost_reply_when_passing_on_within_a_process_serves_the_next(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one, Locker(server.url) as behind:
        fences: list[int] = []

        async def work() -> None:
            async with one.locks.hold("a") as held:
                fences.append(held.fence)
                await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(work()) for _ in range(4)]
        await until(lambda: len(fences) == 1)
        proxy.connections[0].to_client.cut_after(0)
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks)
        assert fences == sorted(set(fences))
        assert len(fences) == 4
        assert await behind.token("a") is None


async def test_acquire_cancelled_while_its_reply_is_lost_leaves_no_lock(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one, Locker(server.url) as behind:
        async with one.locks.hold("warm"):
            pass
        proxy.to_client.hold()

        async def use() -> None:
            async with one.locks.hold("a"):
                pytest.fail("its reply never came")

        task = asyncio.create_task(use())
        async with asyncio.timeout(5):
            while await behind.token("a") is None:
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5):
            while await behind.token("a") is not None:
                await asyncio.sleep(0.001)
        proxy.to_client.release()


# -- silence -----------------------------------------------------------------------------------


async def test_deadline_counts_from_before_the_request_left(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url, lease=1.0) as one:
        async with one.locks.hold("warm"):
            pass
        proxy.to_client.delay(0.3)
        async with one.locks.hold("a") as held:
            assert 0 < held.remaining() <= 0.71
            await asyncio.sleep(0.8)  # renewed meanwhile; that answer was as late
            assert 0 < held.remaining() <= 0.71


async def test_answer_that_took_longer_than_the_lease_is_asked_for_again(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one:
        async with one.locks.hold("warm"):
            pass
        proxy.to_client.delay(0.2)
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, proxy.to_client.delay, 0.0)
        async with one.locks.hold("a", lease=0.1) as held:
            held.ensure_held()
            assert held.remaining() > 0.02


@pytest.mark.both_loops
async def test_proxy_that_swallows_replies_ends_the_block_by_the_deadline(server: Server) -> None:
    async with Proxy(server.port) as proxy:
        async with Locker(proxy.url, lease=0.6, command_timeout=5.0) as one:
            began = took = 0.0
            with pytest.raises(LockLost, match="lease ran out"):
                async with one.locks.hold("a") as held:
                    began = time.monotonic()
                    proxy.to_client.swallow()
                    try:
                        await asyncio.sleep(10)
                    finally:
                        took = time.monotonic() - began
                        assert held.remaining() == 0
            assert 0.3 < took < 0.9
            proxy.cut_all()


async def test_rival_gets_the_lock_only_after_the_block_was_cancelled(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(server.url) as rival:
        async with Locker(proxy.url, lease=0.5, command_timeout=5.0) as one:
            ended = 0.0

            async def use() -> None:
                nonlocal ended
                async with one.locks.hold("a"):
                    proxy.to_client.swallow()
                    proxy.to_server.hold()
                    try:
                        await asyncio.sleep(10)
                    finally:
                        ended = time.monotonic()

            task = asyncio.create_task(use())
            await until(lambda: one.locks.statistics().held == 1)
            async with asyncio.timeout(5), rival.locks.hold("a"):
                taken = time.monotonic()
            assert 0 < ended <= taken
            proxy.cut_all()
            assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], LockLost)


async def test_paused_server_that_answers_in_time_keeps_the_lock(server: Server) -> None:
    async with Locker(server.url, lease=1.2) as one:
        async with one.locks.hold("a") as held:
            server.execute("CLIENT", "PAUSE", 500, "ALL")
            await asyncio.sleep(1.5)
            held.ensure_held()


async def test_server_that_hangs_past_the_lease_loses_the_lock_in_time(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Locker(server.url, lease=0.5, command_timeout=3.0) as one:
        began = time.monotonic()
        try:
            with pytest.raises(LockLost):
                async with one.locks.hold("a"):
                    server.pause()
                    try:
                        await asyncio.sleep(10)
                    finally:
                        assert time.monotonic() - began < 1
                        server.resume()
        finally:
            server.resume()


# -- the server is touched behind our back -----------------------------------------------------


async def test_script_flush_while_held_disturbs_nothing(server: Server) -> None:
    async with Locker(server.url, lease=0.3) as one:
        async with one.locks.hold("a") as held:
            server.execute("SCRIPT", "FLUSH")
            await asyncio.sleep(0.5)
            held.ensure_held()
            server.execute("SCRIPT", "FLUSH")
        assert await one.token("a") is None


async def test_flushall_while_held_ends_the_block_at_the_next_renewal(server: Server) -> None:
    async with Locker(server.url, lease=0.6) as one:
        began = time.monotonic()
        with pytest.raises(LockLost, match="no longer has it"):
            async with one.locks.hold("a"):
                server.execute("FLUSHALL")
                await asyncio.sleep(10)
        assert time.monotonic() - began < 0.5


async def test_killed_connection_while_held_is_replaced_in_time(server: Server) -> None:
    async with Locker(server.url, lease=0.6) as one:
        async with one.locks.hold("a") as held:
            for _ in range(3):
                server.execute("CLIENT", "KILL", "TYPE", "normal")
                await asyncio.sleep(0.3)
                held.ensure_held()
        assert await one.token("a") is None


async def test_killed_connection_while_waiting_is_replaced_and_the_lock_got(
    server: Server,
) -> None:
    async with Locker(server.url) as one, Locker(server.url) as other:
        holding = asyncio.Event()
        gate = asyncio.Event()

        async def hold() -> None:
            async with one.locks.hold("a"):
                holding.set()
                await gate.wait()

        holder = asyncio.create_task(hold())
        await holding.wait()

        async def use() -> int:
            async with other.locks.hold("a") as held:
                return held.fence

        waiter = asyncio.create_task(use())
        await until(lambda: other.locks.statistics().waits)
        server.execute("CLIENT", "KILL", "TYPE", "normal")
        await asyncio.sleep(0.2)
        gate.set()
        async with asyncio.timeout(5):
            assert await waiter
            await holder


async def test_server_killed_and_restarted_empty_is_a_loss_for_the_holder(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Locker(server.url, lease=0.9) as one:
        with pytest.raises(LockLost) as caught:
            async with one.locks.hold("a"):
                server.restart()
                await asyncio.sleep(10)
        assert caught.value.reason == "gone"
        async with one.locks.hold("a", wait=2) as again:
            assert (
                again.fence > caught.value.fence
            )  # by the clock, although the last fence was lost


async def test_dead_server_loses_held_locks_and_refuses_new_ones(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Locker(server.url, lease=0.5) as one:
        with pytest.raises(LockLost, match="lease ran out"):
            async with one.locks.hold("a"):
                server.kill()
                await asyncio.sleep(10)
        with pytest.raises(BackendUnavailable):
            async with one.locks.hold("b", wait=1):
                pytest.fail("there is no server")


async def test_waiter_of_a_dead_server_is_told_within_moments(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Locker(server.url) as one:
        await one.client.call("SET", one.locks.key("a"), "1:somebody", "EX", 100)

        async def use() -> None:
            async with one.locks.hold("a"):
                pytest.fail("it is held")

        waiters = [asyncio.create_task(use()) for _ in range(3)]
        await until(lambda: one.locks.statistics().waits == 3)
        server.kill()
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*waiters, return_exceptions=True)
        assert all(isinstance(end, BackendError) for end in ends), ends
        assert one.locks.statistics().waiting == 0


async def test_client_closed_while_a_lock_is_held_and_waited_for_ends_both(server: Server) -> None:
    one = Locker(server.url, lease=0.4)
    await one.client.__aenter__()
    holding = asyncio.Event()

    async def use() -> None:
        async with one.locks.hold("a"):
            holding.set()
            await asyncio.sleep(10)

    holder, waiter = asyncio.create_task(use()), asyncio.create_task(use())
    await holding.wait()
    await one.client.aclose()
    async with asyncio.timeout(5):
        ends = await asyncio.gather(holder, waiter, return_exceptions=True)
    assert isinstance(ends[0], LockLost)
    assert ends[1] is not None


# -- processes ---------------------------------------------------------------------------------


class _Holder:
    """A process of its own that holds a lock; see `tests/support/lock_process.py`."""

    def __init__(self, url: str, lease: float, store: Path) -> None:
        command = [sys.executable, "-m", "tests.support.lock_process", url, "a", str(lease)]
        self.process = subprocess.Popen(
            [*command, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hears(self) -> str:
        return cast("IO[str]", self.process.stdout).readline().strip()

    def told(self) -> None:
        stdin = cast("IO[str]", self.process.stdin)
        stdin.write("\n")
        stdin.flush()

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A table that remembers the highest fence that wrote to it, and refuses lower ones."""
    path = tmp_path / "account.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE account (fence INTEGER NOT NULL, writes INTEGER NOT NULL)")
        db.execute("INSERT INTO account VALUES (0, 0)")
    return path


@pytest.fixture
def start_holder(server: Server, store: Path) -> Iterator[Callable[[float], _Holder]]:
    started: list[_Holder] = []

    def start(lease: float) -> _Holder:
        started.append(_Holder(server.url, lease, store))
        return started[-1]

    yield start
    for holder in started:
        holder.process.kill()
        holder.process.communicate()


async def test_stopped_process_that_goes_on_finds_its_lock_lost_and_its_write_refused(
    url: str, store: Path, start_holder: Callable[[float], _Holder]
) -> None:
    holder = start_holder(0.5)
    word, fence = (await asyncio.to_thread(holder.hears)).split()
    assert word == "held"
    holder.stop()
    async with Locker(url) as rival, asyncio.timeout(10):
        stopped = time.monotonic()
        async with rival.locks.hold("a") as held:
            assert held.fence > int(fence)
            assert fenced_write(str(store), held.fence)
            await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - stopped)))  # twice the lease
            holder.told()
            holder.go_on()
            assert await asyncio.to_thread(holder.hears) == "refused"
            assert await asyncio.to_thread(holder.hears) == "lost expired"
            held.ensure_held()


async def test_killed_process_frees_its_lock_by_the_end_of_its_lease(
    url: str, start_holder: Callable[[float], _Holder]
) -> None:
    holder = start_holder(0.5)
    assert (await asyncio.to_thread(holder.hears)).startswith("held")
    holder.process.kill()
    began = time.monotonic()
    async with Locker(url) as rival, asyncio.timeout(5), rival.locks.hold("a"):
        assert time.monotonic() - began < 1


# -- what is left behind ---------------------------------------------------------------------------


async def test_try_hold_beside_a_waiter_that_does_not_reach_redis_is_an_error(
    server: Server,
) -> None:
    """Nobody knows whether it is taken: that is not concluded from a waiter of the same process."""
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one, Locker(server.url) as other:
        async with other.locks.hold("a"):
            waiter = asyncio.create_task(one.locks.hold("a").__aenter__())
            await until(lambda: one.locks.statistics().waits)
            await proxy.refuse()
            proxy.cut_all()
            await until(lambda: one.client.statistics().state == "down")
            await asyncio.sleep(0.05)  # the waiter has asked, and tries again
            assert not waiter.done()
            with pytest.raises(BackendUnavailable):
                async with one.locks.try_hold("a"):
                    pytest.fail("nobody could be asked")
            waiter.cancel()
            await asyncio.wait([waiter])


def test_loop_that_ends_right_after_a_wanted_release_slows_down_no_later_one(
    server: Server,
) -> None:
    client = Client.from_url(server.url, prefix="t")
    locks = Locks(client, "n")

    async def leave_to_a_rival() -> None:
        async with client:
            async with locks.hold("a"):
                await client.call("ZADD", f"{locks.key('a')}:waiting", 2**52, "a-rival")
                await client.call("PEXPIRE", f"{locks.key('a')}:waiting", 1000)

    async def commands() -> int:
        async with client:
            async with locks.hold("warm"):
                pass
            before = client.statistics().commands
            async with locks.hold("a"):
                pass
            return client.statistics().commands - before

    asyncio.run(leave_to_a_rival())
    time.sleep(0.01)
    assert asyncio.run(commands()) == 2


def test_fork_waits_under_a_name_of_its_own(server: Server) -> None:
    store = LockStore([Client.from_url(server.url)], 10_000)
    name = store.contender
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        os.write(sending, store.contender.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receiving, 100).decode() != name
    assert store.contender == name
    os.close(receiving)
    os.close(sending)
