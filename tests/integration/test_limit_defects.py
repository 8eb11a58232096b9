"""What popular rate limiters get wrong, each found in one of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond.limit.limiter import Limiter
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket
from tests.support.fleet import until
from tests.support.limit_bench import NOON, SECOND, Bench
from tests.support.limits import most_in_any_window, state_of

if TYPE_CHECKING:
    from millpond import Client


@pytest.mark.parametrize("factor", [1.05, 1.5, 3])
async def test_load_above_the_limit_still_has_the_limit_in_every_window(
    client: Client, factor: float
) -> None:
    """Where denied hits are counted, 5 % too many are locked out for as long as they try."""
    policy = SlidingWindow(100, per=60)
    hits = await Bench(client).admitted(policy, round(0.6 * SECOND / factor), 600)
    minutes = [
        sum(NOON + m * 60 * SECOND <= h < NOON + (m + 1) * 60 * SECOND for h in hits)
        for m in range(10)
    ]
    assert minutes == [100] * 10
    assert most_in_any_window(hits, 60 * SECOND) == 100


@pytest.mark.parametrize(("limit", "every"), [(100, SECOND // 4), (40, SECOND // 4), (100, SECOND)])
async def test_fractions_of_a_token_are_not_lost(client: Client, limit: int, every: int) -> None:
    """Asked several times a second, a bucket that forgets fractions gives 60 of 100 a minute."""
    policy = TokenBucket(limit, per=60, burst=2)
    hits = await Bench(client).admitted(policy, every, 600)
    possible = min(limit, 60 * SECOND // every)
    assert len(hits) >= possible * 10 - 1
    assert len(hits) <= limit * 10 + 2


async def test_denied_hits_are_never_counted_so_who_keeps_trying_is_not_locked_out(
    client: Client,
) -> None:
    limiter = Limiter(client, "api", SlidingWindow(5, per=0.3), near=0)
    before = None
    for _ in range(200):
        if not (await limiter.hit("ann")).allowed:
            before = before or await state_of(limiter)
            assert await state_of(limiter) in (before, [None, None])
            break
    for _ in range(100):
        denied = await limiter.hit("ann")
        if denied.allowed:
            break
        await asyncio.sleep(0.005)
    else:
        pytest.fail("a hundred denied hits pushed the window on")


async def test_denied_cost_burns_nothing(client: Client) -> None:
    for policy in (SlidingWindow(10, per=60), TokenBucket(10, per=60), FixedWindow(10, per=60)):
        limiter = Limiter(client, "api", policy, near=0)
        denied = await limiter.hit("ann", cost=11)
        assert (denied.allowed, denied.retry_after, denied.remaining) == (False, None, 10)
        assert await state_of(limiter) == [None, None]
        assert await limiter.hit("ann", cost=10)


async def test_hundred_a_second_with_a_burst_of_ten_does_limit(client: Client) -> None:
    limiter = Limiter(client, "api", TokenBucket(100, per=1, burst=10), near=0)
    allowed = [bool(await limiter.hit("ann")) for _ in range(50)]
    assert 10 <= sum(allowed) <= 25
    assert allowed[:10] == [True] * 10
    assert await client.call("PTTL", f"{limiter.key('ann')}:bucket-1s") > 0


async def test_server_that_has_forgotten_the_scripts_is_told_them_again(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(5, per=60))
    for _ in range(3):
        decision = await limiter.hit("ann")
        await client.call("SCRIPT", "FLUSH")
        assert await limiter.refund(decision)
        await client.call("SCRIPT", "FLUSH")
    assert (await limiter.peek("ann")).remaining == 5


async def test_waiter_on_one_key_delays_no_other(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=30))
    await limiter.hit("ann")
    waiting = asyncio.create_task(limiter.acquire("ann", timeout=60))
    await until(lambda: limiter.statistics().denied)
    async with asyncio.timeout(1):
        assert await limiter.hit("bob")
        assert await limiter.acquire("eve", timeout=1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_each_key_has_a_limit_of_its_own(client: Client) -> None:
    """Where the name is ignored, the third user of "2 a minute" is denied their first hit."""
    limiter = Limiter(client, "api", SlidingWindow(2, per=60))
    assert [bool(await limiter.hit(name)) for name in ("alice", "bob", "carol")] == [True] * 3


async def test_first_hit_leaves_no_key_for_ever(client: Client) -> None:
    """Where a key is made before it is told to expire, clients that come once stay for ever."""
    for policy in (
        SlidingWindow(5, per=0.001),
        TokenBucket(1000, per=0.1, burst=10),
        FixedWindow(5, per=0.5),
    ):
        limiter = Limiter(client, "api", policy)
        await limiter.hit("ann")
        assert await client.call("PTTL", f"{limiter.key('ann')}:{policy.label}") != -1


async def test_refused_policy_leaves_those_before_it_as_they_were(client: Client) -> None:
    """Where policies are asked in turn, a denial by the last has burnt the first."""
    limiter = Limiter(client, "api", SlidingWindow(9, per=60), FixedWindow(1, per=86_400), near=0)
    await limiter.hit("ann")
    for _ in range(5):
        assert not await limiter.hit("ann")
    assert (await limiter.peek("ann")).quotas[0].remaining == 8


async def test_window_of_a_millisecond_limits(client: Client) -> None:
    """Where periods are whole seconds, a shorter one is none, or a division by zero."""
    hits = await Bench(client).admitted(SlidingWindow(2, per=0.001), 100, 1)
    assert most_in_any_window(hits, 1000) == 2
    assert len(hits) == 2 * 1000
