"""Values too large, too deep, or of another type: an error or a miss, and nobody else waits."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from millpond import MISSING, CachePolicy, CodecError
from millpond.core.codec import Codec
from millpond.core.compression import Compression
from millpond.core.entry import LARGEST_PAYLOAD, pack_value
from millpond.events import EntryUnreadable, LoadFailed, WireDown
from tests.support.fleet import Member, Source
from tests.support.samples import Node, Owner, User

KEY = "t:n:1"
DEEP = 1_000_000


@dataclass
class Branch:
    """A class that contains itself."""

    twigs: list[Branch] = field(default_factory=list["Branch"])


NESTS = {
    "arrays": (Any, b"\x91" * DEEP + b"\xc0"),
    "maps": (Any, b"\x81\xa1a" * DEEP + b"\xc0"),
    "keys": (Any, b"\x81" * DEEP + b"\xc0" * (DEEP + 1)),
    "typed": (list[User], b"\x91" * DEEP),
    "struct": (Node, b"\x82\xa5value\x01\xa4next" * DEEP + b"\xc0"),
    "dataclass": (Branch, b"\x81\xa5twigs\x91" * DEEP + b"\x80"),
    "json": (Owner, msgspec.msgpack.encode('{"id":' * DEEP)),
}


@pytest.mark.parametrize("squeezed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("name", NESTS)
async def test_nest_a_million_deep_is_a_miss_and_an_event_and_is_replaced(
    url: str, name: str, squeezed: bool
) -> None:
    annotation, payload = NESTS[name]
    kept, flags = Compression(0 if squeezed else None).pack(payload)
    raw = pack_value(b"8 bytes!", 0, Codec(annotation).fingerprint, kept, created_ms=1, flags=flags)
    good: Any = {"arrays": [1], "typed": [User(1, "Ada")], "struct": Node(1, Node(2))}.get(name)
    good = good or {"dataclass": Branch([Branch()]), "json": Owner(id=1)}.get(name, {"a": 1})
    async with Member[Any](url, type=annotation) as one:
        await one.in_no_era()
        await one.client.call("SET", KEY, raw, "PX", 60_000)
        assert await one.cache.get(1) is MISSING
        assert len(one.told(EntryUnreadable)) == 1
        assert await one.cache.get_or_set(1, Source(good).load) == good
        assert await one.cache.get(1) == good


async def test_value_nested_too_deep_to_be_read_again_is_refused(url: str) -> None:
    nest: list[Any] = []
    for _ in range(DEEP):
        nest = [nest]
    async with Member[Any](url, type=Any) as one:
        with pytest.raises(CodecError, match="recursion"):
            await one.cache.set(1, nest)
        with pytest.raises(CodecError, match="recursion"):
            await one.cache.get_or_set(1, Source(nest).load)
        while nest:  # taken apart by hand: its own end would be a deep recursion
            nest = nest.pop()


async def test_value_of_100_megabytes_is_refused_and_nobody_else_waits(url: str) -> None:
    large = os.urandom(100 * 2**20)
    async with (
        Member[bytes](url, type=bytes) as one,
        Member[bytes](url, type=bytes, policy=CachePolicy(compress_over=0)) as squeezing,
    ):
        for member in (one, squeezing):
            for call in (
                member.cache.set(1, large),
                member.cache.set_many({1: large}),
                member.cache.get_or_set(1, Source(large).load),
                member.cache.refresh(1, Source(large).load),
            ):
                with pytest.raises(CodecError, match="at most 67108864 are") as refused:
                    await call
                assert "keep its parts under keys of their own" in str(refused.value)
            async with member.cache.writing(1) as write:
                with pytest.raises(CodecError, match="at most 67108864 are"):
                    write.set(large)
            assert await member.cache.get(1) is MISSING
            assert not member.told(WireDown)
            assert member.client.statistics().reconnects == 0


async def test_largest_value_there_can_be_is_stored_and_read_beside_others(url: str) -> None:
    largest = bytes(LARGEST_PAYLOAD - 5)  # MessagePack puts five bytes before it
    async with Member[bytes](url, type=bytes, command_timeout=10) as one:
        stored, small = await asyncio.gather(
            one.cache.set(1, largest), one.client.call("SET", "t:small", 1, "PX", 60_000)
        )
        assert (stored, small) == (True, b"OK")
        value, small = await asyncio.gather(one.cache.get(1), one.client.call("GET", "t:small"))
        assert (value == largest, small) == (True, b"1")
        assert not one.told(WireDown)


async def test_loader_of_another_type_fails_all_who_wait_with_both_types_and_the_fix(
    url: str,
) -> None:
    async with Member[Any](url, type=User) as one, Member[Any](url, type=User) as other:
        source = Source[Any]({"id": 1, "name": "secret"}, held=True)
        callers = [asyncio.create_task(one.cache.get_or_set(1, source.load)) for _ in range(3)]
        await source.called()
        elsewhere = asyncio.create_task(other.cache.get_or_set(1, source.load))
        await other.waiting()
        source.release()
        for caller in callers:
            with pytest.raises(CodecError, match="a dict would come back as a User") as refused:
                await caller
            assert "type=User" in str(refused.value)
            assert "return exactly that type from the loader" in str(refused.value)
            assert "secret" not in str(refused.value)
        with pytest.raises(Exception, match="CodecError"):
            await elsewhere
        assert source.calls == 1
        assert not one.told(LoadFailed), "the loader did its part"
        user = User(1, "Ada")
        assert await one.cache.get_or_set(1, Source(user).load) is user
        assert await other.cache.get(1) == user
