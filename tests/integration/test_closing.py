"""A client that is closed while values are being loaded: everybody is answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond import CachePolicy, ClosedError
from tests.support.fleet import Member, Source, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.fixture
async def other(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.fixture
def anywhere(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else request.getfixturevalue("url")


@pytest.mark.parametrize("anywhere", ["server", "memory"], indirect=True)
@pytest.mark.both_loops
async def test_client_closed_during_a_load_fails_the_callers_and_leaves_no_task(
    anywhere: str,
) -> None:
    source = Source(1, held=True)
    async with Member[int](anywhere) as one:
        callers = [ask(one, source.load) for _ in range(3)]
        await source.called()
    ended = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(error) for error in ended] == [ClosedError] * 3
    assert source.running == 0
    assert one.cache.statistics().flights == 0


async def test_client_closed_while_waiting_fails_the_callers_and_leaves_the_load_elsewhere(
    one: Member[int], url: str
) -> None:
    source = Source(1, held=True)
    leader = ask(one, source.load)
    await source.called()
    async with Member[int](url) as other:
        waiter = ask(other, source.load)
        await other.waiting()
    with pytest.raises(ClosedError):
        await waiter
    source.release()
    assert await leader == 1


async def test_closing_gives_up_the_lease_so_that_another_process_need_not_wait_for_its_end(
    other: Member[int], url: str
) -> None:
    async with Member[int](url, policy=CachePolicy(lease_ttl=60)) as one:
        source = Source(1, held=True)
        leader = ask(one, source.load)
        await source.called()
        waiter = ask(other, Source(2).load)
        await other.waiting()
    with pytest.raises(ClosedError):
        await leader
    try:
        async with asyncio.timeout(2):
            assert await asyncio.shield(waiter) == 2
    finally:
        await other.cache.delete(1)
        await waiter


@pytest.mark.parametrize("anywhere", ["server", "memory"], indirect=True)
@pytest.mark.both_loops
async def test_client_closed_at_any_moment_answers_the_caller_and_can_be_used_again(
    anywhere: str,
) -> None:
    """The client is closed one turn later each time, until the caller has its value.

    A lease may be left behind where the last command cannot leave any more: it costs its time.
    """
    for steps in range(200):
        member = Member[int](anywhere, policy=CachePolicy(lease_ttl=0.1))
        source = Source(1)
        async with member:
            caller = ask(member, source.load)
            for _ in range(steps):
                await asyncio.sleep(0)
        await asyncio.wait([caller], timeout=1)
        try:
            assert caller.done(), f"nobody answered when the client was closed after {steps} turns"
            if caller.exception() is None:
                break
            assert isinstance(caller.exception(), ClosedError)
            async with member:
                async with asyncio.timeout(2):
                    assert await ask(member, source.load) == 1
        finally:
            caller.cancel()
    else:
        pytest.fail("the caller never had its value")
