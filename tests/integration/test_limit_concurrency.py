"""How many at once: places that are given back on every way out, and by processes that died."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, ConfigError
from millpond.errors import BackendError, LimitExceeded
from millpond.events import LimitShadowed
from millpond.limit.limiter import Limiter
from millpond.limit.policies import SlidingWindow
from tests.support.fleet import until
from tests.support.proxy import Proxy
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.events import Event


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


async def process(*args: object) -> asyncio.subprocess.Process:
    """Start a process of `tests.support.limit_places`, and wait until it is ready."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.limit_places", *map(str, args)),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert await said(started) == "ready"
    return started


async def said(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    return json.loads(await process.stdout.readline())


async def go(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    await process.stdin.drain()


async def test_place_of_a_killed_process_is_free_when_its_lease_ends_and_not_before(
    url: str, limiter: Limiter
) -> None:
    dead = await process(url, 1, 0, "stay")
    await go(dead)
    assert await said(dead) == "inside"
    await asyncio.sleep(0.5)  # it has renewed since
    dead.kill()
    await dead.wait()
    begin = time.monotonic()
    with pytest.raises(LimitExceeded):
        await limiter.concurrency("ann", 1).__aenter__()
    async with limiter.concurrency("ann", 1, wait=5):
        assert 0.3 < time.monotonic() - begin < 1.5


async def test_processes_one_of_which_is_killed_are_never_more_inside_than_the_limit(
    url: str,
) -> None:
    """By the times that they say themselves, the killed one's as far as it came."""
    processes = [await process(url, 3, 1.5) for _ in range(3)]
    for each in processes:
        await go(each)
    stays: list[list[float]] = [await said(processes[0]) for _ in range(20)]
    processes[0].kill()
    for each in processes:
        output, _ = await each.communicate()
        stays += [json.loads(line) for line in output.splitlines() if line.endswith(b"]")]
    changes = sorted([(begin, 1) for begin, _ in stays] + [(end, -1) for _, end in stays])
    inside = most = 0
    for _, change in changes:
        inside += change
        most = max(most, inside)
    assert most <= 3
    assert len(stays) > 200


async def test_place_whose_lease_ran_out_is_known_to_be_lost_without_asking(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    async with Client.from_url(server.url) as client:
        limiter = Limiter(client, "api", SlidingWindow(1, per=60))
        async with limiter.concurrency("ann", 1, lease=1) as slot:
            assert not slot.lost
            server.kill()
            until_lost = slot.until - time.monotonic()
            assert 0.8 < until_lost <= 1
            await asyncio.sleep(until_lost)
            assert slot.lost
            server.start()


async def test_renewed_place_is_not_lost_and_one_that_another_took_is(
    limiter: Limiter, client: Client
) -> None:
    async with limiter.concurrency("ann", 1, lease=1) as slot:
        first = slot.until
        await until(lambda: slot.until > first)
        assert not slot.lost
        await client.call("DEL", "{t:api:ann}:slots")  # an operator, or an eviction
        await until(lambda: slot.lost)


async def test_shadow_lets_more_inside_and_says_so(url: str) -> None:
    told: list[Event] = []
    async with Client.from_url(url, prefix="t", hooks=[told.append]) as client:
        limiter = Limiter(client, "api", SlidingWindow(1, per=60), shadow=True)
        async with (
            limiter.concurrency("ann", 1) as first,
            limiter.concurrency("ann", 1, wait=5) as second,
        ):
            assert (first.shadowed, second.shadowed, second.lost) == (False, True, False)
        assert told[-1] == LimitShadowed(key=limiter.key("ann"), policy="concurrency")


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


async def test_place_whose_release_was_lost_is_given_back_when_redis_is_there_again(
    server: Server, client: Client
) -> None:
    async with Proxy(server.port) as proxy, Client.from_url(proxy.url, prefix="t") as shaky:
        async with Limiter(shaky, "api", SlidingWindow(1, per=60)).concurrency("ann", 1):
            await proxy.refuse()
            proxy.cut_all()
            await until(lambda: shaky.statistics().state == "down")
        assert await taken(client) == 1
        await proxy.accept()
        async with asyncio.timeout(5):
            while await taken(client):
                await asyncio.sleep(0.01)


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
