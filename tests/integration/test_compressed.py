"""Compressed values through Redis: the same values, in fewer bytes, and no reader is misled."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from millpond import MISSING, CachePolicy
from millpond.core import compression
from millpond.core.codec import Codec
from millpond.core.compression import Compression
from millpond.core.entry import HAS_TAGS, IS_ZSTD, pack_value
from millpond.events import EntryUnreadable
from tests.support.fleet import Member, Source
from tests.support.samples import ROUND_TRIPS, User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "t:n:1"
POLICY = CachePolicy(compress_over=200)
LONG = [User(number, "Ada") for number in range(100)]


@pytest.fixture(params=["server", "memory"])
async def one(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Member[list[User]]]:
    where = url if request.param == "server" else "memory://"
    async with Member[list[User]](where, type=list[User], policy=POLICY) as member:
        yield member


async def stored(member: Member[Any]) -> bytes:
    raw: bytes = await member.client.call("GET", KEY)
    return raw


async def test_large_value_is_stored_compressed_and_every_way_of_reading_gives_it(
    one: Member[list[User]],
) -> None:
    assert await one.cache.get_or_set(1, Source(LONG).load) is LONG
    raw = await stored(one)
    assert raw[4] == IS_ZSTD
    assert len(raw) < len(Codec(list[User]).encode(LONG)) / 5
    assert await one.cache.get(1) == LONG
    assert await one.cache.get_or_set(1, Source[list[User]]([]).load) == LONG
    entry = await one.cache.get_entry(1)
    assert entry is not None
    assert entry.value == LONG
    assert one.cache.statistics().hits == 3
    assert one.cache.statistics().unreadable == 0


async def test_every_way_of_writing_compresses(one: Member[list[User]]) -> None:
    await one.cache.set(1, LONG)
    assert (await stored(one))[4] == IS_ZSTD
    await one.cache.refresh(1, Source(LONG[:50]).load)
    assert (await stored(one))[4] == IS_ZSTD
    async with one.cache.writing(1) as write:
        write.set(LONG)
    assert (await stored(one))[4] == IS_ZSTD
    assert await one.cache.get(1) == LONG


async def test_compressed_value_with_a_tag_is_read_until_the_tag_is_deleted(
    one: Member[list[User]],
) -> None:
    await one.cache.get_or_set(1, Source(LONG).load, tags=["a"])
    assert (await stored(one))[4] == IS_ZSTD | HAS_TAGS
    assert await one.cache.get(1) == LONG
    assert await one.cache.delete_tags("a")
    assert await one.cache.get(1) is MISSING


async def test_small_value_stays_plain(one: Member[list[User]]) -> None:
    await one.cache.set(1, LONG[:1])
    assert (await stored(one))[4] == 0
    assert await one.cache.get(1) == LONG[:1]


@pytest.mark.parametrize("over", [None, 10**6])
async def test_reader_reads_whatever_its_own_threshold_is(url: str, over: int | None) -> None:
    async with (
        Member[Any](url, type=list[User], policy=POLICY) as writer,
        Member[Any](url, type=list[User], policy=CachePolicy(compress_over=over)) as reader,
    ):
        await writer.cache.set(1, LONG)
        assert await reader.cache.get(1) == LONG
        await reader.cache.set(1, LONG)
        assert (await stored(reader))[4] == 0
        assert await writer.cache.get(1) == LONG


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS)
async def test_every_type_survives_compression(url: str, annotation: Any, value: Any) -> None:
    policy = CachePolicy(compress_over=0)
    async with Member[Any](url, type=list[annotation], policy=policy) as one:
        await one.cache.set(1, [value] * 40)
        assert (await stored(one))[4] == IS_ZSTD
        assert await one.cache.get(1) == [value] * 40


async def test_callers_who_waited_get_the_value_each_their_own(url: str) -> None:
    async with (
        Member[Any](url, type=list[User], policy=POLICY) as one,
        Member[Any](url, type=list[User], policy=POLICY) as other,
    ):
        source = Source(LONG, held=True)
        callers = [asyncio.create_task(one.cache.get_or_set(1, source.load)) for _ in range(3)]
        await source.called()
        callers += [asyncio.create_task(other.cache.get_or_set(1, source.load)) for _ in range(3)]
        await other.waiting()
        source.release()
        values = await asyncio.gather(*callers)
        assert values == [LONG] * 6
        assert len({id(value) for value in values}) == 6
        assert source.calls == 1


# -- what cannot be read -----------------------------------------------------------------------


def bomb() -> bytes:
    """A few kilobytes that hold a gigabyte of zeros, and say so."""
    frame, flags = Compression(0).pack(bytes(2**30))
    assert flags == IS_ZSTD
    return pack_value(b"8 bytes!", 0, Codec(list[User]).fingerprint, frame, created_ms=1, flags=2)


async def test_bomb_is_a_miss_and_an_event_and_is_replaced(one: Member[list[User]]) -> None:
    await one.in_no_era()
    await one.client.call("SET", KEY, bomb(), "PX", 60_000)
    assert await one.cache.get(1) is MISSING
    (told,) = one.told(EntryUnreadable)
    assert "1073741824 bytes inside" in told.reason
    assert await one.cache.get_or_set(1, Source(LONG).load) == LONG
    assert await one.cache.get(1) == LONG


async def test_damaged_frame_is_a_miss_and_an_event_and_is_replaced(
    one: Member[list[User]],
) -> None:
    await one.cache.set(1, LONG)
    raw = await stored(one)
    await one.client.call("SET", KEY, raw[:-1] + bytes([raw[-1] ^ 1]), "PX", 60_000)
    assert await one.cache.get(1) is MISSING
    assert [event.reason for event in one.told(EntryUnreadable)] == ["a damaged Zstandard frame"]
    assert await one.cache.get_or_set(1, Source(LONG).load) == LONG
    assert (await stored(one))[4] == IS_ZSTD


async def test_process_without_the_library_loads_and_replaces_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Member[Any](url, type=list[User], policy=POLICY) as writer,
        Member[Any](url, type=list[User]) as reader,
    ):
        await writer.cache.set(1, LONG)
        with monkeypatch.context() as patch:
            patch.setattr(compression, "_zstd", lambda: None)
            source = Source(LONG)
            for _ in range(3):
                assert await reader.cache.get_or_set(1, source.load) == LONG
            assert source.calls == 1
            (told, *_) = reader.told(EntryUnreadable)
            assert told.reason.startswith("compressed, and ")
            if sys.version_info < (3, 14):
                assert "pip install 'millpond[zstd]'" in told.reason
        assert await writer.cache.get(1) == LONG
