"""Somebody else's redis client as the way to Redis: real, fake, and the ones that are refused."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import fakeredis
import pytest
import redis
import redis.asyncio

from millpond import Cache, Client, Script
from millpond.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ClosedError,
    ConfigError,
    ReplyError,
)
from millpond.events import WireDown
from tests.support.fleet import until
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from millpond.events import Event

Redis = cast("Any", redis.asyncio.Redis)


@pytest.fixture(params=["real", "resp2", "fake"])
async def theirs(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Any]:
    """A client that is not ours to close."""
    if request.param == "fake":
        theirs = cast("Any", fakeredis).FakeAsyncRedis()
    else:
        theirs = Redis.from_url(url, protocol=2 if request.param == "resp2" else 3)
    yield theirs
    await theirs.aclose()


@pytest.fixture
async def client(theirs: Any) -> AsyncIterator[Client]:
    async with Client.from_redis(theirs, prefix="t") as client:
        yield client


async def test_calls_give_the_replies_of_redis_undecoded(client: Client) -> None:
    assert await client.call("SET", "k", b"\x00\xff", "EX", 100) == b"OK"
    assert await client.call("GET", "k") == b"\x00\xff"
    assert await client.call("GET", "absent") is None
    assert await client.call("EXISTS", "k", "absent") == 1
    assert await client.call("SET", "grün", "漢字", "EX", 100) == b"OK"
    assert await client.call("GET", "grün".encode()) == "漢字".encode()
    assert await client.pipeline([("INCR", "n"), ("EXPIRE", "n", 100)]) == [1, 1]
    assert await client.pipeline([("GET", "n"), ("GET", "k")]) == [b"1", b"\x00\xff"]


async def test_order_of_calls_is_the_order_of_running(client: Client) -> None:
    answers: list[Any] = []
    for number in range(300):
        answers.append(client.call("SET", "k", number, "EX", 100))
        answers.append(client.call("GET", "k"))
        if number % 50 == 0:
            await asyncio.sleep(0)
    replies = await asyncio.gather(*answers)
    assert replies[1::2] == [b"%d" % number for number in range(300)]


async def test_one_turn_of_the_loop_is_one_pipeline(client: Client) -> None:
    before = client.statistics().batches
    answers = [client.call("ECHO", number) for number in range(100)]
    for _ in range(2):  # queued, then in the pipeline
        assert client.statistics().in_flight == 100
        await asyncio.sleep(0)
    assert await asyncio.gather(*answers) == [b"%d" % number for number in range(100)]
    assert client.statistics().batches == before + 1
    assert client.statistics().in_flight == 0


async def test_cancelled_calls_disturb_no_other(client: Client) -> None:
    answers = {number: client.call("ECHO", number) for number in range(500)}
    for number in range(0, 500, 3):
        answers.pop(number).cancel()
    await asyncio.sleep(0)
    for number in range(1, 500, 3):
        answers.pop(number).cancel()
    assert await asyncio.gather(*answers.values()) == [b"%d" % number for number in answers]


async def test_transaction_runs_as_one_and_gives_its_errors(client: Client) -> None:
    both = client.pipeline([("SET", "k", "x", "EX", 100), ("GET", "k")], transaction=True)
    alone = client.call("ECHO", 1)
    assert await both == [b"OK", b"x"]
    assert await alone == b"1"
    commands = [("SET", "k", "x", "EX", 100), ("INCR", "k")]
    with pytest.raises(ReplyError, match="not an integer"):
        await client.pipeline(commands, transaction=True)
    fine, error = await client.pipeline(commands, transaction=True, return_errors=True)
    assert fine == b"OK"
    assert isinstance(error, ReplyError)


async def test_error_replies_have_the_codes_of_redis(client: Client) -> None:
    await client.call("SET", "k", "text", "EX", 100)
    calls = [client.call("LPUSH", "k", "v"), client.call("INCR", "k"), client.call("NOSUCH")]
    calls += [client.run(Script("return redis.error_reply('MINE oh')")), client.call("GET", "k")]
    *errors, fine = await asyncio.gather(*calls, return_exceptions=True)
    codes = [error.code for error in errors if isinstance(error, ReplyError)]
    assert codes == ["WRONGTYPE", "ERR", "ERR", "MINE"]
    assert fine == b"text"


async def test_script_that_is_unknown_is_sent_whole(client: Client) -> None:
    script = Script("redis.call('SET', KEYS[1], ARGV[1], 'EX', 100) return ARGV[1]")
    for value in ("1", "2"):
        assert await client.run(script, keys=["k"], args=[value]) == value.encode()
    assert await client.call("GET", "k") == b"2"


async def test_watching_polls_and_own_writes_are_seen_at_once(client: Client, theirs: Any) -> None:
    assert client.pushes is False
    async with client.watch("k") as watch:
        assert watch.value is None
        task = asyncio.create_task(watch.changed(timeout=5))
        await asyncio.sleep(0)
        await theirs.set("k", "theirs", ex=100)
        assert await task is True
        assert watch.value == b"theirs"
        task = asyncio.create_task(watch.changed(timeout=5))
        await asyncio.sleep(0)
        await client.call("SET", "k", "ours", "EX", 100)
        assert await task is True
        assert watch.value == b"ours"


async def test_cache_loads_once_over_it(client: Client) -> None:
    users = Cache(client, "user", type=str, ttl=60)
    loads = 0

    async def load() -> str:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        return "ada"

    got = await asyncio.gather(*[users.get_or_set(1, load) for _ in range(100)])
    assert (set(got), loads) == ({"ada"}, 1)
    assert await users.delete(1) is True
    assert not await users.get(1)


async def test_their_client_stays_theirs_and_may_be_used_again(theirs: Any) -> None:
    client = Client.from_redis(theirs)
    for _ in range(3):
        async with client:
            assert await client.call("ECHO", "x") == b"x"
        with pytest.raises(ClosedError):
            client.call("PING")
    assert await theirs.echo("still theirs") == b"still theirs"


async def test_closing_fails_what_is_in_flight(start_server: Callable[[Server], Server]) -> None:
    server = start_server(Server())
    async with Redis.from_url(server.url) as theirs:
        async with Client.from_redis(theirs) as client:
            server.pause()
            sent = [client.call("ECHO", n) for n in range(10)]
            await asyncio.sleep(0.01)
            queued = [client.call("ECHO", n) for n in range(10)]
        for future in (*sent, *queued):
            assert isinstance(future.exception(), BackendUnavailable)
        server.resume()
        async with client:
            assert await client.call("ECHO", "fine") == b"fine"


async def test_closing_among_deletes_of_tags_leaves_all_of_them_owed_and_nobody_waiting(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Redis.from_url(server.url) as theirs:
        client = Client.from_redis(theirs, prefix="t", hooks=[])
        users = Cache(client, "user", type=str, ttl=60)
        async with client:
            server.pause()
            sent = asyncio.create_task(users.delete_tags("a"))
            await until(lambda: client.statistics().in_flight)
            queued = asyncio.create_task(users.delete_tags("b", "c"))
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert [await sent, await queued] == [False, False]
        assert client.statistics().journal == 4  # of the epoch and three tags
        server.resume()
        async with client:
            await until(lambda: client.statistics().journal == 0)


async def test_frozen_server_costs_each_call_a_timeout_and_mixes_up_no_replies(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Redis.from_url(server.url) as theirs:
        async with Client.from_redis(theirs, command_timeout=0.2) as client:
            server.pause()
            began = time.monotonic()
            calls = [client.call("ECHO", number) for number in range(50)]
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(end) for end in ends} == {BackendTimeout}
            assert time.monotonic() - began < 1
            server.resume()
            for number in range(50, 60):
                assert await client.call("ECHO", number) == b"%d" % number


async def test_server_that_is_gone_is_a_warning_at_opening_and_an_error_at_calls(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(requirepass="geheim"))
    events: list[Event] = []
    async with Redis.from_url(server.url, retry=None) as theirs:
        server.kill()
        async with Client.from_redis(theirs, hooks=[events.append]) as client:
            [event] = events
            assert isinstance(event, WireDown)
            assert event.address == f"127.0.0.1:{server.port}"
            with pytest.raises(BackendError):
                await client.call("PING")
            server.start()
            async with asyncio.timeout(5):
                while True:
                    try:
                        assert await client.call("ECHO", 1) == b"1"
                    except BackendError:
                        await asyncio.sleep(0.01)
                    else:
                        break


async def test_surprise_inside_their_client_fails_the_calls_and_the_next_ones_work(
    theirs: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client.from_redis(theirs) as client:
        with monkeypatch.context() as patch:

            def broken(*_: Any) -> None:
                raise LookupError("what is this?")

            patch.setattr(theirs.connection_pool, "get_connection", broken)
            with pytest.raises(BackendUnavailable):
                await asyncio.wait_for(client.call("PING"), 5)
        assert "LookupError: what is this?" in caplog.text
        assert await client.call("ECHO", 1) == b"1"


async def test_their_encoding_makes_no_difference_to_keys(url: str) -> None:
    async with Redis.from_url(url, encoding="latin-1") as theirs:
        async with Client.from_redis(theirs) as client:
            await client.call("SET", "grün 漢", "é漢", "EX", 100)
            assert await client.call("GET", "grün 漢".encode()) == "é漢".encode()


async def test_clients_that_would_garble_or_block_are_refused(url: str) -> None:
    async with Redis.from_url(url, decode_responses=True) as decoding:
        with pytest.raises(ConfigError, match=r"decode_responses=True.*from_url"):
            Client.from_redis(decoding)
    with cast("Any", redis.Redis).from_url(url) as blocking:
        with pytest.raises(ConfigError, match=r"redis\.client\.Redis.*synchronous.*from_url"):
            Client.from_redis(blocking)
    fake = cast("Any", fakeredis).FakeRedis()
    with pytest.raises(ConfigError, match="synchronous"):
        Client.from_redis(fake)
    cluster = object.__new__(redis.asyncio.RedisCluster)
    with pytest.raises(ConfigError, match="RedisCluster"):
        Client.from_redis(cluster)
    for nonsense in (None, url, object()):
        with pytest.raises(ConfigError, match=r"redis\.asyncio\.Redis"):
            Client.from_redis(nonsense)
