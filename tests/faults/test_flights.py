"""Loads while something breaks: a process is killed, Redis is lost, hangs or answers late."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from millpond import BackendUnavailable, CachePolicy
from millpond.cache.store import Store
from millpond.core.entry import LEASE_SIZE
from millpond.events import DeleteUnconfirmed, FillRefused, LoadUnleased
from tests.support.fleet import Member, Source, ask, until
from tests.support.proxy import Proxy
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own(start_server: Callable[[Server], Server]) -> Server:
    """A server to be killed and frozen at will."""
    return start_server(Server())


@pytest.fixture
async def one(own: Server) -> AsyncIterator[Member[int]]:
    async with Member[int](own.url, command_timeout=0.3) as member:
        yield member


async def reconnected(member: Member[int]) -> None:
    """Wait until the client has connected again, be it on trial."""

    def is_up() -> bool:
        counted = member.client.statistics()
        return counted.reconnects > 0 and counted.state != "down"

    await until(is_up)


# -- the process that loads --------------------------------------------------------------------


async def test_load_of_a_killed_process_begins_anew_within_its_lease(url: str) -> None:
    lease_ttl = 1.0
    command = [sys.executable, "-m", "tests.support.hanging", url, str(lease_ttl)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as victim:
        try:
            assert victim.stdout is not None
            assert await asyncio.to_thread(victim.stdout.readline) == b"loading\n"
            async with Member[int](url) as survivor:
                source = Source(1)
                waiter = ask(survivor, source.load)
                await survivor.waiting()
                assert source.calls == 0
                victim.kill()
                killed = time.monotonic()
                await source.called()
                # The lease, the moment past it, and patience with a busy machine.
                assert time.monotonic() - killed < lease_ttl + 0.75
                assert await waiter == 1
                assert await survivor.cache.get(1) == 1
        finally:
            victim.kill()


# -- Redis is lost -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["load", "raise"])
@pytest.mark.both_loops
async def test_redis_lost_during_the_load_costs_the_callers_nothing(
    own: Server, policy: str
) -> None:
    chosen = CachePolicy(on_unavailable="raise" if policy == "raise" else "load")
    async with Member[int](own.url, policy=chosen) as one:
        source = Source(1, held=True)
        early = [ask(one, source.load) for _ in range(2)]
        await source.called()
        late = ask(one, source.load)
        await one.joined(3)
        own.kill()
        await until(lambda: one.client.statistics().state == "down")
        source.value = 2
        source.release()
        assert await asyncio.gather(*early) == [1, 1]
        (told,) = one.told(FillRefused)
        assert "unavailable" in told.reason
        # Who joined during the load may have come after a delete: the value was not stored, so
        # nothing shows that it had not.
        if policy == "load":
            assert await late == 2
        else:
            with pytest.raises(BackendUnavailable):
                await late
        own.start()
        await reconnected(one)
        assert await ask(one, source.load) == 2
        assert await one.cache.get(1) == 2


async def test_redis_lost_while_waiting_is_loaded_past(own: Server, one: Member[int]) -> None:
    async with Member[int](own.url) as other:
        source, instead = Source(1, held=True), Source(2)
        leader = ask(one, source.load)
        await source.called()
        waiters = [ask(other, instead.load) for _ in range(3)]
        await other.waiting()
        own.kill()
        assert await asyncio.gather(*waiters) == [2, 2, 2]
        assert instead.calls == 1
        assert [event.reason for event in other.told(LoadUnleased)] == ["unavailable"]
        source.release()
        assert await leader == 1


async def test_redis_that_restarts_empty_during_the_load_refuses_the_fill(
    own: Server, one: Member[int]
) -> None:
    source = Source(1, held=True)
    caller = ask(one, source.load)
    await source.called()
    own.restart()
    await reconnected(one)
    source.release()
    assert await caller == 1
    assert [event.reason for event in one.told(FillRefused)] == ["revoked"]
    assert await ask(one, source.load) == 1
    assert await one.cache.get(1) == 1


async def test_flush_of_the_whole_server_during_the_load_is_a_delete(
    own: Server, one: Member[int]
) -> None:
    async with Member[int](own.url) as other:
        source = Source(1, held=True)
        leader = ask(one, source.load)
        await source.called()
        waiter = ask(other, source.load)
        await other.waiting()
        source.value = 2
        own.execute("FLUSHALL")
        await source.called(2)
        source.release()
        assert [await leader, await waiter] == [1, 2]
        assert await one.cache.get(1) == 2


async def test_outage_runs_one_load_of_a_key_at_a_time_and_late_callers_get_the_next() -> None:
    async with Member[int]("redis://127.0.0.1:1/0") as one:
        source = Source(1, held=True)
        first = [ask(one, source.load) for _ in range(50)]
        await source.called()
        late = [ask(one, source.load) for _ in range(50)]
        await one.joined(100)
        source.value = 2
        assert await one.cache.delete(1) is False
        source.release()
        assert await asyncio.gather(*first) == [1] * 50
        assert await asyncio.gather(*late) == [2] * 50
        assert source.calls == 2
        assert source.most == 1
        assert one.cache.statistics().unleased_loads == 2
        assert [event.keys for event in one.told(DeleteUnconfirmed)] == [("t:n:1",)]


async def test_outage_does_not_hold_up_one_key_for_another() -> None:
    async with Member[int]("redis://127.0.0.1:1/0") as one:
        slow = Source(1, held=True)
        waiting = ask(one, slow.load, 1)
        await slow.called()
        assert await ask(one, Source(2).load, 2) == 2
        slow.release()
        assert await waiting == 1


async def test_failing_load_in_an_outage_fails_those_who_share_it_in_one_load_time() -> None:
    async with Member[int]("redis://127.0.0.1:1/0") as one:
        calls = 0

        async def load() -> int:
            nonlocal calls
            calls += 1
            raise LookupError

        ended = await asyncio.gather(*(ask(one, load) for _ in range(20)), return_exceptions=True)
        assert {type(error) for error in ended} == {LookupError}
        assert calls == 1


# -- Redis hangs -------------------------------------------------------------------------------


@pytest.mark.both_loops
async def test_redis_that_hangs_costs_one_timeout_and_not_one_a_call(
    own: Server, one: Member[int]
) -> None:
    own.pause()
    try:
        source = Source(1)
        assert await asyncio.gather(*(ask(one, source.load) for _ in range(20))) == [1] * 20
        assert source.calls == 1
        started = time.monotonic()
        for _ in range(20):
            assert await ask(one, source.load) == 1
        assert time.monotonic() - started < 20 * 0.3 / 2
        assert await one.cache.delete(1) is False
    finally:
        own.resume()
    await reconnected(one)
    assert await ask(one, source.load) == 1


async def test_redis_that_hangs_during_the_load_costs_the_callers_one_timeout(
    own: Server, one: Member[int]
) -> None:
    source = Source(1, held=True)
    caller = ask(one, source.load)
    await source.called()
    own.pause()
    try:
        source.release()
        assert await caller == 1
        (told,) = one.told(FillRefused)
        assert "unknown" in told.reason
    finally:
        own.resume()


# -- commands that are lost or late ------------------------------------------------------------


async def test_claim_whose_reply_is_lost_costs_others_at_most_its_lease(
    own: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = CachePolicy(lease_ttl=0.5)
    async with Proxy(own.port) as proxy:
        async with (
            Member[int](proxy.url, policy=policy, command_timeout=5) as one,
            Member[int](own.url) as other,
        ):
            assert await ask(other, Source(0).load, key=0) == 0  # the scripts are known now
            original = Store[int].claim

            async def claim(self: Store[int], *args: Any) -> Any:
                if self.client is one.client:
                    proxy.to_client.hold()
                return await original(self, *args)

            monkeypatch.setattr(Store, "claim", claim)
            caller = ask(one, Source(1).load)
            await until(lambda: own.execute("EXISTS", "t:n:1"))
            proxy.cut_all()
            assert await caller == 1
            assert [event.reason for event in one.told(LoadUnleased)] == ["unavailable"]
            assert own.execute("STRLEN", "t:n:1") == LEASE_SIZE
            assert await ask(other, Source(2).load) == 2
            assert await other.cache.get(1) == 2


async def test_fill_held_back_until_after_a_delete_does_not_land(own: Server) -> None:
    async with Proxy(own.port) as proxy:
        async with (
            Member[int](proxy.url, command_timeout=0.3) as one,
            Member[int](own.url) as other,
        ):
            source = Source(1, held=True)
            early = ask(one, source.load)
            await source.called()
            first = proxy.connections[0]
            first.to_server.hold()
            source.release()
            assert await early == 1  # after the timeout: the fill may or may not have run
            source.value = 2
            assert await other.cache.delete(1)
            first.to_server.release()
            await reconnected(one)
            assert own.execute("EXISTS", "t:n:1") == 0
            assert await ask(one, source.load) == 2


async def test_fill_that_ran_but_was_not_answered_lets_late_joiners_read_for_themselves(
    own: Server,
) -> None:
    async with Proxy(own.port) as proxy:
        async with (
            Member[int](proxy.url, command_timeout=5) as one,
            Member[int](own.url) as other,
        ):
            assert await ask(other, Source(0).load, key=0) == 0  # the scripts are known now
            source = Source(1, held=True)
            early = ask(one, source.load)
            await source.called()
            late = ask(one, source.load)
            await one.joined(2)
            proxy.to_client.hold()
            source.release()
            await until(lambda: own.execute("STRLEN", "t:n:1") > LEASE_SIZE)
            source.value = 2
            assert await other.cache.delete(1)
            proxy.cut_all()
            proxy.to_client.behave()
            assert [await early, await late] == [1, 2]
