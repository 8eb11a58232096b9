"""What others have put under a key: foreign bytes, other types and versions, damage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import MISSING, CachePolicy, RemoteLoadError
from millpond.cache.store import Store
from millpond.core.codec import Codec
from millpond.core.entry import (
    HEAD_SIZE,
    new_generation,
    pack_error,
    pack_lease,
    pack_mark,
    pack_value,
)
from millpond.events import EntryUnreadable, LoadUnleased
from tests.support.fleet import Member, Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "t:n:1"
GENERATION = b"8 bytes!"
TYPE = Codec(int).fingerprint


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


def entry(value: int | None) -> bytes:
    payload = None if value is None else Codec(int).encode(value)
    return pack_value(GENERATION, 0, TYPE, payload, created_ms=1)


async def put(member: Member[Any], raw: bytes, key: str = KEY) -> None:
    await member.in_no_era()
    await member.client.call("SET", key, raw, "PX", 60_000)


# -- what others have put under the key --------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [b"", b"5", b'{"id": 42}', b"\x89PNG\r\n", bytes(100_000)],
    ids=["empty", "number", "json", "png", "large"],
)
@pytest.mark.parametrize("where", ["server", "memory"])
async def test_foreign_bytes_are_a_miss_and_an_event_and_are_replaced(
    where: str, raw: bytes, url: str
) -> None:
    async with Member[int](url if where == "server" else "memory://") as one:
        await put(one, raw)
        assert await one.cache.get(1) is MISSING
        (told,) = one.told(EntryUnreadable)
        assert told.key == KEY
        assert await one.cache.get_or_set(1, Source(5).load) == 5
        assert await one.cache.get(1) == 5
        assert one.cache.statistics().unreadable >= 2


@pytest.mark.parametrize("policy", ["load", "raise"])
async def test_another_programs_list_is_left_alone_and_loads_go_past_it(
    url: str, policy: Any
) -> None:
    async with Member[int](url, policy=CachePolicy(on_unavailable=policy)) as one:
        await one.client.pipeline([("RPUSH", KEY, "a"), ("PEXPIRE", KEY, 60_000)])
        source = Source(5)
        for _ in range(2):
            assert await one.cache.get_or_set(1, source.load) == 5
        assert source.calls == 2
        assert await one.cache.get(1) is MISSING
        assert await one.client.call("LRANGE", KEY, 0, -1) == [b"a"]
        assert {event.key for event in one.told(EntryUnreadable)} == {KEY}
        assert [event.reason for event in one.told(LoadUnleased)] == ["foreign type"] * 2
        assert await one.cache.delete(1)
        assert await one.cache.get_or_set(1, source.load) == 5
        assert await one.cache.get(1) == 5


async def test_entry_of_another_type_is_a_miss_and_is_replaced(one: Member[int], url: str) -> None:
    async with Member[str](url, type=str) as other:
        await one.cache.set(1, 5)
        assert await other.cache.get_or_set(1, Source("five").load) == "five"
        assert len(other.told(EntryUnreadable)) == 1
        assert await one.cache.get(1) is MISSING


async def test_payload_that_does_not_decode_is_a_miss_and_is_replaced(one: Member[int]) -> None:
    for payload in (b"", b"\xc1", b"\xa3abc", b"\x05\x05"):
        await put(one, pack_value(new_generation(), 0, TYPE, payload, created_ms=1))
        assert await one.cache.get(1) is MISSING
        assert await one.cache.get_or_set(1, Source(5).load) == 5
        assert await one.cache.get(1) == 5


async def test_payload_that_a_flight_reads_and_cannot_decode_is_loaded_again(
    one: Member[int], url: str
) -> None:
    """The value arrives after the caller's own GET: only what the flight brings is unreadable."""
    async with Member[int](url) as other:
        source = Source(1, held=True)
        leader = asyncio.create_task(one.cache.get_or_set(1, source.load))
        await source.called()
        waiter = asyncio.create_task(other.cache.get_or_set(1, Source(2).load))
        await other.waiting()
        await put(one, pack_value(new_generation(), 0, TYPE, b"\xc1", created_ms=1))
        assert await waiter == 2
        source.release()
        assert await leader == 1
        assert await other.cache.get(1) == 2


async def test_older_version_is_replaced_and_a_newer_one_never_is(url: str) -> None:
    async with Member[int](url, version=66) as older, Member[int](url, version=97) as newer:
        assert await older.cache.set(1, 66)
        assert await newer.cache.get(1) is MISSING
        assert await newer.cache.get_or_set(1, Source(97).load) == 97
        source = Source(66)
        for _ in range(2):
            assert await older.cache.get_or_set(1, source.load) == 66
        assert source.calls == 2
        assert [event.reason for event in older.told(LoadUnleased)] == ["newer version"] * 2
        assert await older.cache.set(1, 66) is False
        assert await newer.cache.get(1) == 97
        assert await older.cache.delete(1)
        assert await newer.cache.get(1) is MISSING


async def test_write_mark_is_loaded_past_and_kept(one: Member[int]) -> None:
    mark = pack_mark(GENERATION, 0, TYPE) + b"a writer" + b"9999999999999"
    await put(one, mark)
    assert await one.cache.get_or_set(1, Source(5).load) == 5
    assert await one.cache.set(1, 5) is False
    assert await one.client.call("GET", KEY) == mark
    assert [event.reason for event in one.told(LoadUnleased)] == ["being written"]


# -- damaged entries ---------------------------------------------------------------------------


def damaged(raw: bytes) -> list[bytes]:
    """Change each byte of the header in turn in several ways, and cut at each length."""
    letters = {0, 1, 8, 0xFF, *b"vlew"}
    changes = [
        raw[:at] + bytes([byte]) + raw[at + 1 :]
        for at in range(min(len(raw), HEAD_SIZE))
        if not 11 <= at < 17  # the era: another one is a miss like any
        for byte in (letters | {raw[at] ^ 0x10}) - {raw[at]}
    ]
    return [*changes, *(raw[:size] for size in range(len(raw)))]


@pytest.mark.parametrize(
    ("raw", "right"),
    [
        (entry(5), 5),
        (entry(None), None),
        (pack_error(GENERATION, 0, TYPE, "E", created_ms=1, for_waiters=True), MISSING),
        (pack_lease(GENERATION, 0, TYPE), MISSING),
    ],
    ids=["value", "None", "notice", "lease"],
)
async def test_no_damage_to_a_header_gives_a_wrong_value_or_asks_for_ever(
    url: str, raw: bytes, right: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call finds the value that was there, or loads after two claims at most, with an event.

    A lease is waited for, and a kind of `e` without flags is an error that somebody remembered:
    telling it from damage would take a checksum.
    """
    claims = 0
    original = Store[int].claim

    async def claim(self: Store[int], *args: Any) -> Any:
        nonlocal claims
        claims += 1
        return await original(self, *args)

    monkeypatch.setattr(Store, "claim", claim)
    policy = CachePolicy(wait_timeout=0.001)
    async with Member[int | None](url, policy=policy) as one:
        for number, bad in enumerate(damaged(raw)):
            await put(one, bad, one.cache.key(number))
            one.events.clear()
            claims = 0
            found = await one.cache.get(number)
            assert found is MISSING or found == right
            if bad[3:5] == b"e\0" and len(bad) >= HEAD_SIZE:
                with pytest.raises(RemoteLoadError):
                    await one.cache.get_or_set(number, Source(7).load)
                continue
            loaded = await one.cache.get_or_set(number, Source(7).load)
            assert loaded == (7 if found is MISSING else right)
            assert claims <= 2
            assert one.events or found is not MISSING, "a miss without an event"
