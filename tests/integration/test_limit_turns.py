"""Hits of one turn of the loop share a call, and a denial answers for a moment what follows it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, ConfigError, ReplyError
from millpond.limit.limiter import Limiter
from millpond.limit.policies import SlidingWindow, TokenBucket
from tests.support.limit_cluster import cluster

if TYPE_CHECKING:
    from millpond.limit.decision import Decision
    from tests.support.servers import Server

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


async def test_hit_in_another_threads_loop_is_refused_and_disturbs_none_that_was_gathered(
    client: Client,
) -> None:
    limiter = Limiter(client, "api", SlidingWindow(5, per=60))
    gathered = limiter.desk.hit(limiter.key("ann"), "ann", 1)
    refused: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(limiter.enforce("bob"))
        except Exception as error:  # noqa: BLE001  (which one, is what is asked)
            refused.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()  # in the same turn
    assert [type(error) for error in refused] == [ConfigError]
    assert (await gathered).remaining == 4
    assert (await limiter.hit("bob")).remaining == 4


@pytest.mark.parametrize("first", ["hit", "reset", "peek"])
def test_hit_that_an_event_loop_left_unsent_holds_up_nobody_in_the_next(
    url: str, first: str
) -> None:
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
            await getattr(limiter, first)("bob")
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


async def test_who_waits_as_long_as_a_near_denial_says_is_admitted(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=0.05))
    for _ in range(20):
        await limiter.hit("ann")
        await limiter.hit("ann")
        near = await limiter.hit("ann")
        assert near.source == "near"
        assert near.retry_after is not None
        end = time.perf_counter() + near.retry_after
        while time.perf_counter() < end:
            await asyncio.sleep(0)
        assert await limiter.hit("ann")
        await limiter.reset("ann")


async def test_tuple_that_is_no_key_is_refused_though_an_equal_one_is_denied(
    client: Client,
) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    await limiter.hit(("user", 1))
    assert not await limiter.hit(("user", 1))
    assert (await limiter.hit(("user", 1))).source == "near"
    bad: list[Any] = [("user", True), ("user", 1.0), ("user", [1]), ("user", {})]
    for key in bad:
        with pytest.raises(ConfigError):
            await limiter.hit(key)


async def test_callers_of_one_failed_call_get_errors_of_their_own(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(9, per=60))
    name = f"{limiter.key('ann')}:window-60s"
    await client.pipeline([("RPUSH", name, "a"), ("PEXPIRE", name, 60_000)])
    errors = await asyncio.gather(*(limiter.hit("ann") for _ in range(3)), return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    assert {getattr(error, "code", None) for error in errors} == {"WRONGTYPE"}
