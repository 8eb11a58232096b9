"""`Limiter` on a real server: what is admitted, and what every operation does."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from millpond import Client
from millpond.errors import LimitExceeded, ReplyError
from millpond.events import LimitShadowed
from millpond.limit.limiter import Limiter
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket
from tests.support.limits import state_of

if TYPE_CHECKING:
    from millpond.events import Event
    from tests.support.servers import Server


# -- hit ---------------------------------------------------------------------------------------


async def test_limit_is_admitted_and_no_more_on_every_server(flavoured_server: Server) -> None:
    async with Client.from_url(flavoured_server.url) as client:
        limiter = Limiter(client, "api", SlidingWindow(3, per=60))
        for left in (2, 1, 0):
            decision = await limiter.hit("ann")
            assert decision.allowed
            assert decision
            assert (decision.remaining, decision.granted, decision.retry_after) == (left, 1, 0)
            assert decision.reset_after == 60
        denied = await limiter.hit("ann")
        assert not denied
        assert denied.granted == 0
        assert denied.source == "redis"
        assert denied.retry_after is not None
        assert 59 < denied.retry_after < 60
        assert denied.policy is limiter.policies[0]
        assert (await limiter.hit("bob")).allowed


async def test_limit_works_in_memory() -> None:
    async with Client.from_url("memory://") as client:
        limiter = Limiter(client, "api", SlidingWindow(2, per=60), TokenBucket(5, per=60))
        assert [bool(await limiter.hit("ann")) for _ in range(3)] == [True, True, False]


async def test_hit_is_admitted_again_when_retry_after_has_passed(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(2, per=0.2), near=0)
    await limiter.hit("ann", cost=2)
    denied = await limiter.hit("ann")
    assert denied.retry_after is not None
    await asyncio.sleep(denied.retry_after)
    assert await limiter.hit("ann", cost=2)


async def test_policies_are_all_or_none_and_the_one_that_denies_longest_is_named(
    client: Client,
) -> None:
    second, hour = TokenBucket(2, per=1), SlidingWindow(5, per=3600)
    limiter = Limiter(client, "api", second, hour, near=0)
    assert await limiter.hit("ann", cost=2)
    before = await state_of(limiter)
    denied = await limiter.hit("ann")
    assert denied.policy is second
    assert await state_of(limiter) == before
    assert [quota.remaining for quota in denied.quotas] == [0, 3]
    for _ in range(3):
        await limiter.acquire("ann", timeout=5)
    denied = await limiter.hit("ann")
    assert denied.policy is hour
    assert denied.retry_after is not None
    assert denied.retry_after > 3500


async def test_tiers_of_one_namespace_count_the_same_hits_each_by_its_own_limit(
    client: Client,
) -> None:
    free = Limiter(client, "api", SlidingWindow(2, per=60))
    paid = Limiter(client, "api", SlidingWindow(200, per=60))
    await free.hit("ann", cost=2)
    assert not await free.hit("ann")
    upgraded = await paid.hit("ann", cost=100)
    assert upgraded.remaining == 98
    assert not await free.hit("ann")
    assert (await free.peek("ann")).remaining == 0
    assert (await paid.hit("ann", cost=98)).remaining == 0


async def test_lowered_limit_admits_nothing_until_few_enough_are_left(client: Client) -> None:
    before = Limiter(client, "api", SlidingWindow(100, per=0.5), near=0)
    after = Limiter(client, "api", SlidingWindow(3, per=0.5), near=0)
    await before.hit("ann", cost=50)
    denied = await after.hit("ann")
    assert denied.retry_after is not None
    assert 0.4 < denied.retry_after <= 0.5
    await asyncio.sleep(denied.retry_after)
    assert await after.hit("ann", cost=3)
    assert not await after.hit("ann")


# -- the other operations ----------------------------------------------------------------------


async def test_peek_counts_nothing(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(2, per=60))
    for _ in range(3):
        peeked = await limiter.peek("ann")
        assert (peeked.allowed, peeked.remaining, peeked.granted) == (True, 2, 0)
    assert await state_of(limiter) == [None, None]
    assert not await limiter.peek("ann", cost=3)
    assert limiter.statistics().allowed == limiter.statistics().denied == 0


async def test_hit_up_to_takes_what_there_is(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(5, per=60), TokenBucket(7, per=60))
    taken = [await limiter.hit_up_to("ann", 3) for _ in range(3)]
    assert [d.granted for d in taken] == [3, 2, 0]
    assert [d.allowed for d in taken] == [True, True, False]
    assert taken[2].retry_after is not None
    assert (await limiter.hit_up_to("bob", 10**9)).granted == 5


async def test_partial_grant_is_given_back_whole(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(5, per=60), FixedWindow(9, per=3600))
    part = await limiter.hit_up_to("ann", 100)
    assert await limiter.refund(part)
    assert [quota.remaining for quota in (await limiter.peek("ann")).quotas] == [5, 9]


async def test_refund_works_once_and_never_for_what_was_not_counted(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(3, per=60))
    first, second = await asyncio.gather(limiter.hit("ann"), limiter.hit("ann"))
    assert first.at == second.at  # alike in Redis, and still two
    assert await limiter.refund(first)
    assert not await limiter.refund(first)
    assert (await limiter.peek("ann")).remaining == 2
    assert await limiter.refund(second)
    assert (await limiter.peek("ann")).remaining == 3
    assert not await limiter.refund(await limiter.hit("ann", cost=4))
    assert not await limiter.refund(await limiter.peek("ann"))


async def test_block_denies_everything_until_it_ends_or_is_reset(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(100, per=60))
    await limiter.block("ann", 30)
    for decision in (await limiter.hit("ann"), await limiter.hit("ann", cost=50)):
        assert decision.blocked
        assert decision.remaining == 0
        assert decision.retry_after is not None
        assert 29 < decision.retry_after <= 30.001
        with suppress(ReplyError):  # of Redis 7; a key lives to its millisecond's end
            ends = await client.call("PEXPIRETIME", f"{limiter.key('ann')}:block")
            # From memory it is counted on this process's clock, which runs a little differently.
            slack = 1 if decision.source == "redis" else 1000
            assert decision.at + decision.retry_after * 1e6 > (ends + 1) * 1000 - slack
    assert not await limiter.hit_up_to("ann", 1)
    await limiter.block("ann", timedelta(milliseconds=50))
    denied = await limiter.hit("ann")
    assert denied.retry_after is not None
    await asyncio.sleep(denied.retry_after)
    assert await limiter.hit("ann")
    await limiter.block("ann", 30)
    await limiter.reset("ann")
    assert await limiter.hit("ann")


async def test_enforce_raises_with_the_decision(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    assert (await limiter.enforce("ann")).remaining == 0
    with pytest.raises(LimitExceeded, match="try again in") as caught:
        await limiter.enforce("ann")
    assert caught.value.key == limiter.key("ann")
    assert caught.value.status_hint == 429
    assert caught.value.decision.headers()["Retry-After"] == "60"


async def test_acquire_waits_its_turn_and_gives_up_at_once_when_it_cannot_come(
    client: Client,
) -> None:
    limiter = Limiter(client, "api", SlidingWindow(2, per=0.1))
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await asyncio.gather(*(limiter.acquire("ann", timeout=5) for _ in range(6)))
    assert loop.time() - begin >= 0.2
    slow = Limiter(client, "slow", SlidingWindow(1, per=60))
    await slow.hit("ann")
    begin = loop.time()
    with pytest.raises(LimitExceeded):
        await slow.acquire("ann", timeout=5)
    with pytest.raises(LimitExceeded, match="above the limit"):
        await slow.acquire("ann", cost=2, timeout=5)
    assert loop.time() - begin < 1


async def test_shadow_decides_and_tells_and_lets_everything_pass(url: str) -> None:
    told: list[Event] = []
    async with Client.from_url(url, prefix="t", hooks=[told.append]) as client:
        limiter = Limiter(client, "api", SlidingWindow(1, per=60), shadow=True)
        decisions = [await limiter.hit("ann") for _ in range(3)]
        assert [d.allowed for d in decisions] == [True] * 3
        assert [d.shadowed for d in decisions] == [False, True, True]
        assert [d.source for d in decisions] == ["redis", "redis", "near"]
        assert "Retry-After" not in decisions[1].headers()
        assert await limiter.enforce("ann")
        shadows = [event for event in told if isinstance(event, LimitShadowed)]
        assert shadows == [LimitShadowed(key=limiter.key("ann"), policy="window-60s")] * 3
        statistics = limiter.statistics()
        assert (statistics.allowed, statistics.denied, statistics.near) == (1, 3, 2)


async def test_shadow_grants_everything_and_counts_what_there_is(url: str) -> None:
    told: list[Event] = []
    async with Client.from_url(url, prefix="t", hooks=[told.append]) as client:
        limiter = Limiter(client, "api", SlidingWindow(5, per=60), shadow=True)
        full = await limiter.hit_up_to("ann", 3)
        assert (full.granted, full.counted, full.shadowed) == (3, 3, False)
        cut = await limiter.hit_up_to("ann", 9)
        assert (cut.granted, cut.counted, cut.shadowed) == (9, 2, True)
        nothing = await limiter.hit_up_to("ann", 9)
        assert (nothing.granted, nothing.counted, nothing.shadowed) == (9, 0, True)
        assert told.count(LimitShadowed(key=limiter.key("ann"), policy="window-60s")) == 2
        assert await limiter.refund(cut)
        assert not await limiter.refund(nothing)
        assert (await limiter.peek("ann")).remaining == 2


@pytest.mark.both_loops
async def test_random_calls_on_few_keys_leave_every_count_right(client: Client) -> None:
    """Every key's count is what was granted and not given back."""
    dice = random.Random(7)
    limiter = Limiter(client, "api", SlidingWindow(10**5, per=3600), near=0)
    counts = dict.fromkeys(range(5), 0)

    async def worker() -> None:
        for _ in range(40):
            key = dice.randrange(5)
            decision = await limiter.hit(key, cost=dice.randint(1, 4))
            counts[key] += decision.granted
            if dice.random() < 0.3:
                assert await limiter.refund(decision)
                counts[key] -= decision.granted

    await asyncio.gather(*(worker() for _ in range(25)))
    for key, count in counts.items():
        assert (await limiter.peek(key)).remaining == 10**5 - count
