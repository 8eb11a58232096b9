"""One connection under cancellation, silence, stalls and cuts: nobody gets another's reply.

Promise 6: a cancelled, timed-out or abandoned command can never desynchronise the connection or
hand a reply to the wrong caller. Every command here asks for a number of its own.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client
from millpond.errors import BackendTimeout, BackendUnavailable
from millpond.events import WireDown
from tests.support.conversation import bulk
from tests.support.proxy import Proxy
from tests.support.recovery import recovered
from tests.support.scripted import ScriptedServer
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.events import Event

pytestmark = pytest.mark.both_loops


@pytest.mark.parametrize("seed", [1, 2])
async def test_ten_thousand_commands_cancelled_at_random_disturb_no_other(
    url: str, seed: int
) -> None:
    dice = random.Random(seed)
    async with Client.from_url(url, max_inflight=2_000) as client:
        kept: list[tuple[int, asyncio.Future[Any]]] = []
        doomed: list[asyncio.Future[Any]] = []
        left = [True] * 10_000 + [False] * 10_000
        dice.shuffle(left)
        for number, stays in enumerate(left):
            answer = client.call("ECHO", number)
            if stays:
                kept.append((number, answer))
            else:
                doomed.append(answer)
            while doomed and dice.random() < 0.5:
                doomed.pop(dice.randrange(len(doomed))).cancel()
            if dice.random() < 0.02:
                await asyncio.sleep(0)
        for answer in doomed:
            answer.cancel()
        replies = await asyncio.gather(*[answer for _, answer in kept])
        assert replies == [b"%d" % number for number, _ in kept]
        assert client.statistics().in_flight <= 10_000
        assert await client.call("ECHO", "last") == b"last"
        assert client.statistics().in_flight == 0


async def test_tasks_cancelled_at_any_await_disturb_no_other(url: str) -> None:
    dice = random.Random(3)
    async with Client.from_url(url) as client:

        async def ask(number: int) -> None:
            key = f"k{number}"
            assert await client.call("SET", key, number, "EX", 100) == b"OK"
            assert await client.call("GET", key) == b"%d" % number
            assert await client.pipeline([("GET", key), ("ECHO", number)]) == [b"%d" % number] * 2
            async with client.watch(key) as watch:
                assert watch.value == b"%d" % number

        tasks = [asyncio.create_task(ask(number)) for number in range(500)]
        for _ in range(20):
            dice.choice(tasks).cancel()
            await asyncio.sleep(0)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, asyncio.CancelledError | None)] == []
        assert ends.count(None) >= 480


async def test_replies_that_waited_in_the_socket_while_the_loop_stalled_condemn_nobody(
    url: str,
) -> None:
    events: list[Event] = []
    async with Client.from_url(url, command_timeout=0.15, hooks=[events.append]) as client:
        for turns in (1, 2, 5):
            answers = [client.call("ECHO", number) for number in range(1000)]
            for _ in range(turns):
                await asyncio.sleep(0)
            time.sleep(0.45)  # three timeouts in which nothing is read
            assert await asyncio.gather(*answers) == [b"%d" % number for number in range(1000)]
        assert client.statistics().reconnects == 0
    assert not [event for event in events if isinstance(event, WireDown)]


async def test_stall_between_calling_and_sending_is_not_the_servers_fault(url: str) -> None:
    async with Client.from_url(url, command_timeout=0.1) as client:

        async def stall() -> None:
            time.sleep(0.3)

        stalling = asyncio.create_task(stall())
        answers = [client.call("ECHO", number) for number in range(1000)]
        assert await asyncio.gather(*answers) == [b"%d" % number for number in range(1000)]
        await stalling
        assert client.statistics().reconnects == 0


async def test_reply_that_trickles_in_is_waited_for() -> None:
    frame = bulk(b"x" * 100)
    async with ScriptedServer(lambda command: b"" if command == "GET big" else None) as server:
        async with Client.from_url(server.url, command_timeout=0.2) as client:
            value = asyncio.ensure_future(client.call("GET", "big"))
            for place in range(0, len(frame), 20):  # more than twice the timeout in all
                server.say(frame[place : place + 20])
                await asyncio.sleep(0.08)
            assert await value == b"x" * 100
            assert client.statistics().reconnects == 0


async def test_server_that_never_answers_costs_one_timeout_and_then_nothing(
    server: Server,
) -> None:
    events: list[Event] = []
    async with Proxy(server.port) as proxy:
        async with Client.from_url(
            proxy.url, command_timeout=0.3, connect_timeout=0.3, hooks=[events.append]
        ) as client:
            assert await client.call("PING") == b"PONG"
            proxy.black_hole()
            proxy.to_client.swallow()
            began = time.monotonic()
            calls = [client.call("ECHO", number) for number in range(100)]
            calls += [client.pipeline([("ECHO", 1), ("ECHO", 2)], transaction=True)]
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(end) for end in ends} == {BackendTimeout}
            assert 0.25 < time.monotonic() - began < 0.9
            for _ in range(1000):
                call = client.call("PING")
                assert call.done()  # at once: not even a turn of the loop
                assert isinstance(call.exception(), BackendUnavailable)
            assert client.statistics().state == "down"
            proxy.to_client.behave()
            await proxy.accept()
            proxy.cut_all()
            await recovered(client)
    assert len([event for event in events if isinstance(event, WireDown)]) == 1


async def test_server_that_never_answers_is_a_warning_at_opening_and_no_error(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with Proxy(server.port) as proxy:
        proxy.black_hole()
        client = Client.from_url(proxy.url, command_timeout=5, connect_timeout=0.2)
        began = time.monotonic()
        async with client:
            assert 0.15 < time.monotonic() - began < 1
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            assert "WireDown" in caplog.text
            assert isinstance(client.call("PING").exception(), BackendUnavailable)
            await proxy.accept()
            await recovered(client)


async def test_frozen_server_costs_one_timeout_and_recovers_when_it_thaws(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    events: list[Event] = []
    async with Client.from_url(
        server.url, command_timeout=0.3, connect_timeout=0.3, hooks=[events.append]
    ) as client:
        assert await client.call("PING") == b"PONG"
        server.pause()
        began = time.monotonic()
        ends = await asyncio.gather(
            *[client.call("INCR", "k") for _ in range(10)], return_exceptions=True
        )
        assert {type(end) for end in ends} == {BackendTimeout}
        assert 0.25 < time.monotonic() - began < 0.9
        assert isinstance(client.call("PING").exception(), BackendUnavailable)
        server.resume()
        await recovered(client)
        answers = [client.call("ECHO", number) for number in range(100)]
        assert await asyncio.gather(*answers) == [b"%d" % number for number in range(100)]
    assert len([event for event in events if isinstance(event, WireDown)]) == 1


async def test_silence_while_nothing_is_asked_is_no_outage(server: Server) -> None:
    async with Client.from_url(server.url, command_timeout=0.05) as client:
        for _ in range(3):
            await asyncio.sleep(0.15)
            assert await client.call("PING") == b"PONG"
        assert client.statistics().reconnects == 0


async def test_full_socket_holds_what_is_queued_and_then_sends_it_all(server: Server) -> None:
    async with Proxy(server.port) as proxy, Client.from_url(proxy.url, command_timeout=5) as client:
        connection = proxy.connections[0]
        connection.to_server.stop_reading()
        value = b"v" * 100_000
        answers = [client.call("SET", f"k{number}", value, "EX", 100) for number in range(100)]
        await asyncio.sleep(0.05)
        later = [client.call("STRLEN", f"k{number}") for number in range(100)]
        await asyncio.sleep(0.05)
        assert not any(answer.done() for answer in (*answers, *later))
        connection.to_server.behave()
        assert set(await asyncio.gather(*answers)) == {b"OK"}
        assert set(await asyncio.gather(*later)) == {100_000}
