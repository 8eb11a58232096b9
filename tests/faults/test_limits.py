"""Limiters while Redis is gone, hangs or refuses, and when it comes back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client
from millpond.errors import BackendError, BackendTimeout, BackendUnavailable, ReplyError
from millpond.events import LimitRestored, LimitUnavailable, WireUp
from millpond.limit.limiter import Limiter
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket
from tests.support.fleet import until
from tests.support.servers import Server

if TYPE_CHECKING:
    from millpond.events import Event

MINUTE = SlidingWindow(4, per=60)


async def back(client: Client) -> None:
    """Wait until the connection is there again."""
    await until(lambda: client.statistics().state == "up")


async def test_outage_is_bridged_by_a_local_limiter_at_its_share(start_server: Any) -> None:
    server = start_server(Server())
    told: list[Event] = []
    async with Client.from_url(server.url, hooks=[told.append]) as client:
        limiter = Limiter(client, "api", MINUTE, share=0.5, near=0)
        assert (await limiter.hit("ann")).source == "redis"
        server.kill()
        decisions = [await limiter.hit("ann") for _ in range(4)]
        assert [d.source for d in decisions] == ["local"] * 4
        assert [d.allowed for d in decisions] == [True, True, False, False]
        assert decisions[2].retry_after is not None
        assert 59 < decisions[2].retry_after <= 60
        assert (await limiter.peek("ann")).source == "local"
        assert (await limiter.hit_up_to("bob", 9)).granted == 2
        server.start()
        await back(client)
        assert (await limiter.hit("ann")).source == "redis"
    kinds = [type(event) for event in told if isinstance(event, LimitUnavailable | LimitRestored)]
    assert kinds == [LimitUnavailable, LimitRestored]
    assert limiter.statistics().fallback == 6


async def test_hits_of_one_turn_are_each_decided_locally(start_server: Any) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url) as client:
        limiter = Limiter(client, "api", MINUTE, TokenBucket(100, per=1), near=0)
        await limiter.hit("ann")
        server.kill()
        decisions = await asyncio.gather(*(limiter.hit("ann") for _ in range(10)))
        assert sum(d.allowed for d in decisions) == 4
        server.start()


@pytest.mark.parametrize("instead", ["allow", "deny"])
async def test_outage_may_allow_or_deny_everything(start_server: Any, instead: Any) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url) as client:
        limiter = Limiter(client, "api", MINUTE, on_unavailable=instead)
        await limiter.hit("ann", cost=4)
        server.kill()
        decisions = [await limiter.hit("bob", cost=3) for _ in range(5)]
        assert {(d.allowed, d.source) for d in decisions} == {(instead == "allow", "unavailable")}
        assert decisions[0].headers().get("Retry-After") == (None if instead == "allow" else "1")
        assert not await limiter.refund(decisions[0])
        assert not await limiter.reset("ann")
        server.start()
        await back(client)
        assert await limiter.hit("bob")


async def test_outage_may_raise(start_server: Any) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url) as client:
        limiter = Limiter(client, "api", MINUTE, on_unavailable="raise")
        granted = await limiter.hit("ann")
        server.kill()
        for call in (
            limiter.hit("ann"),
            limiter.peek("ann"),
            limiter.hit_up_to("ann", 2),
            limiter.refund(granted),
            limiter.reset("ann"),
            limiter.block("ann", 1),
        ):
            with pytest.raises(BackendError) as caught:
                await call
            assert isinstance(caught.value, BackendUnavailable | BackendTimeout)
        server.start()


@pytest.mark.both_loops
async def test_hanging_server_costs_one_command_timeout_in_all(start_server: Any) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url, command_timeout=0.3) as client:
        limiter = Limiter(client, "api", SlidingWindow(1000, per=60))
        await limiter.hit("ann")
        server.pause()
        begin = time.monotonic()
        first = await asyncio.gather(*(limiter.hit(key) for key in range(50)))
        assert {d.source for d in first} == {"local"}
        assert 0.25 < time.monotonic() - begin < 1
        begin = time.monotonic()
        for key in range(200):
            assert (await limiter.hit(key)).source == "local"
        assert time.monotonic() - begin < 0.25
        server.resume()
        async with asyncio.timeout(10):
            while (await limiter.hit("ann")).source != "redis":
                await asyncio.sleep(0.01)


async def test_block_is_never_taken_for_done_when_it_is_not(start_server: Any) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url) as client:
        limiter = Limiter(client, "api", MINUTE, on_unavailable="allow")
        server.kill()
        with pytest.raises(BackendError):
            await limiter.block("ann", 30)
        server.start()


async def test_full_server_is_an_outage_and_a_missing_permission_is_not(
    start_server: Any,
) -> None:
    server = start_server(Server(maxmemory="3mb", maxmemory_policy="noeviction"))
    async with Client.from_url(server.url) as client:
        limiter = Limiter(client, "api", MINUTE, near=0)
        fill = [("SET", f"f{n}", b"x" * 10_000, "PX", 60_000) for n in range(500)]
        with pytest.raises(ReplyError, match="OOM"):
            await client.pipeline(fill)
        assert (await limiter.hit("ann")).source == "local"
        await client.call("FLUSHALL")
        assert (await limiter.hit("ann")).source == "redis"
        server.execute("ACL", "SETUSER", "default", "-evalsha", "-eval")
        with pytest.raises(ReplyError, match="NOPERM"):
            await limiter.hit("ann")


async def test_server_that_lost_everything_counts_anew_and_no_key_lasts(start_server: Any) -> None:
    server = start_server(Server())
    told: list[Event] = []
    async with Client.from_url(server.url, hooks=[told.append]) as client:
        policies = (MINUTE, TokenBucket(4, per=60), FixedWindow(4, per=3600))
        limiter = Limiter(client, "api", *policies, near=0)
        for _ in range(2):
            assert (await limiter.hit("ann", cost=4)).source == "redis"
            assert not await limiter.hit("ann")
            with server.redis() as behind:
                keys = behind.keys("*")
                assert len(keys) == 3
                assert all(behind.pttl(key) > 0 for key in keys)
            ups = sum(isinstance(event, WireUp) for event in told)
            server.restart()
            await until(lambda ups=ups: sum(isinstance(e, WireUp) for e in told) > ups)


async def test_closing_while_hits_wait_answers_everyone(start_server: Any) -> None:
    server = start_server(Server())
    client = Client.from_url(server.url)
    limiter = Limiter(client, "api", MINUTE, on_unavailable="raise")
    async with client:
        await limiter.hit("ann")
        server.pause()
        waiting = [asyncio.create_task(limiter.hit(key)) for key in range(5)]
        while not client.statistics().in_flight:
            await asyncio.sleep(0)
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, BackendUnavailable) for error in done)
    server.resume()
