"""Loaders that wait for themselves, through whatever is between: an error and no deadlock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond import Cache, LoadDeadlock
from tests.support.fleet import Member, Source, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


async def test_loader_that_asks_for_its_own_key_is_an_error_and_no_deadlock(
    one: Member[int],
) -> None:
    async def load() -> int:
        return await one.cache.get_or_set(1, load)

    with pytest.raises(LoadDeadlock) as caught:
        await ask(one, load)
    assert caught.value.key == "t:n:1"
    assert await ask(one, Source(5).load) == 5


async def test_circle_through_two_keys_is_an_error_and_no_deadlock(one: Member[int]) -> None:
    async def load_first() -> int:
        return await one.cache.get_or_set(2, load_second)

    async def load_second() -> int:
        return await one.cache.get_or_set(1, load_first)

    with pytest.raises(LoadDeadlock):
        await ask(one, load_first, key=1)


async def test_circle_through_two_caches_and_a_task_is_an_error_and_no_deadlock(
    one: Member[int],
) -> None:
    names: Cache[str] = Cache(one.client, "name", type=str, ttl=60)

    async def load_number() -> int:
        return len(await asyncio.create_task(names.get_or_set("a", load_name)))

    async def load_name() -> str:
        numbers = await asyncio.gather(
            one.cache.get_or_set(2, Source(5).load), one.cache.get_or_set(1, load_number)
        )
        return str(numbers)

    with pytest.raises(LoadDeadlock):
        await ask(one, load_number, key=1)


async def test_circle_closed_by_two_loads_that_began_apart_is_an_error(one: Member[int]) -> None:
    both = asyncio.Barrier(2)

    async def load_first() -> int:
        await both.wait()
        return await one.cache.get_or_set(2, load_second)

    async def load_second() -> int:
        await both.wait()
        return await one.cache.get_or_set(1, load_first)

    results = await asyncio.gather(
        ask(one, load_first, 1), ask(one, load_second, 2), return_exceptions=True
    )
    assert all(isinstance(result, LoadDeadlock) for result in results)


async def test_loaders_may_ask_for_other_keys_even_the_same_one_at_once(one: Member[int]) -> None:
    base = Source(1, held=True)

    async def load(key: int) -> int:
        return key + await one.cache.get_or_set(0, base.load)

    callers = [ask(one, lambda key=key: load(key), key) for key in range(1, 6)]
    await base.called()
    base.release()
    assert await asyncio.gather(*callers) == [2, 3, 4, 5, 6]
    assert base.calls == 1


async def test_wait_that_a_loader_gave_up_is_no_part_of_a_circle(one: Member[int]) -> None:
    gave_up = asyncio.Event()

    async def load_first() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await one.cache.get_or_set(2, load_second)
        gave_up.set()
        await one.joined(4)  # the two calls below, and one inside each loader
        return 1

    async def load_second() -> int:
        await gave_up.wait()
        return 1 + await one.cache.get_or_set(1, load_first)

    assert await asyncio.gather(ask(one, load_first, 1), ask(one, load_second, 2)) == [1, 2]
