"""Calls for many keys while something breaks: processes are killed, Redis is lost or hangs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Member, until
from tests.support.rows import Rows
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
TENS = {n: n * 10 for n in range(50)}


async def test_keys_of_a_killed_process_are_loaded_within_its_lease_and_the_others_at_once(
    url: str,
) -> None:
    lease_ttl = 1.0
    command = [sys.executable, "-m", "tests.support.hanging", url, str(lease_ttl), "30"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as victim:
        try:
            assert victim.stdout is not None
            assert await asyncio.to_thread(victim.stdout.readline) == b"loading\n"
            async with Member[int](url) as survivor:
                rows = Rows(TENS)
                many = asyncio.create_task(survivor.cache.get_or_set_many(range(20, 40), rows.load))
                await rows.called()
                assert rows.calls == [list(range(30, 40))]
                await until(lambda: len(survivor.client.watches) == 10)
                assert len(rows.calls) == 1
                victim.kill()
                killed = time.monotonic()
                assert await many == {n: n * 10 for n in range(20, 40)}
                # The lease, the moment past it, and patience with a busy machine.
                assert time.monotonic() - killed < lease_ttl + 0.75
                assert len(rows.calls) < 6
                assert len(await survivor.cache.get_many(range(50))) == 20
        finally:
            victim.kill()


@pytest.mark.both_loops
async def test_redis_lost_during_the_load_costs_its_callers_nothing(
    start_server: Callable[[Server], Server],
) -> None:
    own = start_server(Server())
    async with Member[int](own.url, command_timeout=0.3) as one:
        rows = Rows(TENS, held=True)
        early = asyncio.create_task(one.cache.get_or_set_many(range(10), rows.load))
        await rows.called()
        own.kill()
        await until(lambda: one.client.statistics().state == "down")
        rows.rows = dict.fromkeys(range(50), 1)
        late = asyncio.create_task(one.cache.get_or_set_many(range(5, 15), rows.load))
        await one.joined(20)
        rows.release()
        assert await early == {n: n * 10 for n in range(10)}
        assert await late == dict.fromkeys(range(5, 15), 1)
        assert sorted(map(len, rows.calls)) == [5, 5, 10]


async def test_hanging_redis_costs_one_command_timeout(
    start_server: Callable[[Server], Server],
) -> None:
    own = start_server(Server())
    async with Member[int](own.url, command_timeout=0.3) as one:
        await one.cache.set_many(TENS)
        own.pause()
        try:
            rows = Rows(TENS)
            began = time.monotonic()
            assert await one.cache.get_or_set_many(range(1000), rows.load) == TENS
            assert time.monotonic() - began < 1.5
            assert rows.calls == [list(range(1000))]
        finally:
            own.resume()
