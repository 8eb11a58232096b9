"""`hit_all`: several limiters and keys, all or none, on one server, on a Cluster and without."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, ConfigError
from millpond.errors import BackendError
from millpond.limit.limiter import Limiter
from millpond.limit.policies import SlidingWindow, TokenBucket
from millpond.limit.together import hit_all
from tests.support.limit_cluster import cluster
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.limit.decision import Decision


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
        strict = Limiter(client, "strict", SlidingWindow(1, per=60), on_unavailable="raise")
        with pytest.raises(BackendError):
            await hit_all((by_address, "::1"), (strict, 7))
        assert (await by_address.peek("::1")).remaining == 9
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


async def test_equal_policies_of_different_limiters_are_told_apart(client: Client) -> None:
    same = SlidingWindow(2, per=60)
    by_address, by_user = Limiter(client, "ip", same), Limiter(client, "user", same, near=0)
    await by_user.hit(7, cost=2)
    denied = await hit_all((by_address, "::1"), (by_user, 7))
    assert denied.label == "user-window-60s"
    assert denied.violated == ("user-window-60s",)
    assert denied.headers(legacy=True)["X-RateLimit-Remaining"] == "0"


async def test_cluster_is_asked_one_by_one_from_its_first_refusal_on() -> None:
    async with cluster() as client:
        by_address = Limiter(client, "ip", SlidingWindow(9, per=60))
        by_user = Limiter(client, "user", SlidingWindow(1, per=60))
        calls: list[int] = []
        for allowed in (True, False):
            assert bool(await hit_all((by_address, "::1"), (by_user, 7))) is allowed
            calls.append(by_address.statistics().calls + by_user.statistics().calls)
        assert calls == [3, 5]  # one in vain, and one for each; then one for each
        assert (await hit_all((by_address, "::1"), (by_user, 7))).source == "near"


async def test_caller_cancelled_at_any_step_on_a_cluster_leaves_all_or_nothing() -> None:
    """Whatever was counted for a caller that has gone is given back, the hit on its way too."""
    async with cluster() as client:
        limiters = [Limiter(client, name, SlidingWindow(9, per=60), near=0) for name in "abc"]
        await hit_all(*((limiter, 0) for limiter in limiters))

        def calls() -> int:
            return sum(limiter.statistics().calls for limiter in limiters)

        steps = [(asked, turns) for asked in range(4) for turns in range(8)]
        for key, (asked, turns) in enumerate(steps, start=1):
            before = calls()
            task = asyncio.create_task(hit_all(*((limiter, key) for limiter in limiters)))
            while calls() < before + asked and not task.done():
                await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        ends: set[tuple[int, ...]] = set()
        for last in (False, True):  # before the first round has its answers, all refunds have left
            for key in range(1, 1 + len(steps)):
                left = [(await limiter.peek(key)).remaining for limiter in limiters]
                ends |= {tuple(left)} if last else set()
        assert ends <= {(9, 9, 9), (8, 8, 8)}
        assert (9, 9, 9) in ends


async def test_refund_of_a_hit_that_came_to_nothing_ends_the_denials_it_has_caused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a Cluster: the address counts, another is denied because of it, then the user denies."""
    async with cluster() as client:
        by_address = Limiter(client, "ip", SlidingWindow(1, per=60))
        by_user = Limiter(client, "user", SlidingWindow(1, per=60), near=0)
        await hit_all((by_address, 0), (by_user, 0))
        await by_user.hit(7)
        denial = await by_user.hit(7)
        asked: asyncio.Queue[asyncio.Future[Decision]] = asyncio.Queue()

        def late(*_: Any) -> asyncio.Future[Decision]:
            asked.put_nowait(future := asyncio.get_running_loop().create_future())
            return future

        monkeypatch.setattr(by_user.desk, "hit", late)
        asking = asyncio.create_task(hit_all((by_address, "::1"), (by_user, 7)))
        answer = await asked.get()
        assert not await by_address.hit("::1")
        by_address.desk.space.forget(by_address.key("::1"))
        calls = by_address.statistics().calls
        later = asyncio.create_task(by_address.hit("::1"))  # denied while the refund leaves
        while by_address.statistics().calls == calls:
            await asyncio.sleep(0)
        answer.set_result(denial)
        assert not await asking
        assert not await later
        assert await by_address.hit("::1")
