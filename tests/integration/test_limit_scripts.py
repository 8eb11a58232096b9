"""The limiters' scripts under a clock that is set back, after years, and beside foreign keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, ReplyError
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket
from millpond.limit.programs import deciding
from tests.support.limit_bench import NOON, SECOND, Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from millpond.limit.policies import Policy
    from tests.support.servers import Server

YEAR = 365 * 86_400 * SECOND


@pytest.fixture(params=["server", "memory"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    url = "memory://" if request.param == "memory" else request.getfixturevalue("server").url
    async with Client.from_url(url) as client:
        yield Bench(client)


WINDOW = SlidingWindow(2, per=10)


@pytest.mark.parametrize("limit", [2, 100])
async def test_clock_set_back_neither_admits_more_nor_locks_anybody_out(
    bench: Bench, limit: int
) -> None:
    """An hour back: who had used up the limit waits for the window, as if no time had passed."""
    policy = SlidingWindow(limit, per=10)
    assert (await bench.hit(NOON, policy, limit))[0] == [0, limit, 0, 10 * SECOND]
    back = NOON - 3600 * SECOND
    assert (await bench.hit(back, policy))[0] == [1, 10 * SECOND, 0, 10 * SECOND]
    assert (await bench.hit(back + 4 * SECOND, policy))[0] == [1, 6 * SECOND, 0, 6 * SECOND]
    assert (await bench.hit(back + 10 * SECOND - 1, policy))[0][0] == 1
    assert (await bench.hit(back + 10 * SECOND, policy))[0][0] == 0


async def test_clock_set_back_keeps_the_distances_between_hits(bench: Bench) -> None:
    await bench.hit(NOON, WINDOW)
    await bench.hit(NOON + 3 * SECOND, WINDOW)
    back = NOON - 5
    assert (await bench.hit(back, WINDOW))[0] == [1, 7 * SECOND, 0, 10 * SECOND]
    assert (await bench.hit(back + 7 * SECOND, WINDOW))[0][:2] == [0, 1]


async def test_clock_set_back_while_there_is_room_counts_on(bench: Bench) -> None:
    await bench.hit(NOON, WINDOW)
    assert (await bench.hit(NOON - 60 * SECOND, WINDOW))[0] == [0, 1, 0, 10 * SECOND]
    assert (await bench.hit(NOON - 50 * SECOND - 1, WINDOW))[0][:2] == [1, 1]


async def test_clock_set_back_does_not_stop_a_bucket_from_filling(bench: Bench) -> None:
    policy = TokenBucket(1, per=1, burst=2)
    await bench.hit(NOON, policy, 2)
    back = NOON - 3600 * SECOND
    assert (await bench.hit(back, policy))[0] == [1, SECOND, 0, 2 * SECOND]
    assert (await bench.hit(back + SECOND, policy))[0][0] == 0


async def test_clock_set_back_leaves_a_fixed_window_counting(bench: Bench) -> None:
    policy = FixedWindow(2, per=10)
    await bench.hit(NOON, policy, 2)
    back = NOON - 3600 * SECOND
    assert (await bench.hit(back, policy))[0][:2] == [1, 10 * SECOND]
    assert (await bench.hit(back + 10 * SECOND, policy))[0][0] == 0


@pytest.mark.parametrize("limit", [5, 200])
async def test_window_that_never_empties_for_ten_years_stays_exact(
    bench: Bench, limit: int
) -> None:
    """Six bytes hold nine years of microseconds; the stamps are moved before they are too few."""
    policy = SlidingWindow(limit, per=YEAR / SECOND)
    await bench.hit(NOON, policy, limit - 1)
    now = NOON
    for half in range(1, 21):
        now = NOON + half * YEAR // 2
        assert (await bench.hit(now, policy))[0][0] == 0, half
        used = limit if half == 1 else 2
        expected = [limit - used, YEAR]
        assert (await bench.hit(now, policy, mode="peek"))[0][2:] == expected, half
    wait = (await bench.hit(now + 7, policy, limit - 1, mode="peek"))[0]
    assert wait[:2] == [1, YEAR // 2 - 7]


async def test_refund_takes_exactly_its_own_hit_out_of_the_middle(bench: Bench) -> None:
    policy = SlidingWindow(3, per=10)
    for second in (0, 1, 2):
        await bench.hit(NOON + second * SECOND, policy)
    assert await bench.refund(NOON + 3 * SECOND, policy, NOON + SECOND) == 1
    assert (await bench.hit(NOON + 3 * SECOND, policy))[0][0] == 0
    assert (await bench.hit(NOON + 4 * SECOND, policy))[0][:2] == [1, 6 * SECOND]
    assert await bench.refund(NOON + 4 * SECOND, policy, NOON + SECOND) == 0


@pytest.mark.parametrize("policy", [WINDOW, TokenBucket(2, per=10), FixedWindow(2, per=10)])
async def test_refund_of_all_there_is_leaves_no_key(bench: Bench, policy: Policy) -> None:
    await bench.hit(NOON, policy, 2)
    assert await bench.refund(NOON + 1, policy, NOON, 2) == 1
    assert await bench.client.call("EXISTS", f"{{k}}:{policy.label}") == 0


async def test_refund_of_a_fixed_window_that_has_ended_gives_nothing_back(bench: Bench) -> None:
    policy = FixedWindow(2, per=10)
    await bench.hit(NOON, policy, 2)
    await bench.hit(NOON + 10 * SECOND, policy)
    assert await bench.refund(NOON + 11 * SECOND, policy, NOON, 2) == 0
    assert (await bench.hit(NOON + 11 * SECOND, policy, mode="peek"))[0][2] == 1


@pytest.mark.parametrize("policy", [WINDOW, TokenBucket(2, per=10), FixedWindow(2, per=10)])
async def test_foreign_bytes_under_a_state_count_as_nothing(bench: Bench, policy: Policy) -> None:
    head = b"w" + bytes(7) + b"\0\0\5" + b"\0\0\1" + b"\0\0\2" + bytes(6)
    short = (b"", b"w", b"w" * 22, bytes(60), b"12 x", b"-1 5", b"5 5", b"1 2 3 4")
    for raw in (
        *short,
        b"w" * 23,
        b"w" * 60,
        b"w" * 5000,
        head,
        head + bytes(12),
        head + bytes(99),
    ):
        await bench.client.call("SET", f"{{k}}:{policy.label}", raw, "PX", 60_000)
        assert (await bench.hit(NOON, policy))[0][:3] == [0, 1, 1], raw


async def test_another_programs_list_is_an_error_and_nothing_is_counted(client: Client) -> None:
    policies = (SlidingWindow(5, per=10), TokenBucket(5, per=10))
    states = [f"{{k}}:{policy.label}" for policy in policies]
    await client.pipeline([("RPUSH", states[1], "a"), ("PEXPIRE", states[1], 60_000)])
    numbers = [number for policy in policies for number in policy.numbers]
    with pytest.raises(ReplyError) as caught:
        await client.run(deciding("bw"), keys=["{k}:b", *states], args=["hit", 1, 2, *numbers, 1])
    assert caught.value.code == "WRONGTYPE"
    assert await client.call("EXISTS", states[0]) == 0


async def test_hits_within_one_millisecond_and_the_next_keep_their_microseconds(
    bench: Bench,
) -> None:
    """Floored to milliseconds, the window of a hit would end up to a millisecond early."""
    policy = SlidingWindow(1, per=0.05)
    assert (await bench.hit(NOON + 999, policy))[0][0] == 0
    assert (await bench.hit(NOON + 50_998, policy))[0][:2] == [1, 1]
    assert (await bench.hit(NOON + 50_999, policy))[0][0] == 0


async def test_hits_of_one_microsecond_count_each(bench: Bench) -> None:
    policy = SlidingWindow(3, per=10)
    whys = [(await bench.hit(NOON, policy))[0][0] for _ in range(5)]
    assert whys == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("hits", [1, 64, 65, 500])
async def test_every_state_expires_with_what_it_counts(flavoured_server: Server, hits: int) -> None:
    cases: list[tuple[Any, int, int]] = [
        (SlidingWindow(1000, per=60), 60_000, 60_010),
        (TokenBucket(100, per=10, burst=1000), hits * 100 - 10, hits * 100 + 10),
        (FixedWindow(1000, per=86_400), 1, 86_400_010),
    ]
    async with Client.from_url(flavoured_server.url) as client:
        for policy, least, most in cases:
            keys = ["{k}:block", f"{{k}}:{policy.label}"]
            args = ["hit", 1, 1, *policy.numbers]
            await client.run(deciding(policy.kind), keys=keys, args=[*args, hits])
            left = await client.call("PTTL", keys[1])
            assert least - 1000 <= left <= most
            await client.run(deciding(policy.kind), keys=keys, args=[*args, 1])
            assert left - 1000 <= await client.call("PTTL", keys[1]) <= most + 100
        assert await client.call("EXISTS", "{k}:block") == 0


async def test_memory_of_a_window_is_six_bytes_a_hit(client: Client) -> None:
    policy = SlidingWindow(1000, per=60)
    keys = ["{t:api:1}:block", f"{{t:api:1}}:{policy.label}"]
    counted = 0
    for hits in (1, 100, 1000):
        args = ["hit", 1, 1, *policy.numbers, *([-1] * (hits - counted - 1)), 1]
        await client.run(deciding("w"), keys=keys, args=args)
        counted = hits
        assert await client.call("STRLEN", keys[1]) <= 23 + 6 * (hits if hits != 100 else 128)
        assert await client.call("MEMORY", "USAGE", keys[1]) <= 300 + 6 * max(
            hits, 128 * (hits > 64)
        )
