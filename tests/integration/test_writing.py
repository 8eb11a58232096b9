"""`writing()` on a real server: what readers see, what is stored, overlap, lapses, cancellation."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from millpond import (
    MISSING,
    BackendUnavailable,
    CachePolicy,
    ClosedError,
    CodecError,
    ConfigError,
    ReplyError,
)
from millpond.events import FillRefused, LoadUnleased, MarkRemoved, WriteUnconfirmed
from tests.support.fleet import Member, Source, ask, until
from tests.support.lockers import cancel_at
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from millpond.cache.writing import Write

KEY = "t:n:1"
SHORT = CachePolicy(write_timeout=0.3)  # seconds


@pytest.fixture(params=["server", "memory"])
async def one(request: pytest.FixtureRequest) -> AsyncIterator[Member[int]]:
    """A member on a real server, and one on the server in memory."""
    where = "memory://" if request.param == "memory" else request.getfixturevalue("url")
    async with Member[int](where) as member:
        yield member


@pytest.fixture
async def two(url: str) -> AsyncIterator[tuple[Member[int], Member[int]]]:
    async with Member[int](url) as here, Member[int](url) as there:
        yield here, there


# -- what readers see --------------------------------------------------------------------------


async def test_reader_loads_past_the_mark_and_stores_nothing_until_the_writer_leaves(
    one: Member[int],
) -> None:
    source = Source(1)
    assert await one.cache.get_or_set(1, source.load) == 1
    async with one.cache.writing(1):
        assert await one.cache.get(1) is MISSING
        assert await one.cache.get_or_set(1, source.load) == 1
        source.value = 2
        assert await one.cache.get_or_set(1, source.load) == 2
        assert await one.cache.get(1) is MISSING
    assert [event.reason for event in one.told(LoadUnleased)] == ["being written"] * 2
    assert await one.cache.get_or_set(1, source.load) == 2
    assert await one.cache.get(1) == 2
    assert source.calls == 4


async def test_load_under_way_when_the_mark_is_put_stores_nothing(one: Member[int]) -> None:
    source = Source(1, held=True)
    reader = ask(one, source.load)
    await source.called()
    async with one.cache.writing(1) as write:
        source.value = 2
        write.set(2)
    source.release()
    assert await reader == 1
    assert await one.cache.get(1) == 2
    assert [event.reason for event in one.told(FillRefused)] == ["revoked"]


async def test_waiter_for_another_process_is_woken_by_the_mark_and_loads_past_it(
    two: tuple[Member[int], Member[int]],
) -> None:
    here, there = two
    slow, quick = Source(1, held=True), Source(2)
    leading = ask(here, slow.load)
    await slow.called()
    following = ask(there, quick.load)
    await there.waiting()
    async with here.cache.writing(1):
        assert await following == 2
    slow.release()
    assert await leading == 1
    assert await here.cache.get(1) is MISSING


async def test_one_load_runs_at_a_time_under_a_mark_and_the_late_share_the_next(
    one: Member[int],
) -> None:
    source = Source(1, held=True)
    async with one.cache.writing(1):
        early = [ask(one, source.load) for _ in range(5)]
        await source.called()
        source.value = 2  # commits
        late = [ask(one, source.load) for _ in range(5)]
        await one.joined(10)
        source.release()
        assert await asyncio.gather(*early) == [1] * 5
        assert await asyncio.gather(*late) == [2] * 5
    assert (source.calls, source.most) == (2, 1)


# -- what is stored ----------------------------------------------------------------------------


async def test_value_that_was_set_is_stored_on_leaving_and_encoded_at_once(url: str) -> None:
    async with Member[list[int]](url, type=list[int]) as one:
        value = [1]
        async with one.cache.writing(1) as write:
            write.set([0])
            write.set(value)
            value.append(2)
        assert await one.cache.get(1) == [1]
        async with one.cache.writing(1) as write:
            write.set([3], ttl=10)
        assert 0 < (await one.cache.ttl(1) or 0) <= 10


async def test_none_is_written_through_as_any_value(url: str) -> None:
    async with Member[int | None](url, type=int | None) as one:
        async with one.cache.writing(1) as write:
            write.set(None)
        assert await one.cache.get(1) is None


async def test_several_keys_are_stored_or_deleted_each_for_itself(one: Member[int]) -> None:
    assert await one.cache.set_many({1: 1, 2: 2, 3: 3})
    async with one.cache.writing(1, 2, "2") as write:
        write.set(1, 10)
        assert await one.cache.get(3) == 3
    assert [await one.cache.get(key) for key in (1, 2, 3)] == [10, MISSING, 3]


async def test_block_that_raises_deletes_and_never_stores(one: Member[int]) -> None:
    await one.cache.set(1, 1)

    async def write_and_fail() -> None:
        async with one.cache.writing(1) as write:
            write.set(2)
            raise LookupError

    with pytest.raises(LookupError):
        await write_and_fail()
    assert await one.client.call("EXISTS", KEY) == 0


@pytest.mark.parametrize("ends", ["inner first", "outer first"])
async def test_overlapping_writers_store_nothing(
    two: tuple[Member[int], Member[int]], ends: str
) -> None:
    here, there = two
    blocks = [member.cache.writing(1) for member in two]
    for value, block in enumerate(blocks):
        (await block.__aenter__()).set(value)
    if ends == "inner first":
        blocks.reverse()
    for block in blocks:
        assert await here.cache.set(1, 9) is False
        await block.__aexit__(None, None, None)
    assert await here.client.call("EXISTS", KEY) == 0
    assert [len(member.told(FillRefused)) for member in two] == [1, 1]
    assert there.told(FillRefused)[0].reason == "overlapped"


async def test_delete_under_a_mark_keeps_the_mark_and_the_value_from_being_stored(
    two: tuple[Member[int], Member[int]],
) -> None:
    here, there = two
    source = Source(1)
    async with here.cache.writing(1) as write:
        write.set(2)
        assert await there.cache.delete(1) is True
        assert await there.cache.get_or_set(1, source.load) == 1
        assert await there.cache.get(1) is MISSING
    assert await there.cache.get(1) is MISSING


async def test_mark_deleted_from_outside_stores_nothing_and_what_came_instead_goes(
    one: Member[int],
) -> None:
    source = Source(1)
    async with one.cache.writing(1) as write:
        await one.client.call("DEL", KEY)
        assert await one.cache.get_or_set(1, source.load) == 1
        assert await one.cache.get(1) == 1
        source.value = 2
        write.set(2)
    assert await one.cache.get_or_set(1, source.load) == 2
    assert source.calls == 2


# -- how long a mark lives ---------------------------------------------------------------------


async def test_block_longer_than_write_timeout_is_renewed_and_stored(url: str) -> None:
    async with Member[int](url, policy=SHORT) as one:
        raws: set[bytes] = set()
        async with one.cache.writing(1) as write:
            async with asyncio.timeout(10):
                while len(raws) < 5:  # the deadline has moved four times: longer than it lasts
                    raws.add(await one.client.call("GET", KEY))
                    await asyncio.sleep(0.005)
            write.set(2)
        assert await one.cache.get(1) == 2
        assert all(raw[3:5] == b"w\0" for raw in raws)


async def test_renewal_marks_again_with_overlap_what_was_deleted_from_outside(url: str) -> None:
    async with Member[int](url, policy=SHORT) as one:

        async def mark() -> bytes:
            return await one.client.call("GETRANGE", KEY, 3, 4)

        async with one.cache.writing(1) as write:
            await one.client.call("DEL", KEY)
            async with asyncio.timeout(10):
                while await mark() != b"w\1":
                    await asyncio.sleep(0.01)
            write.set(2)
        assert await one.client.call("EXISTS", KEY) == 0


# -- failures ----------------------------------------------------------------------------------


async def test_enter_that_is_refused_for_memory_does_not_run_the_body(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Member[int](server.url) as one:
        await one.cache.set(2, 2)
        server.execute("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(BackendUnavailable, match="not begun"):
            async with one.cache.writing(1):
                pytest.fail("the body ran")
        server.execute("CONFIG", "SET", "maxmemory", 0)
        async with one.cache.writing(1) as write:
            server.execute("CONFIG", "SET", "maxmemory", 1)
            write.set(5)
        assert one.told(WriteUnconfirmed) == []
        assert [event.reason for event in one.told(FillRefused)] == ["overlapped"]
        server.execute("CONFIG", "SET", "maxmemory", 0)
        assert await one.client.call("EXISTS", KEY) == 0


async def test_delete_without_memory_for_the_flag_removes_the_mark_and_says_so(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Member[int](server.url) as one:
        async with one.cache.writing(1) as write:
            write.set(2)
            server.execute("CONFIG", "SET", "maxmemory", 1)
            assert await one.cache.delete(1) is True
            assert server.execute("EXISTS", KEY) == 0
            server.execute("CONFIG", "SET", "maxmemory", 0)
        assert [event.key for event in one.told(MarkRemoved)] == [KEY]
        assert await one.cache.get(1) is MISSING


async def test_redis_out_of_reach_raises_whatever_the_policy_says() -> None:
    policy = CachePolicy(on_unavailable="load", on_unconfirmed="journal")
    async with Member[int]("redis://127.0.0.1:1", policy=policy) as one:
        with pytest.raises(BackendUnavailable, match="not begun"):
            async with one.cache.writing(1):
                pytest.fail("the body ran")
        assert await one.cache.touch(1) == 0
        assert await one.cache.ttl(1) is None
        assert await one.cache.set_many({1: 1, 2: 2}) is False
    async with Member[int](
        "redis://127.0.0.1:1", policy=CachePolicy(on_unavailable="raise")
    ) as one:
        for call in (one.cache.touch(1), one.cache.ttl(1), one.cache.set_many({1: 1})):
            with pytest.raises(BackendUnavailable):
                await call


@pytest.mark.parametrize("answered", [False, True])
async def test_writer_cancelled_at_any_await_leaves_no_mark_and_no_value(
    url: str, answered: bool
) -> None:
    async with Member[int](url) as one:
        source = Source(1)

        async def write() -> None:
            async with one.cache.writing(1, 2) as write:
                await one.client.call("PING")
                write.set(1, 9)

        step, struck = 1, True
        while struck:
            await one.cache.set(1, 1)
            struck, error = await cancel_at(step, write(), answered=answered)
            assert error is None or isinstance(error, asyncio.CancelledError)
            # Whatever had been sent is done before what is sent now.
            assert await one.client.call("GET", KEY) is None or (
                await one.cache.get(1) in {1, 9}
            ), "a mark was left"
            async with asyncio.timeout(10):
                assert await one.cache.get_or_set(2, source.load) == 1
                assert await one.cache.get(2) == 1
            step += 1
        assert step > 3
        assert await one.cache.get(1) == 9  # the last was not cancelled


async def test_client_closed_inside_the_block_is_told(url: str) -> None:
    async with Member[int](url, policy=SHORT) as one:

        async def close_inside(error: Exception | None) -> None:
            async with one.cache.writing(1):
                await one.client.aclose()
                if error is not None:
                    raise error

        with pytest.raises(ClosedError):
            await close_inside(None)
        await one.client.__aenter__()
        with pytest.raises(LookupError):
            await close_inside(LookupError())
        await one.client.__aenter__()
        source = Source(1)
        async with asyncio.timeout(10):  # the mark lapses
            while await one.cache.get(1) is MISSING:
                assert await one.cache.get_or_set(1, source.load) == 1


# -- bad input ---------------------------------------------------------------------------------


async def test_misuse_is_refused_and_names_the_fix(one: Member[int]) -> None:
    with pytest.raises(ConfigError, match="name the keys"):
        one.cache.writing()
    with pytest.raises(ConfigError):
        one.cache.writing(1.5)  # pyright: ignore[reportArgumentType]
    block = one.cache.writing(1)
    async with block as write:
        with pytest.raises(ConfigError, match="not written here"):
            write.set(2, 5)
        with pytest.raises(CodecError):
            write.set("five")  # pyright: ignore[reportArgumentType, reportCallIssue]
        with pytest.raises(ConfigError, match="ttl"):
            write.set(5, ttl=0)
    with pytest.raises(ConfigError, match="entered once"):
        async with block:
            pass
    several: Write[int]
    async with one.cache.writing(1, 2) as several:
        with pytest.raises(ConfigError, match="several keys"):
            several.set(5)
    with pytest.raises(ConfigError, match="write_timeout"):
        CachePolicy(write_timeout=0.01)


async def test_command_that_the_acl_forbids_is_named_or_where_to_find_it(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    server.execute("ACL", "SETUSER", "poor", "on", ">p", "~*", "+@all", "-time")
    url = server.tcp_url.replace("redis://", "redis://poor:p@")
    async with Member[int](url) as one:
        with pytest.raises(ReplyError, match=r"NOPERM.*(time|ACL LOG)"):  # Redis 7.0 names none
            async with one.cache.writing(1):
                pytest.fail("the body ran")


# -- the rest of writing -----------------------------------------------------------------------


async def test_set_many_stores_in_batches_and_nothing_if_one_cannot_be_encoded(
    one: Member[int],
) -> None:
    values = {key: key * 2 for key in range(1201)}
    assert await one.cache.set_many(values, ttl=30) is True
    assert await one.cache.get(1200) == 2400
    assert 0 < (await one.cache.ttl(1200) or 0) <= 30
    with pytest.raises(CodecError):
        await one.cache.set_many({1: 1, 2: "two"})  # pyright: ignore[reportArgumentType]
    assert await one.cache.get(1) == 2
    async with one.cache.writing(3):
        assert await one.cache.set_many({3: 1, 4: 1}) is False
    assert await one.cache.get(4) == 1
    assert await one.cache.set_many({}) is True
    assert await one.cache.delete(*values) is True
    assert await one.client.call("KEYS", "*") == [b"t:n:{}era"]


async def test_touch_prolongs_values_and_nothing_else(one: Member[int]) -> None:
    source = Source(1, held=True)
    await one.cache.set_many({1: 1, 2: 2}, ttl=5)
    assert await one.cache.touch(1, 2, 3, ttl=50) == 2
    assert 40 < (await one.cache.ttl(2) or 0) <= 50
    assert await one.cache.touch(1) == 1
    assert 50 < (await one.cache.ttl(1) or 0) <= 60
    reader = ask(one, source.load, 4)
    await source.called()
    async with one.cache.writing(5):
        assert await one.cache.touch(4, 5, ttl=50) == 0
        assert [await one.cache.ttl(key) for key in (3, 4, 5)] == [None] * 3
    source.release()
    assert await reader == 1


async def test_ttl_of_a_value_made_to_stay_is_infinite_and_of_another_type_none(url: str) -> None:
    async with Member[int](url) as one, Member[str](url, type=str) as other:
        await one.cache.set(1, 1)
        await one.client.call("PERSIST", KEY)
        try:
            assert await one.cache.ttl(1) == math.inf
            assert await other.cache.ttl(1) is None
            assert await other.cache.touch(1) == 0
        finally:
            await one.client.call("DEL", KEY)


async def test_leave_without_an_answer_returns_tells_and_is_replayed_as_a_delete(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with (
        Member[int](server.url, command_timeout=0.3) as one,
        Member[int](server.url) as other,
    ):
        async with one.cache.writing(1, 2) as write:
            write.set(1, 5)
            server.pause()
        assert [event.keys for event in one.told(WriteUnconfirmed)] == [(KEY, "t:n:2")]
        assert one.cache.statistics().unconfirmed_deletes == 2
        server.resume()
        await until(lambda: one.client.statistics().journal == 0)
        source = Source(7)
        assert await other.cache.get_or_set(1, source.load) == 7
