"""Fair lines whose places get lost, or are taken in another order than they were asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from millpond.core.scripts import Script
from millpond.events import ReleaseUnconfirmed
from tests.support.fleet import until
from tests.support.lockers import Locker
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from tests.support.servers import Server

_ACQUIRE = Script.load("millpond.lock", "fair_acquire")
_RELEASE = Script.load("millpond.lock", "fair_release")


class Line:
    """Tasks of one process that want one lock, the first of which has it."""

    def __init__(self, locker: Locker) -> None:
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._locker = locker
        self._leave = asyncio.Event()

    async def begin(self) -> None:
        self.join("a")
        await until(lambda: self.order == ["a"])

    def join(self, name: str) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(self._hold(name)))
        return self.tasks[-1]

    async def end(self) -> None:
        self._leave.set()
        async with asyncio.timeout(6):
            await asyncio.gather(*self.tasks)

    async def _hold(self, name: str) -> None:
        async with self._locker.locks.hold("a", fair=True):
            self.order.append(name)
            await self._leave.wait()


async def settled(locker: Locker) -> None:
    await until(lambda: not locker.client.statistics().in_flight)


async def test_place_whose_request_was_lost_holds_up_nobody(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one:
        line = Line(one)
        await line.begin()
        proxy.connections[0].to_server.swallow()
        line.join("b")
        await until(lambda: one.client.statistics().in_flight)
        proxy.cut_all()
        await until(lambda: one.client.statistics().reconnects)
        await until(lambda: one.client.statistics().state == "up")
        line.join("c")  # its place is taken, and before the one of who stands ahead of it
        await asyncio.sleep(0)
        await settled(one)
        await line.end()
        assert line.order == ["a", "b", "c"]


async def test_places_taken_in_another_order_hold_up_nobody(server: Server) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one, Locker(server.url) as behind:
        line = Line(one)
        await line.begin()
        await behind.client.call("SCRIPT", "FLUSH")
        proxy.to_client.hold()
        line.join("b")  # it will be told NOSCRIPT, and ask again
        await asyncio.sleep(0.05)
        await behind.client.call("SCRIPT", "LOAD", _ACQUIRE.source)
        line.join("c")
        await asyncio.sleep(0.05)
        proxy.to_client.release()
        await settled(one)
        await line.end()
        assert line.order == ["a", "b", "c"]


async def test_place_that_was_given_up_before_it_was_taken_is_never_taken(server: Server) -> None:
    async with Locker(server.url) as one, Locker(server.url) as behind:
        line = Line(one)
        await line.begin()
        await behind.client.call("SCRIPT", "FLUSH")
        await behind.client.call("SCRIPT", "LOAD", _RELEASE.source)
        gone = line.join("b")
        await asyncio.sleep(0)  # its request has not left yet, and will be told NOSCRIPT
        gone.cancel()
        await asyncio.wait([gone])
        line.tasks.remove(gone)
        await settled(one)
        assert await behind.client.call("ZCARD", one.locks.key("a") + ":tickets") == 0
        line.join("c")
        await line.end()
        assert line.order == ["a", "c"]


async def test_process_that_is_passed_over_keeps_its_places(server: Server) -> None:
    """Two of ours and one of theirs between: ours are served in our order, theirs in its turn."""
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one, Locker(server.url) as other:
        line, theirs = Line(one), Line(other)
        await line.begin()
        await other.client.call("SCRIPT", "FLUSH")
        proxy.to_client.hold()
        line.join("b")
        await asyncio.sleep(0.05)
        await other.client.call("SCRIPT", "LOAD", _ACQUIRE.source)
        line.join("c")  # takes the place ahead of b's
        await asyncio.sleep(0.05)
        theirs.order = line.order
        theirs.join("x")
        await asyncio.sleep(0.05)
        proxy.to_client.release()  # b asks again: behind c and x
        await settled(one)
        leaving = asyncio.create_task(line.end())
        await theirs.end()
        await leaving
        assert line.order == ["a", "b", "x", "c"]


async def test_who_stands_behind_a_long_holder_of_the_same_process_keeps_its_place(
    server: Server,
) -> None:
    """Nobody of that process asks meanwhile, and it is taken for dead if it says nothing."""
    async with Locker(server.url) as one, Locker(server.url) as other:
        line, theirs = Line(one), Line(other)
        await line.begin()
        line.join("b")
        await settled(one)
        theirs.order = line.order
        theirs.join("x")
        await asyncio.sleep(3.5)  # longer than a process that says nothing is taken to live
        leaving = asyncio.create_task(line.end())
        await theirs.end()
        await leaving
        assert line.order == ["a", "b", "x"]


async def test_place_of_who_leaves_beside_a_hand_over_is_not_told_as_unconfirmed(
    server: Server,
) -> None:
    async with Proxy(server.port) as proxy, Locker(proxy.url) as one:
        line = Line(one)
        await line.begin()
        gone = line.join("b")
        line.join("c")
        await asyncio.sleep(0)
        await settled(one)
        proxy.to_client.hold()
        line.tasks.remove(gone)
        leaving = asyncio.create_task(line.end())
        await until(lambda: one.client.statistics().in_flight)
        gone.cancel()  # its turn has come, and the answer that says so is on its way
        await asyncio.wait([gone])
        proxy.to_client.release()
        await leaving
        assert line.order == ["a", "c"]
        assert not one.told(ReleaseUnconfirmed)


async def test_line_that_is_not_fair_and_never_empty_lets_a_fair_one_in(server: Server) -> None:
    """They pass it on among themselves, so that it is never free unless they make way."""
    async with Locker(server.url) as one, Locker(server.url) as other:
        stop = asyncio.Event()

        async def use() -> None:
            while not stop.is_set():
                async with one.locks.hold("a"):
                    await asyncio.sleep(0.001)

        users = [asyncio.create_task(use()) for _ in range(3)]
        await until(lambda: one.locks.statistics().passed > 3)
        try:
            async with asyncio.timeout(2), asyncio.TaskGroup() as fair:
                for _ in range(3):
                    fair.create_task(_visit(other))
        finally:
            stop.set()
            await asyncio.gather(*users)


async def _visit(locker: Locker) -> None:
    for _ in range(3):
        async with locker.locks.hold("a", fair=True):
            await asyncio.sleep(0.001)
