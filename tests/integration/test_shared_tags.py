"""A tag's version is read once for all who ask for it in one batch, and for nobody later."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fleet import Member, Source

pytestmark = pytest.mark.both_loops


async def test_version_of_a_tag_is_shared_within_a_batch_and_by_nobody_later(url: str) -> None:
    """What was asked for earlier may be older than an invalidation that was acknowledged since."""
    async with Member[int](url) as one:
        versions = one.cache._versions  # pyright: ignore[reportPrivateUsage]
        first, second = versions.look(["a"]), versions.look(["b", "a"])
        assert first["a"] is second["a"]
        await one.client.call("PING")
        third = versions.look(["a"])
        assert third["a"] is not first["a"]
        await third["a"]


async def test_reader_who_is_cancelled_takes_no_version_from_the_others(url: str) -> None:
    async with Member[int](url) as one:
        versions = one.cache._versions  # pyright: ignore[reportPrivateUsage]
        tags = (("a", bytes(12)),)
        readers = [
            asyncio.create_task(versions.compare(tags, versions.look(["a"]))) for _ in range(3)
        ]
        await asyncio.sleep(0)  # all wait
        readers[0].cancel()
        assert (await readers[1]).dead
        assert (await readers[2]).dead
        assert readers[0].cancelled()


async def test_hits_of_one_turn_ask_for_each_tag_once(url: str) -> None:
    async with Member[int](url) as one, Member[int](url) as other:
        source = Source(5)
        tags = ["a", "b", "c"]
        assert await one.cache.get_or_set(1, source.load, tags=tags) == 5
        before = one.client.statistics().commands
        hits = [one.cache.get_or_set(1, source.load, tags=tags) for _ in range(100)]
        assert await asyncio.gather(*hits) == [5] * 100
        assert one.client.statistics().commands - before == 1 + len(tags) + 1
        hits = [one.cache.get(1) for _ in range(100)]
        assert await asyncio.gather(*hits) == [5] * 100
        assert source.calls == 1
        assert await other.cache.delete_tags("b") is True
        assert await one.cache.get_or_set(1, source.load, tags=tags) == 5
        assert source.calls == 2
