"""Loaders that wait for themselves, through whatever is between: an error and no deadlock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond import Cache, LoadDeadlock
from tests.support.fleet import Member, Source, ask
from tests.support.rows import Rows

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


# -- many at once ------------------------------------------------------------------------------


async def test_loader_of_many_that_asks_for_one_of_its_keys_is_an_error_and_no_deadlock(
    one: Member[int],
) -> None:
    async def load_alone(keys: list[int]) -> dict[int, int]:
        return {key: await one.cache.get_or_set(2, Source(5).load) for key in keys}

    async def load_many(keys: list[int]) -> dict[int, int]:
        return await one.cache.get_or_set_many([7, 2], Rows({7: 7, 2: 2}).load)

    for load in (load_alone, load_many):
        with pytest.raises(LoadDeadlock) as caught:
            await one.cache.get_or_set_many([1, 2], load)
        assert caught.value.key == "t:n:2"
    assert await one.cache.get_or_set_many([1, 2], Rows({1: 1, 2: 2}).load) == {1: 1, 2: 2}


async def test_circle_through_one_and_many_is_an_error_and_no_deadlock(one: Member[int]) -> None:
    async def load_one() -> int:
        return (await one.cache.get_or_set_many([2, 3], load_many))[2]

    async def load_many(keys: list[int]) -> dict[int, int]:
        return dict.fromkeys(keys, await one.cache.get_or_set(1, load_one))

    with pytest.raises(LoadDeadlock):
        await ask(one, load_one, key=1)
    with pytest.raises(LoadDeadlock):
        await one.cache.get_or_set_many([2], load_many)


async def test_circle_closed_by_two_loads_of_many_that_began_apart_is_an_error(
    one: Member[int],
) -> None:
    both = asyncio.Barrier(2)

    async def load_first(keys: list[int]) -> dict[int, int]:
        await both.wait()
        return await one.cache.get_or_set_many([4, 2], load_second)

    async def load_second(keys: list[int]) -> dict[int, int]:
        await both.wait()
        return await one.cache.get_or_set_many([3, 1], load_first)

    results = await asyncio.gather(
        one.cache.get_or_set_many([1, 3], load_first),
        one.cache.get_or_set_many([2, 4], load_second),
        return_exceptions=True,
    )
    assert all(isinstance(result, LoadDeadlock) for result in results)


async def test_loaders_of_many_may_ask_for_other_keys_even_the_same_at_once(
    one: Member[int],
) -> None:
    base = Rows({0: 1, 100: 2}, held=True)

    async def load(keys: list[int]) -> dict[int, int]:
        below = await one.cache.get_or_set_many([0, 100], base.load)
        return {key: key + sum(below.values()) for key in keys}

    calls = [
        asyncio.create_task(one.cache.get_or_set_many(range(n, n + 5), load)) for n in range(1, 6)
    ]
    await base.called()
    base.release()
    assert await asyncio.gather(*calls) == [
        {k: k + 3 for k in range(n, n + 5)} for n in range(1, 6)
    ]
    assert base.calls == [[0, 100]]
