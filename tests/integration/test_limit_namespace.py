"""Several limiters of one namespace in one process: one set of counts, one memory of resets."""

from __future__ import annotations

import asyncio
import gc

import pytest

from millpond import Client, ConfigError
from millpond.limit.limiter import Limiter
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket
from millpond.limit.together import hit_all

FREE, PAID = SlidingWindow(1, per=60), SlidingWindow(3, per=60)


async def test_reset_by_one_limiter_ends_the_near_denials_of_all_of_its_namespace(
    client: Client,
) -> None:
    free, paid = Limiter(client, "api", FREE), Limiter(client, "api", PAID)
    await free.hit("ann")
    assert not await free.hit("ann")
    await paid.reset("ann")
    assert await free.hit("ann")


async def test_refund_by_one_limiter_ends_the_near_denials_of_all_of_its_namespace(
    client: Client,
) -> None:
    free, paid = Limiter(client, "api", FREE), Limiter(client, "api", PAID)
    granted = await free.hit("ann")
    assert not await free.hit("ann")
    assert await paid.refund(granted)
    assert await free.hit("ann")


async def test_hits_of_another_limiter_that_were_gathered_before_a_reset_leave_before_it(
    client: Client,
) -> None:
    free, paid = Limiter(client, "api", FREE), Limiter(client, "api", PAID)
    hit, done = await asyncio.gather(free.hit("ann"), paid.reset("ann"))
    assert (hit.allowed, done) == (True, True)
    assert (await free.peek("ann")).remaining == 1


async def test_other_namespaces_keep_their_denials(client: Client) -> None:
    mine, other = Limiter(client, "api", FREE), Limiter(client, "web", FREE)
    for limiter in (mine, other):
        await limiter.hit("ann")
        assert not await limiter.hit("ann")
    await mine.reset("ann")
    assert (await other.hit("ann")).source == "near"


async def test_decision_is_given_back_once_whichever_limiter_is_asked(client: Client) -> None:
    """Both hits have one stamp: a second refund of the first would take the second."""
    free, paid = Limiter(client, "api", FREE), Limiter(client, "api", PAID)
    first, second = await asyncio.gather(paid.hit("ann"), paid.hit("ann"))
    assert first.at == second.at
    assert await paid.refund(first)
    assert first.refunded
    assert not await free.refund(first)
    assert (await paid.peek("ann")).remaining == 2


async def test_decision_on_several_limiters_is_given_back_once_and_all_hear_of_it(
    client: Client,
) -> None:
    by_address = Limiter(client, "ip", SlidingWindow(2, per=60))
    by_user = Limiter(client, "user", SlidingWindow(1, per=60))
    first = await hit_all((by_address, "::1"), (by_user, 7))
    await by_address.hit("::1")
    assert not await by_address.hit("::1")
    assert not await by_user.hit(7)
    assert await by_user.refund(first)
    assert not await by_address.refund(first)
    assert await by_address.hit("::1")
    assert await by_user.hit(7)
    assert not await by_address.hit("::1")


async def test_decision_of_another_namespace_is_refused_and_stays_counted(client: Client) -> None:
    mine, other = Limiter(client, "api", PAID), Limiter(client, "api.v2", PAID)
    granted = await other.hit("ann")
    with pytest.raises(ConfigError, match="let the limiter refund it that made it"):
        await mine.refund(granted)
    assert (await other.peek("ann")).remaining == 2
    assert await other.refund(granted)
    both = await hit_all((mine, 1), (other, 1))
    with pytest.raises(ConfigError, match="same namespace"):
        await Limiter(client, "web", PAID).refund(both)


@pytest.mark.parametrize(
    "policy", [PAID, TokenBucket(3, per=60), FixedWindow(3, per=86_400)], ids=lambda p: p.word
)
async def test_hit_from_before_a_reset_gives_nothing_back_after_it(
    client: Client, policy: SlidingWindow | TokenBucket | FixedWindow
) -> None:
    limiter = Limiter(client, "api", policy)
    before = await limiter.hit("ann", cost=3)
    await limiter.reset("ann")
    await limiter.hit("ann", cost=3)
    assert not await limiter.refund(before)
    assert (await limiter.peek("ann")).remaining == 0


async def test_limiter_that_nobody_holds_is_forgotten_by_its_namespace(client: Client) -> None:
    kept = Limiter(client, "api", FREE)
    for _ in range(20):  # one for each request, where it should be one for each tier
        await Limiter(client, "api", PAID).hit("ann")
    gc.collect()
    assert [desk is kept.desk for desk in kept.desk.space.desks] == [True]


async def test_another_clients_limits_are_anothers_business(client: Client, url: str) -> None:
    """An own number for one key: each process applies its own to what both have counted."""
    async with Client.from_url(url, prefix="t") as elsewhere:
        small = Limiter(client, "api", SlidingWindow(2, per=60), near=0)
        large = Limiter(elsewhere, "api", SlidingWindow(5, per=60), near=0)
        assert (await large.hit("ann", cost=3)).remaining == 2
        denied = await small.hit("ann")
        assert (denied.allowed, denied.remaining) == (False, 0)
        assert (await large.hit("ann", cost=2)).remaining == 0
