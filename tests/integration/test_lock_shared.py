"""Semaphores and read/write locks: what several may hold at once."""

# ruff: noqa: PT012  (a block that is left by an error is what is tested)

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client
from millpond.errors import ConfigError, LockLost, LockTimeout
from millpond.lock.locks import Locks
from tests.support.fleet import until
from tests.support.lockers import Locker, cancel_at
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from millpond.lock.hold import Hold


@pytest.fixture
async def one(url: str) -> AsyncIterator[Locker]:
    async with Locker(url) as locker:
        yield locker


@pytest.fixture
async def other(url: str) -> AsyncIterator[Locker]:
    async with Locker(url) as locker:
        yield locker


async def keep(block: Hold, gate: asyncio.Event) -> None:
    async with block:
        await gate.wait()


async def started(locker: Locker, block: Hold, gate: asyncio.Event) -> asyncio.Task[None]:
    before = locker.locks.statistics().acquired
    task = asyncio.create_task(keep(block, gate))
    await until(lambda: locker.locks.statistics().acquired > before)
    return task


async def settled(*lockers: Locker) -> None:
    """Wait until every waiter watches, and nothing is under way."""
    for locker in lockers:
        await until(lambda locker=locker: not locker.client.statistics().in_flight)
        await locker.client.call("PING")


async def left_keys(locker: Locker) -> list[bytes]:
    """List what is under the prefix, but for the fences."""
    keys = await locker.client.call("KEYS", "*")
    return sorted(key for key in keys if not key.endswith(b":fence"))


class Inside:
    """How many are in a block, and the most that ever were."""

    def __init__(self) -> None:
        self.now = self.most = self.times = 0

    async def visit(self, block: Hold) -> None:
        async with block:
            self.now += 1
            self.times += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.001)
            self.now -= 1


# -- semaphores --------------------------------------------------------------------------------


async def test_permits_are_held_together_and_never_more(flavoured_server: Server) -> None:
    async with Locker(flavoured_server.url) as one, Locker(flavoured_server.url) as other:
        inside = Inside()

        async def work(locker: Locker) -> None:
            for _ in range(10):
                await inside.visit(locker.locks.semaphore("gpu", permits=3))

        async with asyncio.timeout(20):
            await asyncio.gather(*[work(locker) for locker in (one, other) for _ in range(5)])
        assert inside.times == 100
        assert inside.most == 3
        await settled(one, other)
        assert await left_keys(one) == []


async def test_semaphore_works_on_memory() -> None:
    async with Locker("memory://semaphore") as one, Locker("memory://semaphore") as other:
        inside = Inside()

        async def work(locker: Locker) -> None:
            for _ in range(5):
                await inside.visit(locker.locks.semaphore("gpu", permits=2))

        async with asyncio.timeout(20):
            await asyncio.gather(*[work(locker) for locker in (one, other) for _ in range(3)])
        assert (inside.times, inside.most) == (30, 2)


async def test_waiter_for_a_permit_is_pushed_awake_and_does_not_poll(
    one: Locker, other: Locker, server: Server
) -> None:
    gate = asyncio.Event()
    holder = await started(one, one.locks.semaphore("gpu", permits=1), gate)
    waiter = asyncio.create_task(keep(other.locks.semaphore("gpu", permits=1), gate))
    await until(lambda: other.locks.statistics().waits == 1)
    await settled(other)
    before = server.execute("INFO", "commandstats")["cmdstat_evalsha"]["calls"]
    await asyncio.sleep(0.3)
    assert server.execute("INFO", "commandstats")["cmdstat_evalsha"]["calls"] == before
    gate.set()
    async with asyncio.timeout(1):  # the lease would last 10 s
        await asyncio.gather(holder, waiter)


async def test_permit_of_a_dead_holder_is_free_after_its_lease(one: Locker) -> None:
    key = one.locks.key("gpu")
    now = time.time()
    await one.client.call("ZADD", f"{key}:slots", int((now + 0.3) * 1000), "dead")
    await one.client.call("PEXPIRE", f"{key}:slots", 60_000)
    with pytest.raises(LockTimeout):
        async with one.locks.semaphore("gpu", permits=1, wait=0):
            pytest.fail("it is held")
    async with asyncio.timeout(3), one.locks.semaphore("gpu", permits=1):
        assert time.time() - now >= 0.3
    async with asyncio.timeout(3), one.locks.semaphore("gpu", permits=1, wait=0):
        pass


async def test_permit_is_renewed_and_its_loss_ends_the_block(url: str) -> None:
    async with Locker(url, lease=0.2) as one, Locker(url) as other:
        with pytest.raises(LockLost, match="no longer has it"):
            async with one.locks.semaphore("gpu", permits=1) as held:
                await asyncio.sleep(0.5)
                held.ensure_held()
                with pytest.raises(ConfigError, match="no fence"):
                    _ = held.fence
                await other.client.call("DEL", one.locks.key("gpu") + ":slots")
                await asyncio.sleep(5)


async def test_permit_that_ran_out_is_not_prolonged(one: Locker) -> None:
    """Although nobody has taken it meanwhile: its holder has stopped counting on it."""
    with pytest.raises(LockLost) as caught:
        async with one.locks.semaphore("gpu", permits=1, lease=0.1):
            time.sleep(0.15)
            await asyncio.sleep(5)
    assert caught.value.reason == "expired"
    await settled(one)
    assert await left_keys(one) == []


async def test_fewer_permits_let_holders_finish(one: Locker) -> None:
    gate = asyncio.Event()
    holders = [await started(one, one.locks.semaphore("gpu", permits=3), gate) for _ in range(3)]
    with pytest.raises(LockTimeout):
        async with one.locks.semaphore("gpu", permits=1, wait=0):
            pytest.fail("three are held")
    gate.set()
    await asyncio.gather(*holders)
    async with one.locks.semaphore("gpu", permits=1, wait=1):
        pass


async def test_task_may_hold_several_permits_and_other_names(one: Locker) -> None:
    async with one.locks.semaphore("gpu", permits=2), one.locks.semaphore("gpu", permits=2):
        async with one.locks.hold("gpu"), one.locks.write("gpu"):
            pass


@pytest.mark.parametrize("permits", [0, -1, 1.5, True, "4", None])
def test_permits_that_cannot_be_are_refused(permits: Any) -> None:
    with pytest.raises(ConfigError, match="permits"):
        Locks(Client.from_url("memory://"), "n").semaphore("gpu", permits=permits)


# -- reading and writing -----------------------------------------------------------------------


async def test_readers_share_and_a_writer_is_alone(flavoured_server: Server) -> None:
    async with Locker(flavoured_server.url) as one, Locker(flavoured_server.url) as other:
        reading, writing = Inside(), Inside()
        fences: list[int] = []

        async def read(locker: Locker) -> None:
            for _ in range(10):
                await reading.visit(locker.locks.read("doc"))

        async def write(locker: Locker) -> None:
            for _ in range(5):
                async with locker.locks.write("doc") as held:
                    fences.append(held.fence)
                    writing.now += 1
                    assert (reading.now, writing.now) == (0, 1)
                    await asyncio.sleep(0.001)
                    assert (reading.now, writing.now) == (0, 1)
                    writing.now -= 1

        async with asyncio.timeout(20):
            await asyncio.gather(
                *[read(locker) for locker in (one, other) for _ in range(3)],
                *[write(locker) for locker in (one, other) for _ in range(2)],
            )
        assert reading.times == 60
        assert reading.most > 1
        assert len(fences) == 20
        assert fences == sorted(set(fences))
        await settled(one, other)
        await asyncio.sleep(0.02)  # the readers' turn
        assert await left_keys(one) == []


async def test_read_write_works_on_memory() -> None:
    async with Locker("memory://rw") as one, Locker("memory://rw") as other:
        reading = Inside()

        async def write(locker: Locker) -> None:
            async with locker.locks.write("doc"):
                assert reading.now == 0

        async with asyncio.timeout(20):
            await asyncio.gather(
                *[reading.visit(locker.locks.read("doc")) for locker in (one, other)],
                *[write(locker) for locker in (one, other)],
                *[reading.visit(locker.locks.read("doc")) for locker in (one, other)],
            )
        assert reading.times == 4


async def test_readers_who_take_turns_do_not_starve_a_writer(one: Locker, other: Locker) -> None:
    done = asyncio.Event()

    async def read(locker: Locker) -> None:
        while not done.is_set():
            async with locker.locks.read("doc"):
                await asyncio.sleep(0.005)

    readers = [asyncio.create_task(read(locker)) for locker in (one, other) for _ in range(4)]
    await until(lambda: one.locks.statistics().acquired > 20)
    try:
        async with asyncio.timeout(5):  # a lock that is waited for its lease takes ten
            for _ in range(3):
                async with one.locks.write("doc"):
                    pass
    finally:
        done.set()
        await asyncio.gather(*readers)


async def test_a_reader_refused_behind_a_writer_does_not_hide_that_the_last_has_left(
    one: Locker, other: Locker
) -> None:
    """One process listens only after another's refusal has set the signal once more."""
    reading = other.locks.read("doc")
    await reading.__aenter__()
    waiting: list[asyncio.Task[None]] = []
    watch = one.client.watch

    async def read() -> None:
        async with other.locks.read("doc"):
            pass

    class Late:
        def __init__(self, *args: Any, **more: Any) -> None:
            self.watch = watch(*args, **more)

        async def __aenter__(self) -> Any:
            if not waiting:
                await reading.__aexit__(None, None, None)
                waiting.append(asyncio.create_task(read()))
                await until(lambda: other.locks.statistics().waiting > 0)
                await other.client.call("PING")  # so that it was refused
            return await self.watch.__aenter__()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.watch, name)

        async def __aexit__(self, *_: object) -> None:
            await self.watch.__aexit__(None, None, None)

    one.client.watch = Late  # type: ignore[method-assign,assignment]
    async with asyncio.timeout(2), one.locks.write("doc"):
        pass
    assert waiting, "nobody was refused in between"
    await asyncio.gather(*waiting)


async def test_writers_who_take_turns_do_not_starve_a_reader(one: Locker, other: Locker) -> None:
    done = asyncio.Event()

    async def write(locker: Locker) -> None:
        while not done.is_set():
            async with locker.locks.write("doc"):
                await asyncio.sleep(0.002)

    writers = [asyncio.create_task(write(locker)) for locker in (one, other) for _ in range(4)]
    await until(lambda: one.locks.statistics().acquired > 5)
    try:
        async with asyncio.timeout(5):
            for _ in range(3):
                async with other.locks.read("doc"):
                    pass
    finally:
        done.set()
        await asyncio.gather(*writers)


async def test_neither_process_keeps_the_other_from_writing(one: Locker, other: Locker) -> None:
    done = asyncio.Event()
    turns = {one: 0, other: 0}

    async def write(locker: Locker) -> None:
        while not done.is_set():
            async with locker.locks.write("doc"):
                turns[locker] += 1
                done.set() if min(turns.values()) >= 20 else None

    async with asyncio.timeout(10):
        await asyncio.gather(*[write(one) for _ in range(20)], write(other))
    assert turns[one] < 200


async def test_reader_that_leaves_lets_the_writer_in(one: Locker, other: Locker) -> None:
    gate = asyncio.Event()
    readers = [await started(one, one.locks.read("doc"), gate) for _ in range(2)]
    writer = asyncio.create_task(keep(other.locks.write("doc"), gate))
    await until(lambda: other.locks.statistics().waits == 1)
    await settled(other)
    with pytest.raises(LockTimeout):  # a writer waits
        async with one.locks.read("doc", wait=0.05):
            pytest.fail("a writer waits")
    gate.set()
    async with asyncio.timeout(1):
        await asyncio.gather(*readers, writer)


async def test_writer_that_gives_up_bars_readers_no_longer(one: Locker, other: Locker) -> None:
    gate = asyncio.Event()
    reader = await started(one, one.locks.read("doc"), gate)
    with pytest.raises(LockTimeout):
        async with other.locks.write("doc", wait=0.05):
            pytest.fail("it is read")
    async with asyncio.timeout(1), one.locks.read("doc"):
        pass
    gate.set()
    await reader


async def test_dead_writer_frees_the_lock_after_its_lease(one: Locker) -> None:
    await one.client.call("SET", one.locks.key("doc") + ":write", "1:dead", "PX", 200)
    async with asyncio.timeout(2), one.locks.read("doc"):
        pass


async def test_dead_writer_that_waited_bars_readers_for_a_while_only(
    one: Locker, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = int(time.time() * 1000) + 300
    await one.client.call("ZADD", one.locks.key("doc") + ":sides-waiting", moment, "wdead")
    await one.client.call("PEXPIRE", one.locks.key("doc") + ":sides-waiting", 60_000)
    async with asyncio.timeout(2), one.locks.read("doc"):
        assert time.time() * 1000 >= moment
    await one.client.call("DEL", one.locks.key("doc") + ":sides-waiting")


@pytest.mark.parametrize("outer", ["read", "write"])
@pytest.mark.parametrize("inner", ["read", "write"])
async def test_nesting_the_sides_of_one_lock_is_an_error(
    one: Locker, outer: str, inner: str
) -> None:
    async with getattr(one.locks, outer)("doc"):
        with pytest.raises(ConfigError, match="already"):
            async with getattr(one.locks, inner)("doc"):
                pytest.fail("never")


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("way", ["read", "write", "semaphore"])
async def test_cancelled_at_any_await_leaves_nothing_behind(
    one: Locker, other: Locker, way: str, answered: bool
) -> None:
    def block(locker: Locker) -> Hold:
        if way == "semaphore":
            return locker.locks.semaphore("x", permits=1)
        return getattr(locker.locks, way)("x")

    async def use() -> None:
        async with block(one):
            await asyncio.sleep(0)

    struck, step = True, 0
    while struck:
        step += 1
        gate = asyncio.Event()
        holder = await started(
            other, other.locks.write("x") if way == "read" else block(other), gate
        )
        run = asyncio.create_task(cancel_at(step, use(), answered=answered))
        await asyncio.sleep(0.005)
        gate.set()
        await holder
        struck, _ = await run
        await settled(one, other, one)
        await asyncio.sleep(0.015)  # the readers' turn
        assert await left_keys(one) == [], step
    assert step >= 4


async def test_permit_lost_reply_is_recognised(
    start_server: Callable[[Server], Server],
) -> None:
    from tests.support.proxy import Proxy

    server = start_server(Server())
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one:
        async with one.locks.semaphore("gpu", permits=1):
            pass
        proxy.connections[0].to_client.cut_after(0)
        async with asyncio.timeout(5), one.locks.semaphore("gpu", permits=1):
            assert server.execute("ZCARD", one.locks.key("gpu") + ":slots") == 1
        assert server.execute("ZCARD", one.locks.key("gpu") + ":slots") == 0
