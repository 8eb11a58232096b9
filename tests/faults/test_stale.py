"""Stale values while something breaks: the refresher is killed, the source or Redis is down."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from millpond import MISSING, CachePolicy
from millpond.events import DeleteUnconfirmed, FillRefused, RefreshFailed
from tests.support.fleet import (
    Member,
    Source,
    ask,
    at_rest,
    made_stale,
    put_value,
    refreshing,
    until,
)
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
WHILE = CachePolicy(stale_while_revalidate=60, stale_if_error=600)


@pytest.fixture
def own(start_server: Callable[[Server], Server]) -> Server:
    """A server to be killed and frozen at will."""
    return start_server(Server())


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start processes that read a stale value, up to the moment before they do."""
    with ExitStack() as stack:

        def begin(url: str, what: str, **policy: Any) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "tests.support.stale_process"]
            process = subprocess.Popen(
                [*command, url, json.dumps(policy), what],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            return process

        yield begin


def go(*processes: subprocess.Popen[bytes]) -> None:
    """Let them read."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()


def told(*processes: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
    """Wait for what they say in the end."""
    return [json.loads(process.communicate(timeout=30)[0]) for process in processes]


# -- processes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [{"stale_while_revalidate": 60.0}, {"stale_if_error": 60.0}])
async def test_many_readers_of_two_processes_cost_one_load(
    url: str, start: Callable[..., subprocess.Popen[bytes]], policy: dict[str, Any]
) -> None:
    async with Member[int](url, policy=CachePolicy(**policy)) as one:
        for _ in range(3):
            await made_stale(one, Source(1))
            crowds = [start(url, "crowd", **policy) for _ in range(2)]
            go(*crowds)
            said = await asyncio.to_thread(told, *crowds)
            assert sum(each["loads"] for each in said) == 1
            assert await one.cache.get(1) == 2
            read = {value for each in said for value in each["read"]}
            assert read <= ({1, 2} if "stale_while_revalidate" in policy else {2})
            assert await one.cache.delete(1)


async def test_killed_refresher_costs_at_most_its_claim(
    url: str, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    lease_ttl = 1.0
    policy: dict[str, Any] = {"stale_while_revalidate": 60.0, "lease_ttl": lease_ttl}
    async with Member[int](url, policy=CachePolicy(**policy)) as one:
        source = await made_stale(one)
        victim = start(url, "hang", **policy)
        go(victim)
        assert victim.stdout is not None
        assert await asyncio.to_thread(victim.stdout.readline) == b"loading\n"
        assert await ask(one, source.load) == 1
        assert source.calls == 1
        victim.kill()
        killed = time.monotonic()
        while source.calls == 1:  # readers who come again and again
            assert await ask(one, source.load) == 1
            await asyncio.sleep(0.005)
        assert 0 < time.monotonic() - killed < lease_ttl + 0.75
        await at_rest(one)
        assert await one.cache.get(1) == 2
        assert source.calls == 2


async def test_overdue_value_of_a_killed_refresher_is_waited_for_and_loaded(
    url: str, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    policy: dict[str, Any] = {"stale_if_error": 60.0, "lease_ttl": 0.5}
    async with Member[int](url, policy=CachePolicy(**policy)) as one:
        source = await made_stale(one)
        victim = start(url, "hang", **policy)
        go(victim)
        assert victim.stdout is not None
        assert await asyncio.to_thread(victim.stdout.readline) == b"loading\n"
        waiter = ask(one, source.load)
        await one.waiting()
        victim.kill()
        killed = time.monotonic()
        assert await waiter == 2
        assert time.monotonic() - killed < 0.5 + 0.75
        assert source.calls == 2


async def test_process_whose_clock_is_ahead_waits_for_a_claim_without_asking_again_and_again(
    url: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Member[int](url, policy=CachePolicy(stale_if_error=600)) as one:
        now = time.time
        claimed_ms = 1000  # by somebody who has been killed
        await put_value(one, 1, ago_ms=100_000, soft_ms=1000, refresh_ms=100_000 + claimed_ms)
        monkeypatch.setattr(time, "time", lambda: now() + 30)
        server.execute("CONFIG", "RESETSTAT")
        began, source = time.monotonic(), Source(2)
        assert await ask(one, source.load) == 2
        assert time.monotonic() - began > 0.9
        called: dict[str, Any] = server.execute("INFO", "commandstats")
        scripts = (
            called["cmdstat_evalsha"]["calls"] + called.get("cmdstat_eval", {"calls": 0})["calls"]
        )
        assert scripts <= 8


async def test_outage_of_the_source_costs_it_one_call_in_stale_retry(
    url: str, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    for window in ("stale_while_revalidate", "stale_if_error"):
        policy: dict[str, Any] = {window: 60.0, "stale_retry": 0.2}
        async with Member[int](url, policy=CachePolicy(**policy)) as one:
            await made_stale(one, Source(1))
            readers = [start(url, "outage", **policy) for _ in range(2)]
            go(*readers)
            said = await asyncio.to_thread(told, *readers)
            assert [each["read"] for each in said] == [[1], [1]]
            # In a second, and the moments between the two ends: one, and one each 0.2 s.
            assert 2 <= sum(each["loads"] for each in said) <= 7
            assert await one.cache.delete(1)


# -- Redis -------------------------------------------------------------------------------------


@pytest.mark.both_loops
async def test_redis_lost_during_a_refresh_costs_readers_nothing(own: Server) -> None:
    async with Member[int](own.url, policy=WHILE, command_timeout=0.3) as one:
        source = await refreshing(one)
        own.kill()
        await until(lambda: one.client.statistics().state == "down")
        source.release()
        await until(lambda: one.told(FillRefused))  # the flight has landed before its fill has
        (event,) = one.told(FillRefused)
        assert "unavailable" in event.reason
        assert await ask(one, source.load) == 2
        own.start()
        await until(lambda: one.client.statistics().state == "up")
        assert await ask(one, source.load) == 2


async def test_redis_lost_while_an_overdue_value_is_loaded_in_vain(own: Server) -> None:
    async with Member[int](own.url, policy=CachePolicy(stale_if_error=60)) as one:
        await made_stale(one, Source(1))
        begun, end = asyncio.Event(), asyncio.Event()

        async def load() -> int:
            begun.set()
            await end.wait()
            raise ConnectionError

        caller = ask(one, load)
        await begun.wait()
        own.kill()
        await until(lambda: one.client.statistics().state == "down")
        end.set()
        assert await caller == 1


async def test_redis_that_restarts_empty_during_a_refresh_refuses_the_fill(own: Server) -> None:
    async with Member[int](own.url, policy=WHILE, command_timeout=0.3) as one:
        source = await refreshing(one)
        own.restart()
        await until(lambda: one.client.statistics().reconnects)
        await until(lambda: one.client.statistics().state == "up")
        source.release()
        await until(lambda: one.told(FillRefused))  # the flight has landed before its fill has
        assert [event.reason for event in one.told(FillRefused)] == ["revoked"]
        assert await one.cache.get(1) is MISSING


async def test_full_server_serves_what_is_stale_and_refreshes_nothing(own: Server) -> None:
    async with Member[int](own.url, policy=WHILE) as one:
        source = await made_stale(one)
        own.execute("CONFIG", "SET", "maxmemory-policy", "noeviction")
        own.execute("CONFIG", "SET", "maxmemory", "1")
        assert await ask(one, source.load) == 1
        await at_rest(one)
        assert source.calls == 1
        assert [event.type_name for event in one.told(RefreshFailed)] == ["ReplyError"]
        assert await one.cache.get(1) == 1
        # An expire that cannot be noted in the value removes it: it may, and must not be lost.
        assert await one.cache.expire(1)
        assert await one.cache.get(1) is MISSING


async def test_expire_that_was_not_acknowledged_is_replayed(own: Server) -> None:
    async with Member[int](own.url, policy=WHILE, command_timeout=0.3) as one:
        source = Source(1)
        assert await ask(one, source.load) == 1
        own.pause()
        try:
            assert await one.cache.expire(1) is False
            assert [event.keys for event in one.told(DeleteUnconfirmed)] == [("t:n:1",)]
        finally:
            own.resume()
        await until(lambda: one.client.statistics().state == "up")
        await until(lambda: not one.client.statistics().journal)
        entry = await one.cache.get_entry(1)
        assert entry is not None
        assert entry.stale
