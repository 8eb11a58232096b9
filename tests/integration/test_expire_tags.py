"""`expire_tags`: what has a tag is served once more and refreshed once; never past a delete."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond import MISSING, NOT_MODIFIED, CachePolicy, NotModified
from millpond.cache.tags import MOST_TAGS
from millpond.core.entry import parse
from millpond.events import FillRefused, LoadFinished, RefreshFailed
from tests.support.fleet import Member, Source, at_rest, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.both_loops

KEEPS = CachePolicy(stale_while_revalidate=60)
FALLS_BACK = CachePolicy(stale_if_error=60, stale_retry=30)


@pytest.fixture(params=["server", "memory"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Member[int], Member[int]]]:
    memory = request.param == "memory"
    where = f"memory://{request.node.name}" if memory else request.getfixturevalue("url")
    async with Member[int](where, policy=KEEPS) as one, Member[int](where, policy=KEEPS) as other:
        yield one, other


Pair = tuple[Member[int], Member[int]]


def ask(member: Member[int], source: Source[int]) -> asyncio.Task[int]:
    return asyncio.create_task(member.cache.get_or_set(1, source.load, tags=["a"]))


async def test_every_process_serves_the_old_value_and_one_of_them_refreshes_it(pair: Pair) -> None:
    one, other = pair
    source = Source(1)
    assert await ask(one, source) == 1
    source.value = 2
    source.hold()
    assert await other.cache.expire_tags("a") is True
    for _ in range(3):
        assert await asyncio.gather(*[ask(m, source) for m in pair for _ in range(50)]) == [1] * 100
    assert await one.cache.get(1) == 1
    assert await other.cache.get_many([1]) == {1: 1}
    assert source.calls == 2
    source.release()
    await until(lambda: len(one.told(LoadFinished)) + len(other.told(LoadFinished)) == 2)
    assert [await m.cache.get(1) for m in pair] == [2, 2]
    assert source.calls == 2
    assert one.cache.statistics().refreshes + other.cache.statistics().refreshes == 1


async def test_many_are_served_and_refreshed_by_one_call(pair: Pair) -> None:
    one, other = pair
    calls: list[list[int]] = []

    async def load_many(keys: list[int]) -> dict[int, int]:
        calls.append(keys)
        return {key: len(calls) for key in keys}

    async def ask_many(member: Member[int]) -> dict[int, int]:
        return await member.cache.get_or_set_many([1, 2], load_many, tags=["a"])

    assert await ask_many(one) == {1: 1, 2: 1}
    await other.cache.expire_tags("a")
    assert await ask_many(one) == {1: 1, 2: 1}
    await until(lambda: len(one.told(LoadFinished)) == 4)
    assert [await ask_many(member) for member in pair] == [{1: 2, 2: 2}] * 2
    assert [sorted(keys) for keys in calls] == [[1, 2], [1, 2]]
    await other.cache.delete_tags("a")
    assert await one.cache.get_many([1, 2]) == {}


async def test_value_is_fresh_again_once_it_was_refreshed(pair: Pair) -> None:
    one, other = pair
    source = Source(1)
    await ask(one, source)
    await other.cache.expire_tags("a")
    await ask(one, source)
    await until(lambda: len(one.told(LoadFinished)) == 2)
    for member in pair:
        entry = await member.cache.get_entry(1)
        assert entry is not None
        assert not entry.stale


async def test_what_was_expired_is_not_served_after_its_tag_was_deleted(pair: Pair) -> None:
    one, other = pair
    source = Source(1, held=True)
    source.release()
    await ask(one, source)
    await other.cache.expire_tags("a")
    source.hold()
    assert await ask(one, source) == 1
    await source.called(2)
    source.value = 2
    assert await other.cache.delete_tags("a") is True
    assert await other.cache.get(1) is MISSING
    late = [ask(member, source) for member in pair]
    await one.joined(2)
    await other.joined(1)
    source.release()
    assert await asyncio.gather(*late) == [2, 2]
    assert [await m.cache.get(1) for m in pair] == [2, 2]


async def test_load_that_an_expiry_overtook_is_served_as_stale_and_never_as_fresh(
    pair: Pair,
) -> None:
    one, other = pair
    source = Source(1, held=True)
    leader = ask(one, source)
    await source.called()
    source.value = 2
    await other.cache.expire_tags("a")
    source.release()
    assert await leader == 1
    assert [event.reason for event in one.told(FillRefused)] == ["invalidated"]
    entry = await other.cache.get_entry(1)
    assert entry is not None
    assert (entry.value, entry.stale) == (1, True)
    assert await ask(other, source) == 1
    await until(lambda: other.told(LoadFinished))
    assert [await m.cache.get(1) for m in pair] == [2, 2]


async def test_source_that_is_down_is_asked_once_and_the_value_stays(pair: Pair) -> None:
    one, other = pair
    await ask(one, Source(1))
    await other.cache.expire_tags("a")
    calls = 0

    async def fail() -> int:
        nonlocal calls
        calls += 1
        raise OSError("down")

    assert await one.cache.get_or_set(1, fail) == 1
    await until(lambda: one.told(RefreshFailed))
    assert [await m.cache.get_or_set(1, fail) for m in pair] == [1, 1]
    assert calls == 1


async def test_what_the_source_calls_unchanged_is_fresh_again_with_its_tags(pair: Pair) -> None:
    one, other = pair
    await ask(one, Source(1))
    await other.cache.expire_tags("a")

    async def unchanged(_: int) -> NotModified:
        return NOT_MODIFIED

    assert await one.cache.get_or_set(1, Source(9).load, revalidate=unchanged) == 1
    await until(lambda: one.told(LoadFinished) and not one.cache.statistics().flights)
    entry = await other.cache.get_entry(1)
    assert entry is not None
    assert (entry.value, entry.stale) == (1, False)
    await other.cache.delete_tags("a")
    assert await one.cache.get(1) is MISSING


async def test_where_it_is_kept_for_errors_only_readers_wait_and_get_it_if_the_load_fails(
    url: str,
) -> None:
    async with Member[int](url, policy=FALLS_BACK) as one:
        await ask(one, Source(1))
        await one.cache.expire_tags("a")
        assert await one.cache.get(1) is MISSING

        async def fail() -> int:
            raise OSError("down")

        assert await one.cache.get_or_set(1, fail) == 1
        await one.cache.delete_tags("a")
        with pytest.raises(OSError, match="down"):
            await one.cache.get_or_set(1, fail)


@pytest.mark.parametrize("policy", [CachePolicy(), CachePolicy(early_refresh=1.0)])
async def test_where_nothing_stale_is_kept_it_deletes(url: str, policy: CachePolicy) -> None:
    async with Member[int](url, policy=policy) as one, Member[int](url, policy=policy) as other:
        await ask(one, Source(1))
        assert await other.cache.expire_tags("a") is True
        assert [await m.cache.get(1) for m in (one, other)] == [MISSING, MISSING]
        assert await other.cache.get_many([1]) == {}
        assert await other.cache.get_entry(1) is None
        source = Source(2)
        assert await ask(one, source) == 2
        assert await other.cache.get(1) == 2


async def test_value_that_is_kept_by_calls_with_ever_other_tags_is_loaded_when_there_is_no_room(
    url: str,
) -> None:
    async with Member[int](url, policy=CachePolicy(stale_while_revalidate=60)) as one:
        source = Source(1)

        async def unchanged(_: int) -> NotModified:
            return NOT_MODIFIED

        for number in range(60):
            tags = [("visitor", number)]
            await one.cache.get_or_set(1, source.load, tags=tags, revalidate=unchanged)
            await at_rest(one)
            assert await one.cache.expire(1)
        assert source.calls == 2
        assert len(parse(await one.client.call("GET", "t:n:1")).tags) == 60 - MOST_TAGS
        assert one.told(RefreshFailed) == []
