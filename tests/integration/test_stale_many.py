"""Many values that are served past their time on purpose, in two processes' worth of clients.

Time passes by `expire`, as in `test_stale.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import (
    MISSING,
    CachePolicy,
    LoadManyFailed,
    NearCache,
    RefreshFailed,
)
from millpond.events import FillRefused
from tests.support.fleet import Member, Source, ask, at_rest, until
from tests.support.rows import Rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.support.servers import Server

WHILE = CachePolicy(stale_while_revalidate=60, stale_retry=30)
ON_ERROR = CachePolicy(stale_if_error=60, stale_retry=30)


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url, policy=WHILE) as member:
        yield member


@pytest.fixture
async def two(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url, policy=WHILE) as member:
        yield member


def ask_many(
    member: Member[int], rows: Rows[int], keys: Iterable[Any]
) -> asyncio.Task[dict[Any, int]]:
    return asyncio.create_task(member.cache.get_or_set_many(keys, rows.load))


async def made_stale(member: Member[int], *keys: int) -> Rows[int]:
    """Have values stored, ten for each key, and ten times as much in the table."""
    await member.cache.set_many({key: key * 10 for key in keys})
    assert await member.cache.expire(*keys)
    return Rows({key: key * 100 for key in keys})


# -- while they are revalidated ----------------------------------------------------------------


async def test_stale_values_are_served_at_once_and_refreshed_by_one_call(
    flavoured_server: Server,
) -> None:
    url = flavoured_server.url
    async with Member[int](url, policy=WHILE) as one, Member[int](url, policy=WHILE) as two:
        rows = await made_stale(one, 1, 2, 3)
        await one.cache.set(4, 40)
        rows.hold()
        crowd = [ask_many(each, rows, [4, 3, 2, 1]) for _ in range(20) for each in (one, two)]
        for found in await asyncio.gather(*crowd):
            assert list(found.items()) == [(4, 40), (3, 30), (2, 20), (1, 10)]
        await until(lambda: sum(map(len, rows.calls)) == 3)
        assert rows.most == 1
        assert len(rows.calls) <= 2, "one for each process that got any of the claims"
        rows.release()
        await at_rest(one, two)
        for each in (one, two):
            assert await each.cache.get_many([1, 2, 3]) == {1: 100, 2: 200, 3: 300}
        assert sum(map(len, rows.calls)) == 3
        counted = [each.cache.statistics() for each in (one, two)]
        assert sum(each.stale for each in counted) == 40 * 3
        assert sum(each.refreshes for each in counted) == 3
        assert sum(each.misses for each in counted) == 0


async def test_what_is_missing_is_not_kept_waiting_by_what_is_due(one: Member[int]) -> None:
    rows = await made_stale(one, 1, 2)
    rows.rows[3] = 300
    refreshed, go = asyncio.Event(), asyncio.Event()

    async def load(keys: list[Any]) -> dict[Any, Any]:
        if 1 in keys:
            refreshed.set()
            await go.wait()
        return await rows.load(keys)

    assert await one.cache.get_or_set_many([1, 2, 3, "1"], load) == {1: 10, 2: 20, 3: 300, "1": 10}
    await refreshed.wait()
    go.set()
    await at_rest(one)
    assert rows.calls == [[3], [1, 2]]
    assert await one.cache.get_many([1, 2]) == {1: 100, 2: 200}


async def test_caller_of_one_key_and_of_many_refresh_it_once(one: Member[int]) -> None:
    rows, source = await made_stale(one, 1, 2), Source(100, held=True)
    assert await ask(one, source.load) == 10
    assert await ask_many(one, rows, [1, 2]) == {1: 10, 2: 20}
    await rows.called()
    await source.called()
    source.release()
    await at_rest(one)
    assert (rows.calls, source.calls) == ([[2]], 1)
    rows = await made_stale(one, 1, 2)
    rows.hold()
    assert await ask_many(one, rows, [1, 2]) == {1: 10, 2: 20}
    await rows.called()
    assert await ask(one, source.load) == 10
    rows.release()
    await at_rest(one)
    assert (rows.calls, source.calls) == ([[1, 2]], 1)


async def test_refresh_of_many_that_fails_leaves_the_values_and_is_tried_again_later(
    one: Member[int], two: Member[int]
) -> None:
    await made_stale(one, 1, 2)
    calls: list[list[int]] = []

    async def load(keys: list[int]) -> dict[int, int]:
        calls.append(keys)
        raise ConnectionError

    for _ in range(3):
        for each in (one, two):
            assert await each.cache.get_or_set_many([1, 2], load) == {1: 10, 2: 20}
            await at_rest(each)
    assert calls == [[1, 2]]
    assert [told.type_name for told in one.told(RefreshFailed)] == ["ConnectionError"] * 2
    assert one.cache.statistics().kept == 2


async def test_key_that_a_refresh_leaves_out_stays_stale_and_is_asked_for_again(
    one: Member[int], two: Member[int]
) -> None:
    rows = await made_stale(one, 1, 2)
    del rows.rows[2]
    assert await ask_many(one, rows, [1, 2]) == {1: 10, 2: 20}
    await at_rest(one)
    assert await two.cache.get_many([1, 2]) == {1: 100, 2: 20}
    assert one.told(RefreshFailed) == []
    rows.rows[2] = 200
    assert await ask_many(two, rows, [1, 2]) == {1: 100, 2: 20}
    await at_rest(two)
    assert rows.calls == [[1, 2], [2]]
    assert await one.cache.get(2) == 200


async def test_refresh_of_many_that_a_delete_overtook_stores_nothing_of_that_key(
    one: Member[int], two: Member[int]
) -> None:
    rows = await made_stale(one, 1, 2)
    rows.hold()
    assert await ask_many(one, rows, [1, 2]) == {1: 10, 2: 20}
    await rows.called()
    rows.rows[1] = 111
    assert await two.cache.delete(1)
    assert await one.cache.get_many([1, 2]) == {2: 20}
    late = ask_many(one, rows, [1])  # joins the refresh, whose load began before
    await one.joined(2)
    rows.release()
    assert await late == {1: 111}
    await at_rest(one)
    assert [event.key for event in one.told(FillRefused)] == ["t:n:1"]
    assert await two.cache.get_many([1, 2]) == {1: 111, 2: 200}


async def test_closing_the_client_ends_a_refresh_of_many_and_leaves_it_to_others(
    one: Member[int], url: str
) -> None:
    async with Member[int](url, policy=WHILE) as gone:
        rows = await made_stale(gone, 1, 2)
        rows.hold()
        assert await ask_many(gone, rows, [1, 2]) == {1: 10, 2: 20}
        await rows.called()
    rows.release()
    assert await ask_many(one, rows, [1, 2]) == {1: 10, 2: 20}
    await at_rest(one)
    assert rows.calls == [[1, 2], [1, 2]]
    assert await one.cache.get_many([1, 2]) == {1: 100, 2: 200}


async def test_warm_leaves_stale_values_alone(one: Member[int]) -> None:
    rows = await made_stale(one, 1)
    rows.rows[2] = 200
    done = await one.cache.warm([1, 2], rows.load)
    assert (done.present, done.loaded) == (1, 1)
    assert rows.calls == [[2]]


async def test_get_many_counts_what_it_serves_past_its_time_and_refreshes_nothing(
    one: Member[int],
) -> None:
    await made_stale(one, 1, 2)
    await one.cache.set(3, 30)
    assert await one.cache.get_many([1, 2, 3]) == {1: 10, 2: 20, 3: 30}
    counted = one.cache.statistics()
    assert (counted.hits, counted.stale, counted.loads) == (3, 2, 0)


# -- if they cannot be loaded ------------------------------------------------------------------


async def test_overdue_values_are_loaded_with_one_call_and_waited_for(url: str) -> None:
    async with Member[int](url, policy=ON_ERROR) as one, Member[int](url, policy=ON_ERROR) as two:
        rows = await made_stale(one, 1, 2)
        rows.hold()
        here = ask_many(one, rows, [1, 2])
        await rows.called()
        there = ask_many(two, rows, [1, 2])
        await two.waiting()
        rows.release()
        assert await here == await there == {1: 100, 2: 200}
        assert rows.calls == [[1, 2]]
        assert one.cache.statistics().stale == 0


@pytest.mark.parametrize("how", ["as a whole", "key by key"])
async def test_outage_of_the_source_costs_one_call_and_stale_values_are_the_answer(
    url: str, how: str
) -> None:
    async with Member[int](url, policy=ON_ERROR) as one, Member[int](url, policy=ON_ERROR) as two:
        await made_stale(one, 1, 2)
        calls: list[list[int]] = []

        async def down(keys: list[int]) -> dict[int, Any]:
            calls.append(keys)
            if how == "as a whole":
                raise ConnectionError
            return {key: ConnectionError() for key in keys}

        crowd = [each.cache.get_or_set_many([2, 1], down) for _ in range(20) for each in (one, two)]
        for found in await asyncio.gather(*crowd):
            assert list(found.items()) == [(2, 20), (1, 10)]
        for each in (one, two):
            assert await each.cache.get_or_set_many([1, 2], down) == {1: 10, 2: 20}
        assert sorted(key for keys in calls for key in keys) == [1, 2]
        counted = [each.cache.statistics() for each in (one, two)]
        assert sum(each.stale for each in counted) == 42 * 2
        assert sum(each.kept for each in counted) == 2


async def test_key_without_a_stale_value_fails_alone(url: str) -> None:
    async with Member[int](url, policy=ON_ERROR) as one:
        rows = await made_stale(one, 1, 2)
        rows.rows = {1: LookupError(), 2: 200, 3: LookupError()}
        with pytest.raises(LoadManyFailed) as told:
            await ask_many(one, rows, [1, 2, 3])
        assert told.value.values == {1: 10, 2: 200}
        assert list(told.value.errors) == [3]


async def test_overdue_key_that_the_loader_leaves_out_is_not_there(url: str) -> None:
    async with Member[int](url, policy=ON_ERROR) as one:
        rows = await made_stale(one, 1, 2)
        del rows.rows[1]
        assert await ask_many(one, rows, [1, 2]) == {2: 200}
        assert one.cache.statistics().stale == 0


async def test_fallback_of_many_is_the_callers_own_and_not_for_who_came_after_the_delete(
    url: str,
) -> None:
    async with Member[int](url, policy=ON_ERROR) as one, Member[int](url) as two:
        rows = await made_stale(one, 1, 2)
        rows.rows = {1: LookupError(), 2: LookupError()}
        rows.hold()
        early = ask_many(one, rows, [1, 2])
        await rows.called()
        assert await two.cache.delete(1)
        late = ask_many(one, rows, [1, 2])
        await one.joined(4)
        rows.release()
        assert await early == {1: 10, 2: 20}
        with pytest.raises(LoadManyFailed) as told:
            await late
        assert told.value.values == {2: 20}
        assert await two.cache.get(1) is MISSING


async def test_who_waits_for_many_longer_than_stale_after_is_given_the_stale_ones(url: str) -> None:
    policy = CachePolicy(stale_if_error=60, stale_after=0.05)
    async with Member[int](url, policy=policy) as one:
        rows = await made_stale(one, 1, 2)
        rows.hold()
        assert await ask_many(one, rows, [1, 2]) == {1: 10, 2: 20}
        assert rows.running == {1: 1, 2: 1}
        rows.release()
        await at_rest(one)
        assert await one.cache.get_many([1, 2]) == {1: 100, 2: 200}
        assert rows.calls == [[1, 2]]


# -- near --------------------------------------------------------------------------------------


async def test_get_many_and_get_or_set_many_ask_redis_for_what_is_not_near(url: str) -> None:
    async with Member[int](url, policy=CachePolicy(near=NearCache())) as one:
        await one.cache.set_many({key: key * 10 for key in range(5)})
        for key in (1, 3):
            assert await one.cache.get(key) == key * 10
        before = one.client.statistics().commands
        assert await one.cache.get_many([3, 1]) == {3: 30, 1: 10}
        assert await one.cache.get_or_set_many([3, 1], Rows[int]({}).load) == {3: 30, 1: 10}
        assert one.client.statistics().commands == before
        found = await one.cache.get_many([2, 3, 9, 1, 0])
        assert list(found.items()) == [(2, 20), (3, 30), (1, 10), (0, 0)]
        assert one.client.statistics().commands == before + 2  # MGET, and the era
        counted = one.cache.statistics()
        assert (counted.near_hits, counted.near_entries) == (6, 2)
        assert (counted.hits, counted.misses) == (2 + 8, 1)
        assert await one.cache.delete(1)
        assert await one.cache.get_many([1, 3]) == {3: 30}
