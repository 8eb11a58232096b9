"""What a cache is asked for and cannot do: each an error that names the fix."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from millpond import MISSING, BackendUnavailable, CachePolicy, ClosedError, CodecError, ConfigError
from millpond.core.keys import LONGEST
from tests.support.fleet import Member, Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "t:n:1"
NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.mark.parametrize("ttl", [0, -1, NAN, INFINITE, True, "30", timedelta(0)], ids=repr)
async def test_ttl_of_a_call_that_cannot_be_is_refused_before_anything_is_loaded(
    one: Member[int], ttl: Any
) -> None:
    source = Source(1)
    with pytest.raises(ConfigError, match="ttl must be"):
        await one.cache.get_or_set(1, source.load, ttl=ttl)
    with pytest.raises(ConfigError, match="ttl must be"):
        await one.cache.set(1, 5, ttl=ttl)
    assert source.calls == 0
    assert await one.client.call("DBSIZE") == 0


async def test_ttl_of_a_call_that_jitter_would_use_up_is_refused(url: str) -> None:
    async with Member[int](url, policy=CachePolicy(jitter=10)) as one:
        with pytest.raises(ConfigError, match="jitter"):
            await one.cache.set(1, 5, ttl=10)
        with pytest.raises(ConfigError, match="jitter"):
            await one.cache.get_or_set(1, Source(1).load, ttl=5)


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        (1.5, "round it"),
        (NAN, "round it"),
        (True, "int\\(flag\\)"),
        (None, "missing id"),
        (object(), "pass its id"),
        (b"bytes", "decode it"),
        ((), "empty tuple"),
        (("a", ("b",)), "flatten"),
        ([1], "tuple"),
        ("x" * (LONGEST + 1), "hash"),
    ],
    ids=lambda x: type(x).__name__,
)
async def test_key_that_cannot_be_one_is_refused_by_every_method_with_the_fix(
    one: Member[int], key: Any, advice: str
) -> None:
    source = Source(1)
    for call in (
        one.cache.get(key),
        one.cache.get_or_set(key, source.load),
        one.cache.set(key, 5),
        one.cache.delete(key),
    ):
        with pytest.raises(ConfigError, match=advice):
            await call
    with pytest.raises(ConfigError, match=advice):
        one.cache.key(key)
    assert source.calls == 0


async def test_key_at_the_size_limit_works_and_one_byte_more_does_not(one: Member[int]) -> None:
    longest = "k" * (LONGEST - len("t:n:"))
    assert await one.cache.get_or_set(longest, Source(5).load) == 5
    assert await one.cache.get(longest) == 5
    assert await one.cache.delete(longest)
    with pytest.raises(ConfigError, match="1025 bytes"):
        await one.cache.get(longest + "k")


@pytest.mark.parametrize(
    "key", ["a:b", "a b", "{a}", "ä", "", ("a", 1), UUID(int=7), date(2025, 1, 31), -1, "\r\n"]
)
async def test_keys_of_every_kind_find_what_was_stored_under_them(
    one: Member[int], key: Any
) -> None:
    assert await one.cache.set(key, 5)
    assert await one.cache.get(key) == 5
    assert await one.client.call("EXISTS", one.cache.key(key)) == 1


async def test_value_that_cannot_be_stored_is_an_error_that_names_types_and_no_value(
    one: Member[int],
) -> None:
    wrong: Any = "secret"
    with pytest.raises(CodecError, match="type str cannot be kept in a cache of type=int") as told:
        await one.cache.set(1, wrong)
    assert "secret" not in str(told.value)
    callers = [
        asyncio.create_task(one.cache.get_or_set(1, Source[Any]("secret").load)) for _ in range(2)
    ]
    for caller in callers:
        with pytest.raises(CodecError, match="type=int"):
            await caller
    assert await one.cache.get(1) is MISSING
    assert await one.cache.get_or_set(1, Source(5).load) == 5


async def test_closed_client_is_an_error_that_says_how_to_open_it(url: str) -> None:
    one = Member[int](url)
    source = Source(1)
    for _ in range(2):
        for call in (
            one.cache.get(1),
            one.cache.get_or_set(1, source.load),
            one.cache.set(1, 5),
            one.cache.delete(1),
        ):
            with pytest.raises(ClosedError, match="async with client"):
                await call
        async with one:
            pass
    assert source.calls == 0
    assert one.cache.key(1) == KEY


async def test_redis_that_was_never_there_is_loaded_past_or_raised_as_the_policy_says() -> None:
    nowhere = "redis://127.0.0.1:1/0"
    async with Member[int](nowhere) as one:
        assert await one.cache.get(1, default=-1) == -1
        assert await one.cache.get_or_set(1, Source(5).load) == 5
        assert await one.cache.set(1, 5) is False
        assert await one.cache.delete(1, 2) is False
        assert one.cache.statistics().unconfirmed_deletes == 2
    async with Member[int](nowhere, policy=CachePolicy(on_unavailable="raise")) as one:
        source = Source(5)
        for call in (
            one.cache.get(1),
            one.cache.get_or_set(1, source.load),
            one.cache.set(1, 5),
        ):
            with pytest.raises(BackendUnavailable):
                await call
        assert source.calls == 0
        assert await one.cache.delete(1) is False
