"""A server that is there and refuses: no memory, no time."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import redis

from millpond import BackendError, CachePolicy, ReplyError
from millpond.events import FillRefused, LoadUnleased
from tests.support.fleet import Member, Source, ask, until
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

KEY = "t:n:1"


@pytest.fixture
def full(flavoured_server: Server, start_server: Callable[[Server], Server]) -> Server:
    """A server of each flavour, to be left without memory."""
    return start_server(Server(flavoured_server.binary, maxmemory_policy="noeviction"))


async def test_server_without_memory_is_loaded_past_and_recovers(full: Server) -> None:
    async with Member[int](full.url) as one:
        assert await one.cache.set(1, 1)
        full.execute("CONFIG", "SET", "maxmemory", 1)
        assert await one.cache.get_or_set(1, Source(2).load) == 1
        source = Source(5)
        for _ in range(2):
            assert await one.cache.get_or_set(2, source.load) == 5
        assert source.calls == 2
        assert [event.reason for event in one.told(LoadUnleased)] == ["unavailable: OOM"] * 2
        assert await one.cache.delete(1) is True
        full.execute("CONFIG", "SET", "maxmemory", 0)
        assert await one.cache.get_or_set(2, source.load) == 5
        assert await one.cache.get(2) == 5


async def test_server_that_runs_out_of_memory_during_the_load_still_gives_the_value(
    full: Server,
) -> None:
    async with Member[int](full.url) as one:
        source = Source(1, held=True)
        caller = ask(one, source.load)
        await source.called()
        full.execute("CONFIG", "SET", "maxmemory", 1)
        source.release()
        assert await caller == 1
        (told,) = one.told(FillRefused)
        assert "OOM" in told.reason


async def test_value_that_does_not_fit_does_not_keep_other_processes_waiting(full: Server) -> None:
    async with (
        Member[int](full.url, policy=CachePolicy(lease_ttl=60)) as one,
        Member[int](full.url, policy=CachePolicy(wait_timeout=5)) as other,
    ):
        source = Source(1, held=True)
        leader = ask(one, source.load)
        await source.called()
        waiter = ask(other, Source(2).load)
        await other.waiting()
        full.execute("CONFIG", "SET", "maxmemory", 1)
        source.release()
        assert await leader == 1
        try:
            async with asyncio.timeout(2):
                assert await asyncio.shield(waiter) == 2
        finally:
            full.execute("DEL", KEY)
            await waiter


async def test_set_without_memory_is_not_stored_and_no_error_page(full: Server) -> None:
    async with Member[int](full.url) as one:
        full.execute("CONFIG", "SET", "maxmemory", 1)
        assert await one.cache.set(1, 5) is False


async def test_outage_by_lack_of_memory_is_raised_where_that_is_asked_for(
    full: Server,
) -> None:
    policy = CachePolicy(on_unavailable="raise")
    async with Member[int](full.url, policy=policy) as one:
        full.execute("CONFIG", "SET", "maxmemory", 1)
        source = Source(5)
        with pytest.raises(ReplyError, match="OOM"):
            await one.cache.get_or_set(1, source.load)
        assert source.calls == 0


# -- busy --------------------------------------------------------------------------------------


@asynccontextmanager
async def busy(server: Server) -> AsyncGenerator[None]:
    """Let the server run somebody's endless script, which it tells everybody else."""

    def run() -> None:
        with server.redis() as client, contextlib.suppress(redis.RedisError):
            client.eval("while true do end", 0)

    def is_busy() -> bool:
        try:
            server.execute("GET", KEY)
        except redis.RedisError as error:
            return "BUSY" in str(error)
        return False

    running = asyncio.create_task(asyncio.to_thread(run))
    await until(is_busy)
    try:
        yield
    finally:
        server.execute("SCRIPT", "KILL")
        await running


@pytest.fixture
def own(start_server: Callable[[Server], Server]) -> Server:
    """A server that soon says that it is busy."""
    return start_server(Server(args=["--lua-time-limit", "1"]))


async def test_server_that_is_busy_is_loaded_past(own: Server) -> None:
    async with Member[int](own.url) as one, busy(own):
        assert await ask(one, Source(1).load) == 1
        assert [event.reason for event in one.told(LoadUnleased)] == ["unavailable: BUSY"]
        assert await one.cache.get(1, -1) == -1
        assert await one.cache.set(1, 5) is False
        assert await one.cache.delete(1) is False


async def test_server_that_is_busy_is_raised_where_that_is_asked_for(own: Server) -> None:
    policy = CachePolicy(on_unavailable="raise")
    async with Member[int](own.url, policy=policy) as one, busy(own):
        source = Source(1)
        with pytest.raises(BackendError, match="BUSY"):
            await ask(one, source.load)
        with pytest.raises(BackendError, match="BUSY"):
            await one.cache.get(1)
        assert source.calls == 0
