"""Idempotency when things break: lost replies, silence, outages, dead and stopped processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, cast

import pytest

from millpond.errors import BackendError, LockLost, RunInProgress
from millpond.events import ReleaseUnconfirmed, ResultUnconfirmed
from tests.support.fleet import until
from tests.support.payers import Payer, Receipt, Till
from tests.support.proxy import Proxy
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from millpond import Idempotency, Run


# -- lost replies ------------------------------------------------------------------------------


async def test_lost_reply_when_beginning_costs_nothing_but_a_reconnect(server: Server) -> None:
    async with Proxy(server.port) as proxy, Payer(proxy.url) as one, Payer(server.url) as behind:
        till = Till()
        await one.payments.run_once("warm", till.pay)
        proxy.connections[0].to_client.cut_after(0)
        async with asyncio.timeout(5):
            receipt = await one.payments.run_once("a", till.pay)
        assert one.client.statistics().reconnects == 1
        assert await behind.payments.run_once("a", till.pay) == receipt
        assert till.begun == 2
        fence = await behind.client.call("GET", "{t:pay:a}:run:fence")
        assert int(fence) == receipt.fence  # of the first try: it was not begun twice


async def test_lost_reply_when_keeping_is_no_error_and_no_second_run(server: Server) -> None:
    async with Proxy(server.port) as proxy, Payer(proxy.url) as one, Payer(server.url) as behind:
        till = Till(held=True)
        task = asyncio.create_task(one.payments.run_once("a", till.pay))
        await until(lambda: till.begun)
        proxy.connections[0].to_client.cut_after(0)
        till.release()
        async with asyncio.timeout(5):
            assert await task == till.paid[0]
        assert await behind.payments.run_once("a", till.pay) == till.paid[0]
        assert till.begun == 1
        assert not one.told(ResultUnconfirmed)  # it was confirmed, at the second asking


async def test_result_that_never_arrived_is_sent_again(server: Server) -> None:
    async with Proxy(server.port) as proxy, Payer(proxy.url) as one, Payer(server.url) as behind:
        till = Till(held=True)
        task = asyncio.create_task(one.payments.run_once("a", till.pay))
        await until(lambda: till.begun)
        proxy.connections[0].to_server.swallow()
        till.release()
        await until(lambda: till.paid)
        assert await behind.stored() == ["run", "fence"]
        proxy.connections[0].cut()
        async with asyncio.timeout(5):
            assert await task == till.paid[0]
        assert await behind.stored() == ["fence", "result"]


async def test_cancelled_while_the_result_is_on_its_way_and_lost_it_is_sent_again(
    server: Server,
) -> None:
    async with Proxy(server.port) as proxy, Payer(proxy.url) as one, Payer(server.url) as behind:
        till = Till(held=True)
        task = asyncio.create_task(one.payments.run_once("a", till.pay))
        await until(lambda: till.begun)
        proxy.connections[0].to_server.swallow()
        till.release()
        await until(lambda: till.paid)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        proxy.connections[0].cut()
        async with asyncio.timeout(5):
            receipt = await behind.payments.run_once("a", till.pay, wait=5)
        assert receipt == till.paid[0]
        assert till.begun == 1


async def test_lost_reply_when_giving_up_lets_a_retry_run(server: Server) -> None:
    async with Proxy(server.port) as proxy, Payer(proxy.url) as one, Payer(server.url) as behind:
        till, second = Till(held=True), Till()
        till.error = OSError("the provider is away")
        task = asyncio.create_task(one.payments.run_once("a", till.pay))
        await until(lambda: till.begun)
        proxy.connections[0].to_server.swallow()
        asyncio.get_running_loop().call_later(0.05, proxy.cut_all)
        till.release()
        with pytest.raises(OSError, match="away"):
            await task
        assert len(one.told(ReleaseUnconfirmed)) == 1
        async with asyncio.timeout(5):  # the lease would last 10 s
            receipt = await behind.payments.run_once("a", second.pay, wait=5)
        assert receipt == second.paid[0]


# -- outages -----------------------------------------------------------------------------------


async def test_nothing_is_called_while_redis_is_out_of_reach(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Payer(server.url) as one:
        till = Till()
        await one.payments.run_once("warm", till.pay)
        server.kill()
        for _ in range(3):
            with pytest.raises(BackendError):
                await one.payments.run_once("a", till.pay, wait=1)
        assert till.begun == 1
        server.start()
        async with asyncio.timeout(5):
            while one.client.statistics().state != "up":
                await asyncio.sleep(0.005)
        await one.payments.run_once("a", till.pay)


async def test_nothing_is_called_while_redis_hangs(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Payer(server.url, command_timeout=0.3) as one:
        till = Till()
        await one.payments.run_once("warm", till.pay)
        server.pause()
        try:
            began = time.monotonic()
            with pytest.raises(BackendError):
                await one.payments.run_once("a", till.pay)
            assert time.monotonic() - began < 5
            began = time.monotonic()
            with pytest.raises(BackendError):
                await one.payments.run_once("a", till.pay)
            assert time.monotonic() - began < 0.2  # one outage, not one for each call
            assert till.begun == 1
        finally:
            server.resume()
        # What the server had been asked before it hung is taken back when it goes on.
        async with asyncio.timeout(8):
            while one.client.statistics().state != "up":
                await asyncio.sleep(0.005)
            await one.payments.run_once("a", till.pay, wait=5)


async def test_result_of_an_outage_is_returned_told_of_and_kept_afterwards(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(appendonly=True))
    async with Payer(server.url, lease=30) as one:
        till = Till(held=True)
        task = asyncio.create_task(one.payments.run_once("a", till.pay))
        await until(lambda: till.begun)
        server.kill()
        till.release()
        async with asyncio.timeout(8):
            assert await task == till.paid[0]
        assert [event.key for event in one.told(ResultUnconfirmed)] == [one.payments.key("a")]
        assert one.payments.statistics().unconfirmed == 1
        server.start()
        async with asyncio.timeout(8):
            while not server.execute("EXISTS", one.payments.key("a")):
                await asyncio.sleep(0.01)
        assert await one.payments.run_once("a", till.pay) == till.paid[0]
        assert till.begun == 1


async def test_silence_ends_the_run_by_the_deadline(server: Server) -> None:
    async with Proxy(server.port) as proxy:
        async with Payer(proxy.url, lease=0.6, command_timeout=5.0) as one:
            began = 0.0

            async def pay(run: Run) -> Receipt:
                nonlocal began
                began = time.monotonic()
                proxy.to_client.swallow()
                await asyncio.sleep(10)
                return Receipt(1)

            giving_up = asyncio.create_task(one.payments.run_once("a", pay))
            await until(lambda: began)
            loop = asyncio.get_running_loop()
            ended = loop.create_future()
            giving_up.add_done_callback(lambda _: ended.set_result(time.monotonic() - began))
            loop.call_later(1.0, proxy.cut_all)  # or giving up would wait for its answer
            with pytest.raises(LockLost, match="lease ran out"):
                await giving_up
            assert await ended < 1.5


async def test_flushed_server_is_a_loss_and_nothing_is_kept(server: Server) -> None:
    async with Payer(server.url) as one:
        till = Till(held=True)
        task = asyncio.create_task(one.payments.run_once("a", till.pay))
        await until(lambda: till.begun)
        server.execute("FLUSHALL")
        till.release()
        with pytest.raises(LockLost, match="no longer has it"):
            await task
        assert await one.stored() == []


@pytest.mark.parametrize("fault", [("SCRIPT", "FLUSH"), ("CLIENT", "KILL", "TYPE", "normal")])
async def test_flushed_scripts_and_killed_connections_disturb_nothing(
    server: Server, fault: tuple[str, ...]
) -> None:
    async with Payer(server.url, lease=0.5) as one, Payer(server.url) as other:
        till = Till(held=True)
        task = asyncio.create_task(one.payments.run_once("a", till.pay))
        await until(lambda: till.begun)
        waiting = asyncio.create_task(_insist(other.payments, till))
        await until(lambda: other.payments.statistics().waits)
        server.execute(*fault)
        await asyncio.sleep(0.7)  # past the lease, if it were not renewed
        server.execute(*fault)
        till.release()
        async with asyncio.timeout(5):
            assert await task == await waiting == till.paid[0]
        assert till.begun == 1


async def _insist(payments: Idempotency[Receipt], till: Till) -> Receipt:
    """Ask until it is answered, as a client that is told 503 does."""
    while True:
        try:
            return await payments.run_once("a", till.pay, wait=5)
        except BackendError:
            await asyncio.sleep(0.02)


# -- processes ---------------------------------------------------------------------------------


class _Process:
    """A process of its own that pays; see `tests/support/pay_process.py`."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.support.pay_process", *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hears(self) -> str:
        return cast("IO[str]", self.process.stdout).readline().strip()

    def told(self) -> None:
        stdin = cast("IO[str]", self.process.stdin)
        stdin.write("\n")
        stdin.flush()


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """What is paid from: a line for each payment."""
    return tmp_path / "book"


@pytest.fixture
def start(server: Server, book: Path) -> Iterator[Callable[[str, str], _Process]]:
    started: list[_Process] = []

    def start(what: str, rest: str) -> _Process:
        started.append(_Process(what, server.tcp_url, str(book), rest))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def payments_in(book: Path) -> list[str]:
    return [line.split()[0] for line in book.read_text().splitlines()] if book.exists() else []


async def test_killed_process_lets_another_run_once_its_lease_is_over(
    start: Callable[[str, str], _Process], book: Path, url: str
) -> None:
    dying = start("once", "a")
    word, fence = (await asyncio.to_thread(dying.hears)).split()
    assert word == "begun"
    async with Payer(url, type=str) as other:

        async def pay(run: Run) -> str:
            assert run.fence > int(fence)
            return "paid by another"

        with pytest.raises(RunInProgress) as caught:
            await other.payments.run_once("a", pay)
        assert 0 < caught.value.retry_after <= 0.5
        dying.process.kill()
        began = time.monotonic()
        async with asyncio.timeout(5):
            assert await other.payments.run_once("a", pay, wait=5) == "paid by another"
        assert time.monotonic() - began < 1
    assert payments_in(book) == []


async def test_stopped_process_that_goes_on_is_told_and_does_not_pay(
    start: Callable[[str, str], _Process], book: Path, url: str
) -> None:
    stopped = start("once", "a")
    assert (await asyncio.to_thread(stopped.hears)).startswith("begun")
    os.kill(stopped.process.pid, signal.SIGSTOP)
    async with Payer(url, type=str) as other, asyncio.timeout(10):

        async def pay(run: Run) -> str:
            return "paid by another"

        assert await other.payments.run_once("a", pay, wait=5) == "paid by another"
        os.kill(stopped.process.pid, signal.SIGCONT)
        stopped.told()
        assert await asyncio.to_thread(stopped.hears) == "lost expired"
        assert await other.payments.run_once("a", pay) == "paid by another"
    assert payments_in(book) == []


async def test_two_processes_racing_pay_each_key_once_and_agree(
    start: Callable[[str, str], _Process], book: Path
) -> None:
    count = 150
    racing = [start("race", str(count)) for _ in range(2)]
    async with asyncio.timeout(40):
        said = [(await asyncio.to_thread(one.hears)).split() for one in racing]
    assert said[0] == said[1]
    assert len(said[0]) == 1 + count
    assert sorted(payments_in(book), key=int) == [str(number) for number in range(count)]
    assert len({line.split()[1] for line in book.read_text().splitlines()}) == 2, "no race"
