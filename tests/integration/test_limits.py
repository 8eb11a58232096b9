"""`Limiter` on a real server: every operation, coalescing, near denials, tiers, bad input."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, ConfigError, ReplyError
from millpond.errors import ClosedError, LimitExceeded
from millpond.events import LimitShadowed
from millpond.limit.limiter import Limiter
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket
from millpond.limit.together import hit_all
from tests.support.fleet import until
from tests.support.servers import Server, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from millpond.events import Event
    from millpond.limit.decision import Decision

NAN, INFINITE = float("nan"), float("inf")


@asynccontextmanager
async def cluster() -> AsyncGenerator[Client]:
    """A client of a Redis Cluster of one node, which has all slots."""
    server = Server(args=["--cluster-enabled", "yes"])
    server.port = free_port() - 10_000  # whose bus is 10,000 above, and is to find its port free
    with server:
        server.execute("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        async with Client.from_url(server.url, prefix="t") as client:
            while b"cluster_state:ok" not in await client.call("CLUSTER", "INFO"):
                await asyncio.sleep(0.01)
            yield client


async def state_of(limiter: Limiter, key: Any = "ann") -> list[bytes | None]:
    """Everything that Redis holds for a key."""
    name = limiter.key(key)
    keys = [f"{name}:block", *(f"{name}:{policy.label}" for policy in limiter.policies)]
    return await limiter.client.call("MGET", *keys)


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


# -- coalescing --------------------------------------------------------------------------------


async def test_hits_on_one_key_in_one_turn_are_one_call_and_each_has_its_own_answer(
    client: Client,
) -> None:
    limiter = Limiter(client, "api", SlidingWindow(10, per=60))
    costs = [3, 1, 8, 4, 2, 1, 11]
    decisions = await asyncio.gather(*(limiter.hit("ann", cost=cost) for cost in costs))
    assert [d.allowed for d in decisions] == [True, True, False, True, True, False, False]
    assert [d.remaining for d in decisions] == [7, 6, 6, 2, 0, 0, 0]
    assert decisions[-1].retry_after is None
    assert [d.granted for d in decisions] == [3, 1, 0, 4, 2, 0, 0]
    assert limiter.statistics().calls == 1
    assert len({d.at for d in decisions}) == 1


async def test_hits_on_many_keys_in_one_turn_are_few_calls(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(2, per=60), TokenBucket(9, per=60))
    decisions = await asyncio.gather(*(limiter.hit(key % 100) for key in range(300)))
    assert [d.allowed for d in decisions] == [True] * 200 + [False] * 100
    assert [d.key for d in decisions] == [limiter.key(key % 100) for key in range(300)]
    assert limiter.statistics().calls == 5


async def test_foreign_key_of_one_spoils_no_other_hit_of_the_turn(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(2, per=60))
    name = f"{limiter.key(7)}:window-60s"
    await client.pipeline([("RPUSH", name, "a"), ("PEXPIRE", name, 60_000)])
    hits = (limiter.hit(key) for key in range(20))
    done = await asyncio.gather(*hits, return_exceptions=True)
    assert isinstance(done.pop(7), ReplyError)
    assert {getattr(decision, "remaining", None) for decision in done} == {1}


async def test_cluster_takes_one_subject_in_a_call() -> None:
    async with cluster() as client:
        limiter = Limiter(client, "api", SlidingWindow(2, per=60), TokenBucket(9, per=60))
        decisions: list[Decision] = []
        for remaining in (1, 0):
            decisions = await asyncio.gather(*(limiter.hit(key) for key in range(20)))
            assert {(d.source, d.remaining) for d in decisions} == {("redis", remaining)}
        assert limiter.statistics().calls == 1 + 20 + 20
        assert await limiter.refund(decisions[3])
        assert (await limiter.peek(3)).remaining == 1
        await limiter.block(4, 60)
        assert await limiter.reset(4)
        assert await limiter.hit(4, cost=2)


async def test_caller_cancelled_before_the_command_leaves_is_not_counted(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(10, per=60))
    tasks = [asyncio.create_task(limiter.hit("ann")) for _ in range(4)]
    asyncio.get_running_loop().call_soon(tasks[1].cancel)  # before the turn's flush
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[1], asyncio.CancelledError)
    assert (await limiter.peek("ann")).remaining == 7


async def test_caller_cancelled_later_disturbs_nobody(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(10, per=60))
    tasks = [asyncio.create_task(limiter.hit("ann")) for _ in range(4)]
    while not limiter.statistics().calls:
        await asyncio.sleep(0)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(d, "remaining", None) for d in done] == [None, 8, 7, 6]


async def test_reset_called_after_hits_of_the_same_turn_comes_after_them(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    first, second, done = await asyncio.gather(
        limiter.hit("ann"), limiter.hit("ann"), limiter.reset("ann")
    )
    assert (first.allowed, second.allowed, done) == (True, False, True)
    assert await limiter.hit("ann")


def test_hit_that_an_event_loop_left_unsent_holds_up_nobody_in_the_next(url: str) -> None:
    client = Client.from_url(url, prefix="t")
    limiter = Limiter(client, "api", SlidingWindow(5, per=60))
    loop = asyncio.new_event_loop()

    async def last_turn() -> None:
        async with client:
            pass
        loop.call_soon(limiter.desk.hit, limiter.key("ann"), "ann", 1)

    loop.run_until_complete(last_turn())
    loop.close()

    async def next_loop() -> int:
        async with client:
            return (await limiter.hit("ann")).remaining

    assert asyncio.run(next_loop()) == 4


async def test_limiter_over_a_redis_client_that_somebody_else_made(server: Server) -> None:
    from redis.asyncio import Redis

    async with Redis(unix_socket_path=server.socket_path) as redis:
        async with Client.from_redis(redis, prefix="t") as client:
            limiter = Limiter(client, "api", SlidingWindow(2, per=60), TokenBucket(9, per=60))
            decisions = await asyncio.gather(*(limiter.hit(n % 3) for n in range(9)))
            assert [d.allowed for d in decisions] == [True] * 6 + [False] * 3
            assert await limiter.refund(decisions[0])
            assert await limiter.reset(1)


# -- near --------------------------------------------------------------------------------------


async def test_denied_key_is_denied_again_without_asking_redis(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(5, per=60))
    await limiter.hit("ann", cost=4)
    first = await limiter.hit("ann", cost=2)
    commands = client.statistics().commands
    again = [await limiter.hit("ann", cost=cost) for cost in (2, 3, 6)]
    assert client.statistics().commands == commands
    assert [d.source for d in again] == ["near"] * 3
    assert not any(again)
    assert first.retry_after is not None
    assert again[0].retry_after is not None
    assert 0 < again[0].retry_after <= first.retry_after
    assert again[0].remaining == 1
    assert again[0].reset_after <= 60
    assert again[2].retry_after is None
    assert await limiter.hit("ann", cost=1)  # a lower cost is another question
    assert limiter.statistics().near == 3


async def test_near_denial_ends_with_retry_after(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=0.1))
    await limiter.hit("ann")
    denied = await limiter.hit("ann")
    assert denied.retry_after is not None
    await asyncio.sleep(denied.retry_after)
    assert await limiter.hit("ann")


async def test_own_reset_and_refund_end_a_near_denial_at_once(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    granted = await limiter.hit("ann")
    assert not await limiter.hit("ann")
    assert await limiter.refund(granted)
    assert await limiter.hit("ann")
    assert not await limiter.hit("ann")
    await limiter.reset("ann")
    assert await limiter.hit("ann")


async def test_denial_that_was_on_its_way_when_reset_was_called_is_not_remembered(
    client: Client,
) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    await limiter.hit("ann")
    late = asyncio.create_task(limiter.hit("ann"))
    while limiter.statistics().calls < 2:
        await asyncio.sleep(0)
    await limiter.reset("ann")
    assert not await late
    assert await limiter.hit("ann")


async def test_denial_that_waits_to_be_handed_back_is_not_remembered_after_a_reset(
    client: Client,
) -> None:
    """Answers of several calls are handed back in turns; a reset's own may come in between."""
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    await limiter.hit(199)
    late = [asyncio.create_task(limiter.hit(key)) for key in range(200)]
    while limiter.statistics().calls < 3:
        await asyncio.sleep(0)
    await limiter.reset(199)
    assert [bool(decision) for decision in await asyncio.gather(*late)] == [True] * 199 + [False]
    assert await limiter.hit(199)


async def test_reset_elsewhere_is_seen_within_near(client: Client, url: str) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60), near=0.05)
    await limiter.hit("ann")
    assert not await limiter.hit("ann")
    async with Client.from_url(url, prefix="t") as elsewhere:
        assert await Limiter(elsewhere, "api", SlidingWindow(1, per=60)).reset("ann")
    assert not await limiter.hit("ann")
    await asyncio.sleep(0.05)
    assert await limiter.hit("ann")


async def test_number_and_its_text_share_a_denial_and_its_end(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    await limiter.hit(42)
    assert not await limiter.hit(42)
    assert not await limiter.hit("42")
    await limiter.reset("42")
    assert await limiter.hit(42)


async def test_key_that_is_no_key_is_refused_though_an_equal_one_is_denied(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    await limiter.hit(1)
    assert not await limiter.hit(1)
    for key in (True, 1.0):
        with pytest.raises(ConfigError):
            await limiter.hit(key)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


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
        assert 29 < decision.retry_after <= 30
    assert not await limiter.hit_up_to("ann", 1)
    await limiter.block("ann", timedelta(milliseconds=50))
    denied = await limiter.hit("ann")
    assert denied.retry_after is not None
    await asyncio.sleep(denied.retry_after + 0.002)
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


# -- several limiters --------------------------------------------------------------------------


async def count(limiter: Limiter, key: Any) -> int:
    """How much of a limiter's first policy is used."""
    return limiter.policies[0].limit - (await limiter.peek(key)).quotas[0].remaining


async def test_hit_all_counts_with_all_or_none(client: Client) -> None:
    await check_hit_all(client)


async def test_hit_all_counts_with_all_or_none_on_a_cluster() -> None:
    async with cluster() as client:
        await check_hit_all(client)


async def check_hit_all(client: Client) -> None:
    by_address = Limiter(client, "ip", SlidingWindow(9, per=60), TokenBucket(50, per=60))
    by_user = Limiter(client, "user", SlidingWindow(3, per=60), near=0)
    decision = await hit_all((by_address, "::1"), (by_user, 7), cost=2)
    assert decision
    assert [quota.remaining for quota in decision.quotas] == [7, 48, 1]
    assert decision.headers()["RateLimit-Policy"].startswith('"ip-window-60s";q=9;w=60, "ip-buck')
    denied = await hit_all((by_address, "::1"), (by_user, 7), cost=2)
    assert not denied
    assert denied.policy is by_user.policies[0]
    assert denied.retry_after is not None
    assert (await count(by_address, "::1"), await count(by_user, 7)) == (2, 2)
    assert await by_user.refund(decision)
    assert not await by_user.refund(decision)
    assert (await count(by_address, "::1"), await count(by_user, 7)) == (0, 0)
    await by_user.block(8, 60)
    assert (await hit_all((by_address, "::1"), (by_user, 8))).blocked
    assert await count(by_address, "::1") == 0


async def test_hit_all_remembers_who_denied(client: Client) -> None:
    by_address = Limiter(client, "ip", SlidingWindow(9, per=60))
    by_user = Limiter(client, "user", TokenBucket(9, per=60), SlidingWindow(1, per=60))
    assert await hit_all((by_address, "::1"), (by_user, 7))
    assert not await hit_all((by_address, "::1"), (by_user, 7))
    commands = client.statistics().commands
    denied = await by_user.hit(7)
    assert (denied.source, denied.policy) == ("near", by_user.policies[1])
    assert denied.remaining == 0
    assert (await hit_all((by_address, "::1"), (by_user, 7))).source == "near"
    assert client.statistics().commands == commands
    assert await by_address.hit("::1")


async def test_hit_all_during_an_outage_is_all_or_none_as_well(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url) as client:
        by_address = Limiter(client, "ip", SlidingWindow(9, per=60))
        by_user = Limiter(client, "user", SlidingWindow(1, per=60))
        await by_user.hit(1)
        server.kill()
        allowed = await hit_all((by_address, "::1"), (by_user, 7))
        assert (allowed.source, bool(allowed)) == ("local", True)
        assert not await hit_all((by_address, "::1"), (by_user, 7))
        assert (await by_address.peek("::1")).remaining == 8
        assert await by_address.refund(allowed)
        assert (await by_address.peek("::1")).remaining == 9
        assert (await by_user.peek(7)).remaining == 1
        server.start()


async def test_hit_all_refuses_what_cannot_be_decided_together(client: Client) -> None:
    one = Limiter(client, "a", SlidingWindow(1, per=60))
    again = Limiter(client, "a", SlidingWindow(5, per=60))
    shadow = Limiter(client, "b", SlidingWindow(1, per=60), shadow=True)
    elsewhere = Limiter(Client.from_url("memory://"), "c", SlidingWindow(1, per=60))
    cases: list[tuple[Any, str]] = [
        ((), "at least one"),
        (((one, 1), (one, 1)), "twice"),
        (((one, 1), (again, 1)), "twice"),
        (((one, 1), (shadow, 1)), "shadow"),
        (((one, 1), (elsewhere, 1)), "same client"),
        ((one,), "pairs"),
        (((one, ""),), "empty"),
    ]
    for asked, words in cases:
        with pytest.raises(ConfigError, match=words):
            await hit_all(*asked)
    with pytest.raises(ConfigError, match="cost"):
        await hit_all((one, 1), cost=0)


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "x" * 2000, None, 1.5, True, b"ann", (), ["ann"]])
async def test_key_that_cannot_be_is_refused(client: Client, key: Any) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    for call in (limiter.hit(key), limiter.peek(key), limiter.reset(key), limiter.block(key, 1)):
        with pytest.raises(ConfigError):
            await call


@pytest.mark.parametrize("cost", [0, -1, 1.0, True, NAN, "1", None, 10**10])
async def test_cost_that_cannot_be_is_refused(client: Client, cost: Any) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    await limiter.hit("ann")
    await limiter.hit("ann")  # near answers from here on, and still refuses
    for call in (
        limiter.hit("ann", cost=cost),
        limiter.peek("ann", cost=cost),
        limiter.hit_up_to("ann", cost),
    ):
        with pytest.raises(ConfigError, match="cost"):
            await call


@pytest.mark.parametrize("seconds", [0, -1, NAN, INFINITE, "1", None, True])
async def test_time_that_cannot_be_is_refused(client: Client, seconds: Any) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    with pytest.raises(ConfigError):
        await limiter.block("ann", seconds)
    with pytest.raises(ConfigError):
        await limiter.acquire("ann", timeout=seconds)


async def test_limiter_of_a_closed_client_says_so(url: str) -> None:
    limiter = Limiter(Client.from_url(url), "api", SlidingWindow(1, per=60))
    for call in (limiter.hit("ann"), limiter.peek("ann"), limiter.reset("ann")):
        with pytest.raises(ClosedError):
            await call


async def test_another_programs_key_is_an_error_not_a_decision(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    name = f"{limiter.key('ann')}:window-60s"
    await client.pipeline([("RPUSH", name, "a"), ("PEXPIRE", name, 60_000)])
    with pytest.raises(ReplyError) as caught:
        await limiter.hit("ann")
    assert caught.value.code == "WRONGTYPE"


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
