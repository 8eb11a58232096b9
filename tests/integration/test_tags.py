"""Tags and `clear()`: versions that entries depend on, changed in one process, seen in another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import MISSING, Cache, CachePolicy, ConfigError, Loaded
from millpond.cache.tags import MOST_TAGS
from millpond.core.entry import parse
from millpond.events import EntryUnreadable, FillRefused, InvalidationsLeft
from tests.support.fleet import Member, Source, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from millpond import Key
    from tests.support.servers import Server

pytestmark = pytest.mark.both_loops

ERA, TAG = "t:n:{}era", "t:n:{}tag:a"


@pytest.fixture(params=["server", "memory"])
def where(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://{request.node.name}"
    return request.getfixturevalue("url")


@pytest.fixture
async def pair(where: str) -> AsyncIterator[tuple[Member[int], Member[int]]]:
    async with Member[int](where) as one, Member[int](where) as other:
        yield one, other


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.fixture
async def other(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


def tagged(
    member: Member[int], load: Callable[[], Awaitable[int]], tags: Collection[Key] = ("a",)
) -> asyncio.Task[int]:
    return asyncio.create_task(member.cache.get_or_set(1, load, tags=tags))


Pair = tuple[Member[int], Member[int]]


# -- closing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_tags_that_were_deleted_are_so_though_caller_and_client_end_at_once(
    url: str, other: Member[int], turns: int
) -> None:
    async with Member[int](url) as one:
        assert await one.cache.get_or_set(1, Source(1).load, tags=["a"]) == 1
        deleting = asyncio.create_task(one.cache.delete_tags("a"))
        for _ in range(1 + turns):  # the epoch is on its way; the tag has to wait
            await asyncio.sleep(0)
        deleting.cancel()
    assert await other.cache.get(1) is MISSING
    assert not one.told(InvalidationsLeft)
    await asyncio.gather(deleting, return_exceptions=True)


# -- what they are for -------------------------------------------------------------------------


async def test_delete_of_a_tag_removes_what_has_it_in_every_process(pair: Pair) -> None:
    one, other = pair
    source = Source(1)
    for key, tags in ((1, ["a"]), (2, ["a", ("author", 7)]), (3, ["b"]), (4, [])):
        assert await one.cache.get_or_set(key, source.load, tags=tags) == 1
    assert await other.cache.delete_tags("a") is True
    for member in (one, other):
        assert [await member.cache.get(key) for key in (1, 2, 3, 4)] == [MISSING, MISSING, 1, 1]
    source.value = 2
    assert await one.cache.get_or_set(2, source.load, tags=["a", ("author", 7)]) == 2
    assert await other.cache.delete_tags(("author", 7), "nobody's") is True
    assert await one.cache.get(2) is MISSING
    assert not one.told(EntryUnreadable)


async def test_clear_removes_everything_of_its_namespace_and_nothing_else(pair: Pair) -> None:
    one, other = pair
    beside: Cache[int] = Cache(one.client, "beside", type=int, ttl=60)
    await beside.set(1, 5)
    await one.cache.set_many({1: 1, 2: 2})
    await one.cache.set(3, 3, tags=["a"])
    assert await other.cache.clear() is True
    for member in (one, other):
        assert [await member.cache.get(key) for key in (1, 2, 3)] == [MISSING] * 3
        assert await member.cache.get_entry(1) is None
        assert await member.cache.ttl(1) is None
        assert await member.cache.touch(1) == 0
    assert await beside.get(1) == 5
    assert await one.cache.get_or_set(1, Source(6).load) == 6
    assert await other.cache.get(1) == 6
    assert not one.told(EntryUnreadable)


async def test_value_that_is_set_or_written_through_is_removed_by_its_tag(pair: Pair) -> None:
    one, other = pair
    await one.cache.set(1, 1, tags=["a"])
    await one.cache.set_many({2: 2, 3: 3}, tags=["a"])
    async with one.cache.writing(4, tags=["a"]) as write:
        write.set(4)
    assert [await other.cache.get(key) for key in (1, 2, 3, 4)] == [1, 2, 3, 4]
    await other.cache.delete_tags("a")
    assert [await one.cache.get(key) for key in (1, 2, 3, 4)] == [MISSING] * 4


async def test_hit_with_tags_takes_one_round_trip_where_the_call_names_them(
    one: Member[int],
) -> None:
    await tagged(one, Source(1).load)
    before = one.client.statistics()
    assert await tagged(one, Source(2).load) == 1
    after = one.client.statistics()
    assert after.batches - before.batches == 1
    assert await one.cache.get(1) == 1
    assert one.client.statistics().batches - after.batches == 2


async def test_namespaces_version_is_read_once_for_all_callers_of_a_batch(
    one: Member[int], server: Server
) -> None:
    await one.cache.set_many({key: key for key in range(50)})
    before: Any = server.execute("INFO", "commandstats")
    await asyncio.gather(*[one.cache.get(key) for key in range(50)])
    after: Any = server.execute("INFO", "commandstats")
    assert after["cmdstat_get"]["calls"] - before["cmdstat_get"]["calls"] == 51


# -- during a load -----------------------------------------------------------------------------


def delete_tag(member: Member[int]) -> Awaitable[bool]:
    return member.cache.delete_tags("a")


def clear(member: Member[int]) -> Awaitable[bool]:
    return member.cache.clear()


Invalidate = Any


@pytest.mark.parametrize("invalidate", [delete_tag, clear])
async def test_load_that_an_invalidation_overtook_leaves_nothing_to_those_who_come_later(
    one: Member[int], other: Member[int], invalidate: Invalidate
) -> None:
    source = Source(1, held=True)
    leader = tagged(one, source.load)
    await source.called()
    waiter = tagged(other, source.load)
    await other.waiting()
    source.value = 2
    assert await invalidate(other) is True
    late, late_elsewhere = tagged(one, source.load), tagged(other, source.load)
    await one.joined(2)
    await other.joined(2)
    source.release()
    assert await leader == 1, "its call began before"
    assert [await late, await late_elsewhere] == [2, 2]
    assert await waiter in {1, 2}
    assert [await one.cache.get(1), await other.cache.get(1)] == [2, 2]
    assert "invalidated" in [event.reason for event in one.told(FillRefused)]


@pytest.mark.parametrize("invalidate", [delete_tag, clear])
async def test_write_through_is_worthless_if_its_tag_went_between_commit_and_leave(
    one: Member[int], other: Member[int], invalidate: Invalidate
) -> None:
    async with one.cache.writing(1, tags=["a"]) as write:
        write.set(1)
        await invalidate(other)
    assert await one.cache.get(1) is MISSING
    assert await other.cache.get(1) is MISSING


async def test_tag_that_only_the_loader_knew_is_worthless_if_it_went_while_it_was_learnt(
    one: Member[int], other: Member[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, learns = one.client.run, False
    rows, asked = [1], list[asyncio.Future[Any]]()

    async def load() -> Loaded[int]:
        nonlocal learns
        learns = True
        return Loaded(rows[-1], tags=["a"])

    async def in_turn(before: list[asyncio.Future[Any]], *given: Any, **named: Any) -> Any:
        await asyncio.gather(*before)
        reply = await run(*given, **named)
        if rows == [1]:  # between the first command and whatever follows it
            rows.append(2)
            assert await delete_tag(other) is True
        return reply

    def run_apart(*given: Any, **named: Any) -> asyncio.Future[Any]:
        if not learns or named["keys"] not in ([ERA], [TAG]):
            return run(*given, **named)
        asked.append(asyncio.ensure_future(in_turn(asked.copy(), *given, **named)))
        return asked[-1]

    monkeypatch.setattr(one.client, "run", run_apart)
    assert await one.cache.get_or_set(1, load) == 1, "its call began before"
    assert rows == [1, 2]
    assert await other.cache.get(1) is MISSING
    assert await other.cache.get_or_set(1, load) == 2


async def test_error_that_is_remembered_is_forgotten_with_its_tag(url: str) -> None:
    async with Member[int](url, policy=CachePolicy(error_ttl=30)) as one:

        async def fail() -> int:
            raise KeyError("row")

        with pytest.raises(KeyError):
            await tagged(one, fail)
        await one.cache.delete_tags("a")
        assert await tagged(one, Source(5).load) == 5


async def test_set_under_an_era_that_has_just_ended_is_stored_in_the_new_one(
    one: Member[int], other: Member[int]
) -> None:
    await one.cache.set(1, 1)
    await other.cache.clear()
    assert await one.cache.set(1, 2) is True
    assert await one.cache.get(1) == await other.cache.get(1) == 2


# -- what is lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [ERA, TAG])
async def test_version_that_is_lost_costs_a_load_and_brings_nothing_back(
    pair: Pair, lost: str
) -> None:
    one, other = pair
    assert await tagged(one, Source(1).load) == 1
    held: Any = await one.client.call("GET", "t:n:1")
    await one.client.call("DEL", lost)
    assert await one.cache.get(1) is MISSING
    assert await tagged(other, Source(2).load) == 2
    assert await one.cache.get(1) == 2
    await one.client.call("SET", "t:n:1", held, "PX", 60_000)
    assert await one.cache.get(1) is MISSING, "the old entry under the new version"
    assert await tagged(one, Source(3).load) == 3


async def test_change_that_is_sent_again_late_puts_no_old_version_back(one: Member[int]) -> None:
    await one.cache.delete_tags("a")
    versions = one.cache._store.versions  # pyright: ignore[reportPrivateUsage]
    (_, change) = versions.delete(["a"])
    seen: set[bytes] = set()
    for _ in range(3):
        assert await one.client.invalidate([change]) == ""
        seen.add(await one.client.call("GET", TAG))
    assert len(seen) == 3


async def test_version_lives_on_with_what_is_stored_under_it(one: Member[int]) -> None:
    await tagged(one, Source(1).load)
    await one.client.pipeline([("PEXPIRE", ERA, 500), ("PEXPIRE", TAG, 500)])
    assert await one.cache.get_or_set(2, Source(1).load, ttl=10_000, tags=["a"]) == 1
    left: list[int] = await one.client.pipeline([("PTTL", ERA), ("PTTL", TAG)])
    assert min(left) > 10_000_000


async def test_foreign_bytes_in_place_of_a_version_are_replaced(one: Member[int]) -> None:
    for key in (ERA, TAG):
        await one.client.call("SET", key, b"short", "PX", 60_000)
    assert await tagged(one, Source(1).load) == 1
    assert await one.cache.get(1) == 1
    await one.client.pipeline([("DEL", TAG), ("RPUSH", TAG, "a"), ("PEXPIRE", TAG, 60_000)])
    assert await one.cache.get(1) is MISSING
    assert await one.cache.delete_tags("a") is True
    assert await tagged(one, Source(2).load) == 2


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "advice"),
    [
        ("premium", "list or tuple"),
        (b"premium", "list or tuple"),
        (7, "list or tuple"),
        ([1.5], "round it"),
        ([None], "missing id"),
        ([("a", ("b",))], "flatten"),
        (["x" * 2000], "hash"),
        (range(MOST_TAGS + 1), "more than the 50"),
    ],
)
async def test_tag_that_cannot_be_one_is_refused_with_the_fix(
    one: Member[int], tags: Any, advice: str
) -> None:
    for call in (
        lambda: one.cache.get_or_set(1, Source(1).load, tags=tags),
        lambda: one.cache.set(1, 1, tags=tags),
        lambda: one.cache.set_many({1: 1}, tags=tags),
        lambda: one.cache.refresh(1, Source(1).load, tags=tags),
    ):
        with pytest.raises(ConfigError, match=advice):
            await call()
    with pytest.raises(ConfigError, match=advice):
        one.cache.writing(1, tags=tags)
    assert await one.client.call("EXISTS", "t:n:1") == 0


async def test_as_many_tags_as_an_entry_may_have_fit_into_it(one: Member[int]) -> None:
    tags = [f"{number:02}{'x' * 960}" for number in range(MOST_TAGS)]
    assert await one.cache.get_or_set(1, Source(1).load, tags=tags) == 1
    assert await one.cache.get(1) == 1
    assert len(parse(await one.client.call("GET", "t:n:1")).tags) == MOST_TAGS
    await one.cache.delete_tags(tags[-1])
    assert await one.cache.get(1) is MISSING


async def test_tags_of_the_call_and_of_the_loader_together_are_no_more_than_an_entry_may_have(
    one: Member[int],
) -> None:
    def named(letter: str) -> list[str]:
        return [f"{letter}{number:02}{'x' * 960}" for number in range(MOST_TAGS)]

    async def load() -> Loaded[int]:
        return Loaded(1, tags=named("b"))

    with pytest.raises(ConfigError, match="100 tags are more than the 50"):
        await one.cache.get_or_set(1, load, tags=named("a"))
    assert await one.cache.get_or_set(1, load) == 1


async def test_any_number_of_tags_may_be_deleted_and_expired_at_once(one: Member[int]) -> None:
    for key in (1, 2):
        await one.cache.set(key, key, tags=[("author", key * 600)])
    assert await one.cache.delete_tags(*[("author", number) for number in range(1000)])
    assert await one.cache.get(1) is MISSING
    assert await one.cache.get(2) == 2
    assert await one.cache.expire_tags(*[("author", number) for number in range(1000, 1300)])
    assert await one.cache.get(2) is MISSING


async def test_tags_of_different_names_never_collide(one: Member[int]) -> None:
    await one.cache.set(1, 1, tags=[("a", "b")])
    await one.cache.set(2, 2, tags=["a:b"])
    await one.cache.delete_tags("a:b")
    assert [await one.cache.get(1), await one.cache.get(2)] == [1, MISSING]
    await one.cache.delete_tags(("a", "b"))
    assert await one.cache.get(1) is MISSING


async def test_delete_of_no_tags_does_nothing(one: Member[int]) -> None:
    assert await one.cache.delete_tags() is True
    assert await one.client.call("KEYS", "*") == []


async def test_caller_who_waits_for_room_still_reads_a_version_from_after_its_call(
    url: str,
) -> None:
    async with Member[int](url, max_inflight=1) as one, Member[int](url) as other:
        await one.cache.set(1, 1)
        for value in range(2, 40):
            crowd = [asyncio.create_task(one.cache.get(1)) for _ in range(5)]
            await asyncio.sleep(0)
            await other.cache.clear()
            found = await asyncio.gather(*[one.cache.get(1) for _ in range(5)])
            assert found == [MISSING] * 5
            await asyncio.gather(*crowd)
            await one.cache.set(1, value)
        assert await ask(one, Source(0).load) == 39
