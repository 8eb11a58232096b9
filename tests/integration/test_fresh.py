"""No caller gets what was deleted before it came: directed interleavings on a real server.

Which caller may take which result is stepped through in `tests/unit/test_flight.py`; here the same
is shown end to end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond.cache import store as store_module
from millpond.core.scripts import Script
from millpond.events import FillRefused
from tests.support.fleet import Member, Source, ask, until
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.fixture
async def other(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


def blind_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what most caches do: store what was loaded, whatever happened meanwhile."""
    blind = Script("redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1")
    monkeypatch.setattr(store_module, "_FILL", blind)


async def test_delete_during_the_load_refuses_the_fill_and_the_caller_has_its_value(
    one: Member[int], other: Member[int]
) -> None:
    source = Source(1, held=True)
    early = ask(one, source.load)
    await source.called()
    source.value = 2
    assert await other.cache.delete(1)
    source.release()
    assert await early == 1
    assert await other.cache.get(1, None) is None
    assert [event.reason for event in one.told(FillRefused)] == ["revoked"]
    assert await ask(other, source.load) == 2


async def test_caller_who_joins_after_a_delete_starts_over_and_reads_what_was_committed(
    one: Member[int], other: Member[int]
) -> None:
    source = Source(1, held=True)
    early = ask(one, source.load)
    await source.called()
    source.value = 2
    assert await other.cache.delete(1)
    late = ask(one, source.load)
    await one.joined(2)
    source.release()
    assert [await early, await late] == [1, 2]
    assert await other.cache.get(1) == 2
    assert source.calls == 2


@pytest.mark.both_loops
async def test_waiter_in_another_process_loads_anew_when_the_load_is_revoked(
    one: Member[int], other: Member[int]
) -> None:
    source = Source(1, held=True)
    early = ask(one, source.load)
    await source.called()
    waiter = ask(other, source.load)
    await other.waiting()
    source.value = 2
    assert await one.cache.delete(1)
    await source.called(2)  # while the first load still runs
    source.release()
    assert [await early, await waiter] == [1, 2]
    assert await one.cache.get(1) == 2


async def test_set_during_the_load_is_not_overwritten(one: Member[int], other: Member[int]) -> None:
    source = Source(1, held=True)
    early = ask(one, source.load)
    await source.called()
    assert await other.cache.set(1, 7)
    source.release()
    assert await early == 1
    assert await one.cache.get(1) == 7


@pytest.mark.parametrize("blind", [False, True])
async def test_late_joiner_would_be_given_a_deleted_value_by_a_blind_fill(
    one: Member[int], other: Member[int], monkeypatch: pytest.MonkeyPatch, blind: bool
) -> None:
    if blind:
        blind_fill(monkeypatch)
    source = Source(1, held=True)
    early = ask(one, source.load)
    await source.called()
    source.value = 2
    assert await other.cache.delete(1)
    source.release()
    assert await early == 1
    assert await ask(other, source.load) == (1 if blind else 2)


async def test_caller_who_comes_while_the_fill_is_unanswered_does_not_join_it(
    server: Server, other: Member[int]
) -> None:
    source = Source(1, held=True)
    async with Proxy(server.port) as proxy:
        async with Member[int](proxy.url, command_timeout=10) as one:
            assert await ask(one, Source(0).load, key=0) == 0  # the scripts are known now
            early = ask(one, source.load)
            await source.called()
            proxy.to_client.hold()
            source.release()
            stored = one.cache.key(1)
            await until(lambda: server.execute("STRLEN", stored) > 19)
            source.value = 2
            assert await other.cache.delete(1)
            late = ask(one, source.load)
            sent = proxy.connections[-1].to_server
            await sent.received_at_least(sent.received + 1)
            proxy.to_client.release()
            assert [await early, await late] == [1, 2]


@pytest.mark.both_loops
async def test_stream_of_deletes_under_many_callers_causes_few_loads(
    one: Member[int], other: Member[int]
) -> None:
    source = Source(0)
    wanted: dict[asyncio.Task[int], int] = {}
    loads: list[asyncio.Event] = []

    async def load() -> int:
        value = source.value
        revoked = asyncio.Event()
        loads.append(revoked)
        if len(loads) <= 5:
            await revoked.wait()
        return value

    # Each of the first five loads is joined by 25 callers before and by 25 after it was called,
    # and then revoked by a delete; every caller demands what was committed before it came.
    for turn in range(1, 6):
        for _ in range(2):
            for _ in range(25):
                wanted[ask(one, load)] = source.value
            await one.joined(len(wanted))
            await until(lambda turn=turn: len(loads) >= turn)
        source.value += 1
        assert await other.cache.delete(1)
        loads[turn - 1].set()
    for caller, least in wanted.items():
        assert await caller >= least
    assert len(wanted) == 250
    assert len(loads) < 15
