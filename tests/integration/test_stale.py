"""Values that are served past their time on purpose, in two processes' worth of clients.

Time passes by `expire`, which makes a value stale now: with `stale_while_revalidate` it is served,
without it is overdue.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import (
    MISSING,
    CachePolicy,
    CodecError,
    InvalidationPending,
    LoadTimeout,
    RefreshFailed,
)
from millpond.core.entry import IS_SOFT, parse
from millpond.events import FillRefused, LoadFailed
from tests.support.fleet import (
    Member,
    Source,
    ask,
    at_rest,
    made_stale,
    put_value,
    refreshing,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

KEY = "t:n:1"
WHILE = CachePolicy(stale_while_revalidate=60)
ON_ERROR = CachePolicy(stale_if_error=60, stale_retry=30)
BOTH = CachePolicy(stale_while_revalidate=60, stale_if_error=600, stale_retry=30)


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url, policy=WHILE) as member:
        yield member


@pytest.fixture
async def two(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url, policy=WHILE) as member:
        yield member


async def fail() -> int:
    raise LookupError


# -- while it is revalidated ---------------------------------------------------------------------


async def test_stale_value_is_served_at_once_and_refreshed_by_one_load(
    flavoured_server: Server,
) -> None:
    url = flavoured_server.url
    async with Member[int](url, policy=WHILE) as one, Member[int](url, policy=WHILE) as two:
        source = await made_stale(one)
        source.hold()
        crowd = [ask(member, source.load) for _ in range(50) for member in (one, two)]
        assert await asyncio.gather(*crowd) == [1] * 100
        await source.called(2)
        assert await ask(two, source.load) == 1
        source.release()
        await at_rest(one, two)
        assert await one.cache.get(1) == await two.cache.get(1) == 2
        assert source.calls == 2
        counted = [member.cache.statistics() for member in (one, two)]
        assert sum(each.stale for each in counted) == 101
        assert sum(each.refreshes for each in counted) == 1
        assert sum(each.misses for each in counted) == 1


async def test_value_lives_for_its_ttl_and_the_longer_of_the_windows(
    url: str, server: Server
) -> None:
    async with Member[int](url, ttl=100, policy=BOTH) as one:
        assert await ask(one, Source(1).load) == 1
        assert 699_000 < int(server.execute("PTTL", KEY)) <= 700_000
        entry = await one.cache.get_entry(1)
        assert entry is not None
        assert 99 < entry.fresh_for <= 100
        assert 699 < entry.ttl <= 700
        assert not entry.stale
        assert await one.cache.touch(1, ttl=50) == 1
        entry = await one.cache.get_entry(1)
        assert entry is not None
        assert not entry.stale
        assert 49 < entry.fresh_for <= 50
        assert 649 < entry.ttl <= 650
        await one.cache.expire(1)
        entry = await one.cache.get_entry(1)
        assert entry is not None
        assert (entry.stale, entry.fresh_for, entry.source) == (True, 0, "redis")


async def test_touch_does_not_undo_an_expire(url: str, one: Member[int]) -> None:
    source = await made_stale(one)
    async with Member[int](url, policy=BOTH) as other:
        assert await other.cache.touch(1) == 0  # who slides expiries knows nothing of the write
        entry = await other.cache.get_entry(1)
        assert entry is not None
        assert entry.stale
        assert await ask(other, source.load) == 1  # served once more, and refreshed
        await at_rest(one, other)
        assert await other.cache.get(1) == 2
        assert await other.cache.touch(1) == 1


async def test_values_that_are_set_and_written_through_become_stale_too(one: Member[int]) -> None:
    source = Source(5)
    await one.cache.set(1, 1)
    async with one.cache.writing(2) as write:
        write.set(2)
    for key in (1, 2):
        await one.cache.expire(key)
        assert await ask(one, source.load, key) == key
        await at_rest(one)
        assert await one.cache.get(key) == 5


async def test_none_is_served_stale_as_any_value(url: str) -> None:
    async with Member[int | None](url, type=int | None, policy=WHILE) as one:
        source: Source[int | None] = Source(None)
        assert await ask(one, source.load) is None
        await one.cache.expire(1)
        source.value = 3
        assert await ask(one, source.load) is None
        await at_rest(one)
        assert await one.cache.get(1) == 3


async def test_get_serves_it_without_refreshing(one: Member[int]) -> None:
    source = await made_stale(one)
    assert await one.cache.get(1) == 1
    assert (source.calls, one.cache.statistics().stale) == (1, 1)


async def test_failed_refresh_leaves_the_value_and_says_so(one: Member[int]) -> None:
    source = await made_stale(one)
    assert await ask(one, fail) == 1
    await until(lambda: one.told(RefreshFailed))
    (told,) = one.told(RefreshFailed)
    assert (told.key, told.type_name, told.retry_after) == (KEY, "LookupError", 1)
    assert len(one.told(LoadFailed)) == 1
    assert await ask(one, source.load) == 1
    assert source.calls == 1  # a moment later nobody tries again
    assert one.cache.statistics().kept == 1


async def test_refresh_of_a_process_that_ends_is_left_to_others(one: Member[int], url: str) -> None:
    source = Source(1)
    async with Member[int](url, policy=WHILE) as gone:
        await made_stale(gone, source)
        source.hold()
        assert await ask(gone, source.load) == 1
        await source.called(2)
    source.release()
    assert await ask(one, source.load) == 1
    await at_rest(one)
    assert await one.cache.get(1) == 2
    assert source.calls == 3


async def test_refresh_that_outlasts_its_lease_is_renewed_and_stays_the_only_one(url: str) -> None:
    policy = CachePolicy(stale_while_revalidate=60, lease_ttl=0.1)
    async with Member[int](url, policy=policy) as one, Member[int](url, policy=policy) as two:
        source = await refreshing(one)
        ends = time.monotonic() + 0.4  # four leases
        while time.monotonic() < ends:
            assert await ask(two, source.load) == 1
        source.release()
        await at_rest(one, two)
        assert source.calls == 2
        assert await two.cache.get(1) == 2


async def test_call_of_refresh_waits_for_one_in_the_background_elsewhere_and_loads_anew(
    one: Member[int], two: Member[int]
) -> None:
    source = await refreshing(one, by=two)
    source.value = 3
    anew = asyncio.create_task(one.cache.refresh(1, source.load))
    await one.waiting()
    assert source.calls == 2
    assert await ask(one, source.load) == 1  # the old value is served meanwhile
    source.release()
    assert await anew == 3
    await at_rest(one, two)
    assert await one.cache.get(1) == 3


async def test_call_of_refresh_that_fails_leaves_the_value(one: Member[int]) -> None:
    await one.cache.set(1, 1)
    with pytest.raises(LookupError):
        await one.cache.refresh(1, fail)
    assert await one.cache.get(1) == 1
    assert one.cache.statistics().stale == 0


async def test_cancelled_reader_leaves_the_refresh_alone(one: Member[int]) -> None:
    source = await made_stale(one)
    source.hold()
    reader = ask(one, source.load)
    await source.called(2)
    reader.cancel()
    source.release()
    await at_rest(one)
    assert await one.cache.get(1) == 2


async def test_loader_that_is_asked_for_a_stale_value_of_its_own_key_is_no_deadlock(
    one: Member[int],
) -> None:
    source = await made_stale(one)

    async def load() -> int:
        return 10 + await one.cache.get_or_set(1, source.load)

    assert await ask(one, load) == 1
    await at_rest(one)
    assert await one.cache.get(1) == 11


# -- never what was deleted ----------------------------------------------------------------------


async def test_refresh_that_a_delete_overtook_stores_nothing(
    one: Member[int], two: Member[int]
) -> None:
    source = await refreshing(one)
    source.value = 3
    assert await two.cache.delete(1)
    assert await one.cache.get(1) is MISSING
    late = ask(one, source.load)  # joins the refresh, whose load began before
    await one.joined(3)
    source.release()
    assert await late == 3
    assert [event.reason for event in one.told(FillRefused)] == ["revoked"]
    assert await two.cache.get(1) == 3


async def test_caller_who_found_nothing_is_not_given_the_value_from_before(
    one: Member[int], two: Member[int]
) -> None:
    source = await refreshing(one)
    source.value = 3
    await two.cache.delete(1)
    late = ask(two, source.load)
    await source.called(3)
    source.release()
    await at_rest(one, two)
    assert await late == await one.cache.get(1) == 3


async def test_refresh_over_which_somebody_wrote_stores_nothing(
    one: Member[int], two: Member[int]
) -> None:
    source = Source(1)
    for write in ("set", "writing", "expire"):
        await made_stale(one, source)
        source.hold()
        calls = source.calls
        assert await ask(one, source.load) == source.value - 1
        await source.called(calls + 1)
        if write == "set":
            await two.cache.set(1, 50)
        elif write == "expire":
            await two.cache.expire(1)
        else:
            async with two.cache.writing(1) as block:
                block.set(60)
        source.value += 1
        source.release()
        await at_rest(one)
        expected = {"set": 50, "writing": 60, "expire": source.value - 2}
        assert await one.cache.get(1) == expected[write], write
        await two.cache.delete(1)


async def test_fallback_is_the_callers_own_and_not_for_who_came_after_the_delete(
    url: str,
) -> None:
    async with Member[int](url, policy=ON_ERROR) as one, Member[int](url) as two:
        await made_stale(one)
        begun, end = asyncio.Event(), asyncio.Event()

        async def load() -> int:
            begun.set()
            await end.wait()
            raise LookupError

        early = ask(one, load)
        await begun.wait()
        assert await two.cache.delete(1)
        late = ask(one, load)
        await one.joined(3)
        end.set()
        assert await early == 1
        with pytest.raises(LookupError):
            await late
        assert one.told(RefreshFailed) == []
        assert await two.cache.get(1) is MISSING


# -- if it cannot be loaded ----------------------------------------------------------------------


async def test_overdue_value_is_loaded_and_waited_for(url: str) -> None:
    async with Member[int](url, policy=ON_ERROR) as one, Member[int](url, policy=ON_ERROR) as two:
        source = await made_stale(one)
        source.hold()
        here = [ask(one, source.load) for _ in range(10)]
        await source.called(2)
        there = [ask(two, source.load) for _ in range(10)]
        await two.waiting()
        source.release()
        assert await asyncio.gather(*here, *there) == [2] * 20
        assert source.calls == 2
        assert one.cache.statistics().stale == 0


async def test_source_that_is_down_is_asked_once_in_stale_retry_by_the_fleet(url: str) -> None:
    async with Member[int](url, policy=ON_ERROR) as one, Member[int](url, policy=ON_ERROR) as two:
        await made_stale(one)
        calls = 0

        async def down() -> int:
            nonlocal calls
            calls += 1
            raise ConnectionError

        crowd = [ask(member, down) for _ in range(50) for member in (one, two)]
        assert await asyncio.gather(*crowd) == [1] * 100
        assert await ask(one, down) == await ask(two, down) == 1
        assert calls == 1
        told = [*one.told(RefreshFailed), *two.told(RefreshFailed)]
        assert [event.retry_after for event in told] == [30]
        assert await one.cache.get(1) == 1


@pytest.mark.parametrize("way", ["runs too long", "cancels itself"])
async def test_load_that_does_not_return_is_a_failure_too(url: str, way: str) -> None:
    policy = CachePolicy(stale_if_error=60, load_timeout=0.05)
    async with Member[int](url, policy=policy) as one:
        await made_stale(one)

        async def load() -> int:
            if way == "cancels itself":
                raise asyncio.CancelledError
            await asyncio.Event().wait()
            return -1

        assert await ask(one, load) == 1
        await one.cache.delete(1)
        if way == "runs too long":
            with pytest.raises(LoadTimeout):
                await ask(one, load)


async def test_value_past_its_window_is_as_good_as_none(url: str, server: Server) -> None:
    async with Member[int](url, policy=WHILE) as one, Member[int](url, policy=BOTH) as other:
        await put_value(one, 1, ago_ms=3_600_000, soft_ms=1000)
        for member in (one, other):
            with pytest.raises(LookupError):
                await ask(member, fail)
        assert await ask(one, Source(2).load) == 2


async def test_value_of_the_wrong_type_is_no_outage(url: str) -> None:
    async with Member[int](url, policy=ON_ERROR) as one:
        await made_stale(one)

        async def wrong() -> Any:
            return "text"

        with pytest.raises(CodecError):
            await ask(one, wrong)
        assert await one.cache.get(1) == 1


async def test_cache_that_serves_nothing_stale_takes_no_notice_of_what_another_keeps(
    url: str,
) -> None:
    async with Member[int](url, policy=BOTH) as one, Member[int](url) as plain:
        source = await made_stale(one)
        assert await plain.cache.get(1) is MISSING
        assert await ask(plain, source.load) == 2


# -- patience ------------------------------------------------------------------------------------


async def test_who_waits_longer_than_stale_after_is_given_the_stale_value(url: str) -> None:
    policy = CachePolicy(stale_if_error=60, stale_after=0.05)
    async with Member[int](url, policy=policy) as one:
        source = await made_stale(one)
        source.hold()
        assert await ask(one, source.load) == 1
        assert source.running == 1
        source.release()
        await at_rest(one)
        assert await one.cache.get(1) == 2
        assert source.calls == 2


# -- early ---------------------------------------------------------------------------------------


async def test_value_due_early_is_refreshed_once_before_it_is_stale(url: str) -> None:
    policy = CachePolicy(early_refresh=100)
    async with Member[int](url, policy=policy) as one, Member[int](url, policy=policy) as two:
        source = Source(2, held=True)
        await put_value(one, 1, load_ms=60_000, soft_ms=60_000)
        crowd = [ask(member, source.load) for _ in range(50) for member in (one, two)]
        assert await asyncio.gather(*crowd) == [1] * 100
        await source.called()
        source.release()
        await at_rest(one, two)
        assert await one.cache.get(1) == 2
        assert source.calls == 1
        assert one.cache.statistics().stale == 0


# -- expire --------------------------------------------------------------------------------------


async def test_expire_where_nothing_stale_is_kept_is_a_delete(url: str) -> None:
    async with Member[int](url) as one:
        assert await ask(one, Source(1).load) == 1
        assert await one.cache.expire(1)
        assert await one.cache.get(1) is MISSING
        assert await one.cache.expire(1, 2, 3)
        assert await one.cache.expire()


async def test_expire_of_a_load_under_way_revokes_it(one: Member[int], two: Member[int]) -> None:
    source = Source(1, held=True)
    loading = ask(one, source.load)
    await source.called()
    assert await two.cache.expire(1)
    source.release()
    assert await loading == 1
    assert await one.cache.get(1) is MISSING


async def test_expire_meets_a_write_mark_as_a_delete_does(
    one: Member[int], two: Member[int]
) -> None:
    async with one.cache.writing(1) as write:
        write.set(1)
        assert await two.cache.expire(1)
    assert await one.cache.get(1) is MISSING
    assert [event.reason for event in one.told(FillRefused)] == ["overlapped"]


async def test_expired_value_carries_another_generation_each_time(
    one: Member[int], server: Server
) -> None:
    await one.cache.set(1, 1)
    seen: set[bytes] = set()
    for _ in range(3):
        raw = await one.client.call("GET", KEY)
        seen.add(parse(raw).generation)
        assert parse(raw).flags == IS_SOFT
        await one.cache.expire(1)
    assert len(seen) == 3


async def test_cached_function_expires_by_its_arguments(one: Member[int]) -> None:
    calls = 0

    @one.cache.cached("{key}")
    async def count(key: int) -> int:
        nonlocal calls
        calls += 1
        return calls

    assert await count(1) == 1
    assert await count.expire(key=1)
    assert await count(1) == 1
    await at_rest(one)
    assert await count(1) == 2


async def test_unconfirmed_expire_says_so(url: str) -> None:
    policy = CachePolicy(stale_while_revalidate=60, on_unconfirmed="raise")
    async with Member[int]("redis://127.0.0.1:1/0", policy=policy) as one:
        with pytest.raises(InvalidationPending):
            await one.cache.expire(1)
