"""How many at once: places that are given back on every way out, and by processes that died."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, ConfigError
from millpond.errors import BackendError, LimitExceeded
from millpond.limit.limiter import Limiter
from millpond.limit.policies import SlidingWindow
from tests.support.fleet import until
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def limiter(client: Client) -> Limiter:
    return Limiter(client, "api", SlidingWindow(1, per=60))


async def taken(client: Client) -> int:
    kind = await client.call("TYPE", "{t:api:ann}:slots")
    return 0 if kind == b"none" else await client.call("ZCARD", "{t:api:ann}:slots")


async def test_so_many_are_inside_and_the_next_is_denied(limiter: Limiter) -> None:
    async with limiter.concurrency("ann", 2) as first, limiter.concurrency("ann", 2):
        assert (first.source, first.lost) == ("redis", False)
        with pytest.raises(LimitExceeded) as caught:
            await limiter.concurrency("ann", 2).__aenter__()
        assert caught.value.key == limiter.key("ann")
        assert caught.value.retry_after is not None
        assert 9 < caught.value.retry_after <= 10
        assert caught.value.decision.headers() == {"Retry-After": "10"}
        async with limiter.concurrency("bob", 2), limiter.concurrency("ann", 3):
            pass
    async with limiter.concurrency("ann", 1):
        pass


async def test_place_is_given_back_when_the_body_raises_or_is_cancelled(limiter: Limiter) -> None:
    with pytest.raises(ZeroDivisionError):
        async with limiter.concurrency("ann", 1):
            raise ZeroDivisionError
    inside = asyncio.Event()

    async def stay() -> None:
        async with limiter.concurrency("ann", 1):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stay())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with limiter.concurrency("ann", 1):
        pass


async def test_caller_cancelled_at_any_step_of_entering_leaves_nothing(
    limiter: Limiter, client: Client
) -> None:
    for steps in range(12):
        place = limiter.concurrency("ann", 1)
        task = asyncio.create_task(place.__aenter__())
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.done():
            await place.__aexit__(None, None, None)
        task.cancel()
        await asyncio.wait([task])
        assert await taken(client) == 0, steps


async def test_waiter_comes_in_as_soon_as_somebody_leaves(limiter: Limiter) -> None:
    order: list[str] = []

    async def waiter() -> None:
        async with limiter.concurrency("ann", 1, wait=5):
            order.append("in")

    async with limiter.concurrency("ann", 1):
        task = asyncio.create_task(waiter())
        await until(lambda: len(limiter.client.watches))
        order.append("out")
    async with asyncio.timeout(1):
        await task
    assert order == ["out", "in"]


async def test_waiter_gives_up_when_its_time_is_over(limiter: Limiter) -> None:
    async with limiter.concurrency("ann", 1):
        with pytest.raises(LimitExceeded):
            await limiter.concurrency("ann", 1, wait=0.05).__aenter__()


async def test_never_more_than_the_limit_are_inside_over_several_clients(url: str) -> None:
    inside = most = 0

    async def worker(limiter: Limiter) -> None:
        nonlocal inside, most
        for _ in range(5):
            async with limiter.concurrency("ann", 3, wait=10):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001)
                inside -= 1

    async with Client.from_url(url) as one, Client.from_url(url) as two:
        limiters = [Limiter(client, "api", SlidingWindow(1, per=60)) for client in (one, two)]
        await asyncio.gather(*(worker(limiters[n % 2]) for n in range(10)))
    assert most == 3


async def test_place_of_a_dead_process_is_free_after_its_lease(url: str, client: Client) -> None:
    here = Limiter(client, "api", SlidingWindow(1, per=60))
    dead = Client.from_url(url, prefix="t")
    async with dead:
        there = Limiter(dead, "api", SlidingWindow(1, per=60))
        await there.concurrency("ann", 1, lease=1).__aenter__()  # its client closes: no renewal
    with pytest.raises(LimitExceeded):
        await here.concurrency("ann", 1).__aenter__()
    async with here.concurrency("ann", 1, wait=3):
        pass


async def test_outage_is_decided_in_this_process(start_server: Callable[[Server], Server]) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url) as client:
        policy = SlidingWindow(1, per=60)
        local = Limiter(client, "api", policy, share=0.5)
        allow, deny, strict = (
            Limiter(client, "api", policy, on_unavailable=instead)
            for instead in ("allow", "deny", "raise")
        )
        await local.hit("x")
        server.kill()
        async with local.concurrency("ann", 4) as slot, local.concurrency("ann", 4):
            assert slot.source == "local"
            with pytest.raises(LimitExceeded):
                await local.concurrency("ann", 4).__aenter__()
        async with local.concurrency("ann", 4), allow.concurrency("ann", 1):
            pass
        with pytest.raises(LimitExceeded):
            await deny.concurrency("ann", 4).__aenter__()
        with pytest.raises(BackendError):
            await strict.concurrency("ann", 4).__aenter__()
        server.start()


async def test_what_cannot_be_is_refused(limiter: Limiter) -> None:
    cases: list[tuple[Any, Any, dict[str, Any]]] = [
        ("", 1, {}),
        ("ann", 0, {}),
        ("ann", True, {}),
        ("ann", 1.5, {}),
        ("ann", 10_001, {}),
        ("ann", 1, {"lease": 0.5}),
        ("ann", 1, {"wait": -1}),
    ]
    for key, limit, options in cases:
        with pytest.raises(ConfigError):
            limiter.concurrency(key, limit, **options)
    place = limiter.concurrency("ann", 1)
    async with place:
        with pytest.raises(ConfigError, match="entered once"):
            await place.__aenter__()
