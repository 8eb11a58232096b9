"""Watching real keys: every kind of change wakes, nothing else does, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from millpond import Client, Watch
from millpond.errors import BackendError
from millpond.events import ServerLimited
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from millpond.events import Event

PATIENCE = 5.0  # seconds; nothing here takes more than some milliseconds


@pytest.fixture
async def other(url: str) -> AsyncIterator[Client]:
    """Somebody else's client on the same server."""
    async with Client.from_url(url) as other:
        yield other


@contextlib.asynccontextmanager
async def waiting(client: Client, key: str) -> AsyncGenerator[tuple[Watch, asyncio.Task[bool]]]:
    """Watch a key, with a task that waits for its next change."""
    async with client.watch(key) as watch:
        task = asyncio.create_task(watch.changed(timeout=PATIENCE))
        await asyncio.sleep(0)
        yield watch, task
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


CHANGES: list[tuple[tuple[str, ...], bytes | None]] = [
    (("SET", "k", "new", "EX", "100"), b"new"),
    (("DEL", "k"), None),
    (("UNLINK", "k"), None),
    (("APPEND", "k", "er"), b"older"),
    (("RENAME", "k", "k2"), None),
    (("FLUSHALL",), None),
    (("FLUSHDB",), None),
    (("EVAL", "redis.call('SET', KEYS[1], 'lua', 'EX', 100)", "1", "k"), b"lua"),
    (("GETDEL", "k"), None),
    (("PEXPIRE", "k", "0"), None),
]


@pytest.mark.parametrize(("change", "value"), CHANGES, ids=lambda part: str(part)[:20])
async def test_any_change_by_anybody_wakes(
    client: Client, other: Client, change: tuple[str, ...], value: bytes | None
) -> None:
    for changer in (other, client):
        await client.call("SET", "k", "old", "EX", 100)
        async with waiting(client, "k") as (watch, task):
            assert watch.value == b"old"
            await changer.call(*change)
            assert await task is True
            assert watch.value == value


async def test_every_server_wakes(flavoured_server: Server) -> None:
    async with Client.from_url(flavoured_server.url) as client:
        async with waiting(client, "k") as (watch, task):
            assert (watch.value, watch.ttl) == (None, None)
            flavoured_server.execute("SET", "k", "v", "EX", 100)
            assert await task is True
            assert watch.value == b"v"
            assert watch.ttl is not None
            assert 90 < watch.ttl <= 100


async def test_expiry_is_seen_at_the_keys_own_deadline(client: Client) -> None:
    await client.call("SET", "k", "v", "PX", 50)
    async with client.watch("k") as watch:
        assert watch.expires is not None
        left = watch.expires - asyncio.get_running_loop().time()
        assert 0 < left < 0.06
        # The push may be seconds late, the timer is not; PTTL counts whole milliseconds.
        await watch.changed(timeout=left + 0.01)
        assert await client.call("GET", "k") is None


async def test_change_of_the_ttl_alone_wakes_nobody_and_arms_again(
    client: Client, server: Server
) -> None:
    await client.call("SET", "k", "v", "EX", 100)
    async with waiting(client, "k") as (watch, task):
        for seconds in (200, 300, 400):
            await client.call("EXPIRE", "k", seconds)
            async with asyncio.timeout(PATIENCE):
                while watch.ttl is None or round(watch.ttl) != seconds:
                    await asyncio.sleep(0.002)
            assert not task.done()
        server.execute("SET", "k", "w", "EX", 100)
        assert await task is True
        assert watch.value == b"w"


async def test_other_keys_and_plain_reads_wake_nobody(client: Client, other: Client) -> None:
    await client.call("SET", "k", "v", "EX", 100)
    async with waiting(client, "k") as (_, task):
        commands = client.statistics().commands
        for _ in range(20):
            await other.call("SET", "k2", "v", "EX", 100)
            await other.call("GET", "k")
        assert await client.call("PING") == b"PONG"
        assert client.statistics().commands == commands + 1
        assert not task.done()


async def test_change_made_between_the_reply_and_the_wait_is_never_lost(
    client: Client, other: Client
) -> None:
    """Registering the watcher when the awaiting task resumes lost 261 of 300."""
    for number in range(300):
        await client.call("SET", "k", f"{number}", "EX", 100)
        reading = client.watch("k")
        entering = asyncio.ensure_future(reading.__aenter__())
        changing = asyncio.ensure_future(other.call("SET", "k", f"{number}!", "EX", 100))
        watch = await entering
        if number % 3 == 1:
            await changing
        elif number % 3 == 2:
            await asyncio.sleep(0)
        if watch.value != b"%d!" % number:
            assert watch.value == b"%d" % number
            assert await watch.changed(timeout=PATIENCE) is True
        assert watch.value == b"%d!" % number
        await changing
        await watch.__aexit__(None, None, None)
    assert len(client.watches) == 0


async def test_waits_cancelled_at_random_lose_no_change(client: Client, other: Client) -> None:
    async with client.watch("k") as watch:
        for number in range(200):
            task = asyncio.create_task(watch.changed(timeout=PATIENCE))
            changing = other.call("SET", "k", number, "EX", 100)
            for _ in range(number % 7):
                await asyncio.sleep(0)
            if number % 5 == 0:
                await changing
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await changing
            while watch.value != b"%d" % number:
                assert await watch.changed(timeout=PATIENCE) is True


async def test_many_watchers_of_one_key_are_all_woken(client: Client, other: Client) -> None:
    async with contextlib.AsyncExitStack() as stack:
        tasks = [(await stack.enter_async_context(waiting(client, "k")))[1] for _ in range(100)]
        await other.call("SET", "k", "v", "EX", 100)
        assert await asyncio.gather(*tasks) == [True] * 100


async def test_plain_reads_cost_the_server_no_tracking(client: Client, server: Server) -> None:
    await asyncio.gather(*[client.call("SET", f"k{n}", n, "EX", 100) for n in range(100)])
    await asyncio.gather(*[client.call("GET", f"k{n}") for n in range(100)])
    await client.pipeline([("GET", f"k{n}") for n in range(100)])
    assert server.execute("INFO", "stats")["tracking_total_keys"] == 0
    tracking = await client.call("CLIENT", "TRACKINGINFO")
    assert set(tracking[b"flags"]) == {b"on", b"optin"}
    async with client.watch("k1"):
        await client.call("GET", "k2")
        assert server.execute("INFO", "stats")["tracking_total_keys"] == 1


# -- losing the connection ---------------------------------------------------------------------


async def test_killed_connection_wakes_and_the_watch_goes_on_after_it(
    client: Client, other: Client
) -> None:
    await client.call("SET", "k", "old", "EX", 100)
    async with waiting(client, "k") as (watch, task):
        mine = await client.call("CLIENT", "ID")
        assert await other.call("CLIENT", "KILL", "ID", mine) == 1
        await other.call("SET", "k", "meanwhile", "EX", 100)
        with pytest.raises(BackendError):
            await task
        assert await watch.changed(timeout=PATIENCE) is True  # woken by the reconnect
        assert watch.value == b"meanwhile"
        again = asyncio.create_task(watch.changed(timeout=PATIENCE))
        await asyncio.sleep(0)
        await other.call("DEL", "k")
        assert await again is True
        assert watch.value is None


async def test_restarted_server_wakes(start_server: Callable[[Server], Server]) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url) as client:
        await client.call("SET", "k", "v", "EX", 100)
        async with waiting(client, "k") as (watch, task):
            server.restart()
            with pytest.raises(BackendError):
                await task
            assert await watch.changed(timeout=PATIENCE) is True
            assert watch.value is None  # it came back empty


# -- where nothing is pushed -------------------------------------------------------------------


async def polls(client: Client, server: Server) -> None:
    """Check that changes are found all the same, and pauses kept."""
    assert client.pushes is False
    with server.redis(protocol=2) as behind:
        behind.execute_command("CONFIG", "RESETSTAT")
        async with waiting(client, "k") as (watch, task):
            assert watch.value is None
            await asyncio.sleep(0.4)
            behind.execute_command("SET", "k", "v", "PX", 60_000)
            assert await task is True
            assert watch.value == b"v"
            assert watch.ttl is not None
            assert await watch.changed(timeout=0.05) is False
        calls = behind.info("commandstats")["cmdstat_get"]["calls"]
    assert calls < 20  # not a busy loop: the pauses grow, with jitter


async def test_polling_where_the_acl_forbids_tracking(server: Server) -> None:
    events: list[Event] = []
    try:
        server.execute("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-client|tracking")
    except redis.ResponseError:
        pytest.skip("this server's ACL cannot forbid a subcommand")
    try:
        url = server.url.replace("redis://", "redis://u:pw@")
        async with Client.from_url(url, hooks=[events.append]) as client:
            await polls(client, server)
    finally:
        server.execute("ACL", "DELUSER", "u")
    _said_once(events, "CLIENT TRACKING is refused")


async def test_polling_where_the_server_speaks_no_resp3(
    start_server: Callable[[Server], Server],
) -> None:
    events: list[Event] = []
    server = start_server(Server(args=["--rename-command", "HELLO", ""]))
    async with Client.from_url(server.url, hooks=[events.append]) as client:
        await polls(client, server)
        assert await client.call("HGETALL", "absent") == []  # RESP2 has no maps
    _said_once(events, "RESP3 is refused")


def _said_once(events: list[Event], text: str) -> None:
    [limited] = [event for event in events if isinstance(event, ServerLimited)]
    assert limited.subject == "push"
    assert text in limited.consequence
    assert "polls" in limited.consequence


# -- in this process ---------------------------------------------------------------------------

SIGNALS: list[tuple[Any, ...]] = [
    ("SET", "k", "new", "EX", 100),
    (b"SET", b"k", b"new", "EX", 100),
    ("DEL", "k"),
    ("MSET", "a", 1, "k", 2),
    ("RENAME", "k", "k2"),
    ("EVAL", "redis.call('SET', KEYS[1], 'lua')", 1, "k"),
    ("FLUSHALL",),
    ("flushdb",),
]


@pytest.mark.parametrize("change", SIGNALS, ids=str)
async def test_memory_wakes_on_what_passes_through_this_process(change: tuple[Any, ...]) -> None:
    async with (
        Client.from_url("memory://watched") as client,
        Client.from_url("memory://watched") as other,
    ):
        for changer in (client, other):
            await client.call("SET", "k", "old", "EX", 100)
            async with waiting(client, "k") as (watch, task):
                assert watch.value == b"old"
                commands = client.statistics().commands
                await changer.call(*change)
                assert await task is True
                assert watch.value != b"old"
                assert client.statistics().commands <= commands + 4  # told, not asking


async def test_memory_wakes_a_watcher_on_another_threads_loop() -> None:
    watching = threading.Event()

    async def watch() -> tuple[bool, float]:
        async with Client.from_url("memory://threads") as client, client.watch("k") as watch:
            asyncio.get_running_loop().call_soon(watching.set)  # once it waits
            begun = time.monotonic()
            return await watch.changed(timeout=PATIENCE), time.monotonic() - begun

    async with Client.from_url("memory://threads") as client:
        elsewhere = asyncio.create_task(asyncio.to_thread(asyncio.run, watch()))
        await asyncio.to_thread(watching.wait)
        await client.call("SET", "k", "v", "EX", 100)
        changed, seconds = await elsewhere
    assert changed
    assert seconds < PATIENCE / 2  # woken, and not by its own timer


async def test_memory_wakes_on_a_key_that_is_written_as_a_number() -> None:
    async with Client.from_url("memory://") as client:
        async with waiting(client, "42") as (watch, task):
            await client.call("SET", 42, "v", "EX", 100)
            assert await task is True
            assert watch.value == b"v"
