"""The client on real servers: opened, used, closed, and opened again, on one loop and the next."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import uvloop

from millpond import Cache, Client, Script
from millpond.errors import BackendTimeout, BackendUnavailable, ClosedError
from millpond.events import WireDown, WireUp
from tests.support.fleet import until
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.events import Event

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    asyncio.new_event_loop,
    uvloop.new_event_loop,
]


def connections(server: Server) -> int:
    """Count the server's clients, but for the one that asks."""
    return int(server.execute("INFO", "clients")["connected_clients"]) - 1


async def test_every_server_answers_calls_pipelines_and_scripts(flavoured_server: Server) -> None:
    async with Client.from_url(flavoured_server.url, name="web-1") as client:
        assert await client.call("SET", "k", b"\x00\xff", "EX", 100) == b"OK"
        assert await client.call("GET", "k") == b"\x00\xff"
        assert await client.call("GET", "absent") is None
        assert await client.call("HSET", "h", "f", 1.5) == 1
        assert await client.call("HGETALL", "h") == {b"f": b"1.5"}
        assert await client.call("EXPIRE", "h", 100) == 1
        assert await client.call("CLIENT", "GETNAME") == b"web-1"
        both = client.pipeline([("INCR", "n"), ("PEXPIRE", "n", 1000)], transaction=True)
        assert await both == [1, 1]
        script = Script("redis.call('SET', KEYS[1], ARGV[1], 'EX', 100) return ARGV[1]")
        assert await client.run(script, keys=["s"], args=["v"]) == b"v"
        assert await client.run(script, keys=["s"], args=[2]) == b"2"
        statistics = client.statistics()
        assert (statistics.state, statistics.in_flight, statistics.reconnects) == ("up", 0, 0)


@pytest.mark.parametrize("transport", ["tcp", "unix"])
@pytest.mark.parametrize("password", [None, "ge:he/im@"])
async def test_address_of_every_kind_is_reached(
    start_server: Callable[[Server], Server], transport: Any, password: str | None
) -> None:
    server = start_server(Server(transport=transport, requirepass=password))
    url = server.url
    if password is not None:
        url = url.replace(password, "ge%3Ahe%2Fim%40")
    url = url.replace("db=0", "db=3") if transport == "unix" else url.removesuffix("0") + "3"
    async with Client.from_url(url) as client:
        await client.call("SET", "k", "v", "EX", 100)
        assert b" db=3 " in await client.call("CLIENT", "INFO")


async def test_one_turn_of_the_loop_is_one_write(client: Client) -> None:
    before = client.statistics()
    answers = [client.call("ECHO", number) for number in range(100)]
    answers += [client.call("GET", "same") for _ in range(100)]
    await asyncio.gather(*answers)
    after = client.statistics()
    assert after.batches == before.batches + 1
    assert after.commands == before.commands + 101


async def test_limit_is_kept_while_every_caller_is_served(url: str) -> None:
    async with Client.from_url(url, max_inflight=7) as client:
        answers = [client.call("ECHO", number) for number in range(500)]
        assert client.statistics().in_flight == 500
        await asyncio.sleep(0)
        for answer in answers[100:200]:
            answer.cancel()
        kept = answers[:100] + answers[200:]
        numbers = [*range(100), *range(200, 500)]
        assert await asyncio.gather(*kept) == [b"%d" % number for number in numbers]


async def test_large_values_pass_both_ways(url: str) -> None:
    value = bytes(range(256)) * 40_000
    async with Client.from_url(url, command_timeout=5) as client:
        sets = [client.call("SET", f"k{n}", value, "EX", 100) for n in range(5)]
        assert await asyncio.gather(*sets) == [b"OK"] * 5
        assert await asyncio.gather(*[client.call("GET", f"k{n}") for n in range(5)]) == [value] * 5


def test_client_is_opened_and_closed_on_several_loops_in_turn(server: Server) -> None:
    client = Client.from_url(server.url)  # no loop runs yet

    async def use(number: int) -> None:
        async with client:
            assert await client.call("ECHO", number) == b"%d" % number
            answers = [client.call("ECHO", n) for n in range(100)]
            assert await asyncio.gather(*answers) == [b"%d" % n for n in range(100)]
            assert client.statistics().reconnects == 0

    for number in range(6):
        with asyncio.Runner(loop_factory=LOOPS[number % 2]) as runner:
            for _ in range(2):
                runner.run(use(number))
        assert client.statistics().state == "closed"
    gc.collect()  # a socket left open would be a ResourceWarning, and an error
    assert connections(server) == 0


@pytest.mark.both_loops
async def test_opening_and_closing_again_and_again_leaves_nothing_behind(server: Server) -> None:
    client = Client.from_url(server.url)
    for _ in range(30):
        async with client:
            assert await client.call("PING") == b"PONG"
    for _ in range(5):
        async with client:
            pass
    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with asyncio.timeout(5):
        while connections(server):
            await asyncio.sleep(0.005)


@pytest.mark.both_loops
async def test_closing_with_commands_in_flight_fails_each_of_them_at_once(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url, max_inflight=50) as client:
        server.pause()
        sent = [client.call("ECHO", n) for n in range(60)]
        await asyncio.sleep(0)
        pipeline = client.pipeline([("ECHO", 1)], transaction=True)
        script = client.run(Script("return 1"))
        waiting = [asyncio.ensure_future(client.call("ECHO", n)) for n in range(10)]
    for future in (*sent, pipeline, script, *waiting):
        assert future.done()
        assert isinstance(future.exception(), BackendUnavailable)
    server.resume()
    async with client:
        assert await client.call("ECHO", "again") == b"again"


async def test_what_was_called_in_the_turn_of_closing_is_still_sent(
    client: Client, server: Server
) -> None:
    await client.call("SET", "k", "v", "EX", 100)
    last = client.call("DEL", "k")
    await client.aclose()
    assert last.done()
    async with asyncio.timeout(5):
        while server.execute("EXISTS", "k"):
            await asyncio.sleep(0.005)


@pytest.mark.both_loops
async def test_closing_does_not_wait_for_a_frozen_server_to_take_what_is_queued(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    client = Client.from_url(server.url, command_timeout=0.3)
    await client.__aenter__()
    server.pause()
    call = client.call("SET", "k", b"x" * 20_000_000, "EX", 100)  # more than any socket holds
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await client.aclose()
    assert isinstance(call.exception(), BackendUnavailable)
    gc.collect()


@pytest.mark.both_loops
async def test_closing_in_a_cancelled_scope_closes_the_connection(server: Server) -> None:
    client = Client.from_url(server.url)
    with anyio.CancelScope() as scope:
        async with client:
            assert connections(server) == 1
            scope.cancel()
            await anyio.sleep_forever()
    assert client.statistics().state == "closed"
    async with asyncio.timeout(5):
        while connections(server):
            await asyncio.sleep(0.005)
    async with client:
        assert await client.call("PING") == b"PONG"


async def test_opening_cancelled_leaves_the_client_closed(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    server.pause()
    client = Client.from_url(server.url, command_timeout=5, connect_timeout=5)
    opening = asyncio.create_task(client.__aenter__())
    await asyncio.sleep(0.05)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert client.statistics().state == "closed"
    with pytest.raises(ClosedError):
        client.call("PING")
    server.resume()
    async with client:
        assert await client.call("PING") == b"PONG"


@pytest.mark.parametrize("where", ["embedded://", "memory://"])
async def test_calls_while_the_client_is_being_closed_are_refused_and_never_hang(
    where: str,
) -> None:
    client = Client.from_url(where)
    await client.__aenter__()
    assert await client.call("PING") in {b"PONG", True}
    call, answers = client.call, list[Any]()
    closing = asyncio.create_task(client.aclose())
    while not closing.done():
        await asyncio.sleep(0)
        for one in (client.call, call):
            with contextlib.suppress(ClosedError):
                answers.append(one("PING"))
    for end in await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 5):
        assert isinstance(end, BackendUnavailable | ClosedError) or end in {b"PONG", True}
    for one in (client.call, call):
        with pytest.raises(ClosedError):
            one("PING")


async def test_second_close_is_harmless(url: str) -> None:
    client = Client.from_url(url)
    await client.aclose()
    await client.__aenter__()
    await asyncio.gather(client.aclose(), client.aclose())
    await client.aclose()
    assert client.statistics().state == "closed"


def test_loop_that_ended_without_closing_leaves_a_client_that_opens_again(server: Server) -> None:
    client = Client.from_url(server.url)
    with asyncio.Runner() as runner:
        runner.run(client.__aenter__())
        transport: Any = _transport(client)

        async def cut() -> None:
            transport.abort()  # the test's own tidiness: nobody else will ever close this socket
            await asyncio.sleep(0)

        runner.run(cut())

    async def use() -> None:
        async with client:
            assert await client.call("PING") == b"PONG"

    asyncio.run(use())
    with asyncio.Runner() as runner:
        runner.run(client.__aenter__())
        transport = _transport(client)
        runner.run(cut())
    asyncio.run(client.aclose())
    assert client.statistics().state == "closed"


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_refused_delete_is_tried_again_on_another_loop_when_the_first_ended_without_closing(
    start_server: Callable[[Server], Server],
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    server = start_server(Server())
    server.execute("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-del")
    url = server.tcp_url.replace("redis://", "redis://app:secret@")
    client = Client.from_url(url, prefix="t", hooks=[])
    users = Cache(client, "user", type=str, ttl=60)

    async def refused() -> None:
        await client.__aenter__()
        assert await users.set(1, "old")
        assert await users.delete(1) is False
        transport: Any = _transport(client)
        transport.abort()
        await asyncio.sleep(0)

    async def again() -> None:
        async with client:
            assert await users.get(1) == "old"  # refused once more, as the connection was made
            server.execute("ACL", "SETUSER", "app", "+del")
            await until(lambda: client.statistics().journal == 0)
            assert await users.get(1, None) is None
            assert client.statistics().reconnects == 0

    for use in (refused, again):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(use())


def _transport(client: Client) -> Any:
    wires = [thing for thing in gc.get_objects() if type(thing).__name__ == "Wire"]
    mine = [wire for wire in wires if wire.exchange is client.lane]
    return getattr(mine[0], "_transport")  # noqa: B009


async def test_hook_that_raises_is_logged_and_harms_nobody(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []

    def broken(event: Event) -> None:
        raise LookupError(type(event).__name__)

    async with Client.from_url(url, hooks=[broken, events.append]) as client:
        assert await client.call("PING") == b"PONG"
    assert [type(event) for event in events] == [WireUp]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "LookupError: WireUp" in caplog.text


async def test_connection_killed_by_an_operator_is_made_anew(client: Client, url: str) -> None:
    assert await client.call("PING") == b"PONG"
    async with Client.from_url(url) as other:
        mine = await client.call("CLIENT", "ID")
        assert await other.call("CLIENT", "KILL", "ID", mine) == 1
    async with asyncio.timeout(5):
        while client.statistics().reconnects == 0:
            await asyncio.sleep(0.005)
    assert await client.call("PING") == b"PONG"


async def test_name_that_cannot_be_resolved_is_an_outage_and_no_error() -> None:
    events: list[Event] = []
    async with Client.from_url("redis://nowhere.invalid:6379", hooks=[events.append]) as client:
        assert [type(event) for event in events] == [WireDown]
        assert isinstance(client.call("PING").exception(), BackendUnavailable)


async def test_kept_call_follows_the_client_to_its_new_connection(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url, command_timeout=0.2) as client:
        call = client.call  # as a tight loop would
        server.pause()
        with pytest.raises(BackendTimeout):
            await call("PING")
        assert isinstance(call("PING").exception(), BackendUnavailable)
        server.resume()
        async with asyncio.timeout(5):
            while client.statistics().state != "trial":
                await asyncio.sleep(0.005)
        assert await asyncio.wait_for(call("ECHO", "new"), 1) == b"new"
