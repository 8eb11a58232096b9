"""Interleavings that a review found: each once hung, recursed or lost something."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from millpond import BackendError, Cache, Client, ConfigError, DeleteUnconfirmed
from tests.support.proxy import Proxy
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond import Event


async def test_connection_that_dies_with_its_last_greeting_is_made_again() -> None:
    """The reply to PING and a reply to nothing arrive in one piece."""
    greetings = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal greetings
        greetings += 1
        info = b"redis_version:7.2.0\r\nrun_id:abc\r\n"
        while line := await reader.readline():
            if line.startswith(b"HELLO"):
                writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n")
            elif line.startswith(b"INFO"):
                writer.write(b"$%d\r\n%s\r\n" % (len(info), info))
            elif line.startswith(b"PING"):
                writer.write(b"+PONG\r\n+X\r\n" if greetings == 1 else b"+PONG\r\n")
            elif line.startswith(b"ID"):
                writer.write(b":7\r\n")
            elif line.startswith((b"TRACKING", b"KILL")):
                writer.write(b"+OK\r\n")
            elif line.startswith(b"GET"):
                writer.write(b"$2\r\nhi\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with Client.from_url(f"redis://127.0.0.1:{port}", hooks=[]) as client:
            async with asyncio.timeout(5):
                while True:
                    try:
                        assert await client.call("GET", "key") == b"hi"
                        break
                    except BackendError:
                        await asyncio.sleep(0.01)
        assert greetings >= 2
    finally:
        server.close()
        await server.wait_closed()


async def test_delete_whose_caller_is_cancelled_while_it_waits_in_line_is_sent(
    server: Server,
) -> None:
    async with (
        Proxy(server.port) as proxy,
        Client.from_url(proxy.url, prefix="t", max_inflight=1, command_timeout=5) as client,
    ):
        users = Cache(client, "n", type=int, ttl=60)
        assert await users.set(1, 1)
        proxy.connections[0].to_client.hold()
        stuck = client.call("PING")
        deleting = asyncio.create_task(users.delete(1))
        await asyncio.sleep(0)
        deleting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deleting
        proxy.connections[0].to_client.release()
        await stuck
        await client.call("PING")
        assert server.execute("EXISTS", "t:n:1") == 0


async def test_delete_whose_caller_is_cancelled_still_tells_that_it_is_unconfirmed(
    server: Server,
) -> None:
    told: list[Event] = []
    async with Proxy(server.port) as proxy:
        async with Client.from_url(
            proxy.url, prefix="t", command_timeout=5, hooks=[told.append]
        ) as client:
            users = Cache(client, "n", type=int, ttl=60)
            proxy.connections[0].to_client.hold()
            deleting = asyncio.create_task(users.delete(1))
            await asyncio.sleep(0)
            deleting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await deleting
        assert [e.keys for e in told if isinstance(e, DeleteUnconfirmed)] == [("t:n:1",)]
        assert users.statistics().unconfirmed_deletes == 1


@pytest.mark.filterwarnings("ignore")  # of sockets and tasks that the loop left behind
def test_client_left_open_by_a_loop_that_ended_forgets_what_was_going_on(server: Server) -> None:
    client = Client.from_url(server.url, prefix="t", hooks=[])
    users = Cache(client, "n", type=int, ttl=60)

    async def hang() -> int:
        await asyncio.sleep(3600)
        return 1

    async def leave() -> None:
        await client.__aenter__()
        asyncio.ensure_future(users.get_or_set(1, hang))  # noqa: RUF006
        watch = client.watch("t:other")
        await watch.__aenter__()
        asyncio.ensure_future(watch.changed())  # noqa: RUF006
        while not users.statistics().loads:
            await asyncio.sleep(0)

    def quiet(_: asyncio.AbstractEventLoop, __: dict[str, Any]) -> None: ...

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(quiet)
    loop.run_until_complete(leave())
    for task in asyncio.all_tasks(loop):
        task.get_coro().close()  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    loop.close()
    server.execute("DEL", "t:n:1")

    async def again() -> int:
        async def load() -> int:
            return 2

        async with client:
            return await asyncio.wait_for(users.get_or_set(1, load), 5)

    assert asyncio.run(again()) == 2
    gc.collect()  # here, where what it complains of is expected


async def test_closing_twice_at_once_ends_both_with_the_client_closed(server: Server) -> None:
    client = Client.from_url(server.url, prefix="t")
    await client.__aenter__()
    await asyncio.gather(client.aclose(), client.aclose())
    assert client.statistics().state == "closed"
    async with client:
        assert await client.call("PING") == b"PONG"


async def test_redis_client_with_a_wrong_password_is_refused_when_opened(
    start_server: Callable[[Server], Server],
) -> None:
    secured = start_server(Server(requirepass="right"))
    redis = Redis(host="127.0.0.1", port=secured.port, password="wrong")
    try:
        with pytest.raises(ConfigError, match="refused the redis client's user name or password"):
            async with Client.from_redis(redis):
                pass
    finally:
        await redis.aclose()
