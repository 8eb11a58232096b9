"""What a limiter cannot be asked, and what it says instead."""

from __future__ import annotations

from typing import Any

import pytest

from millpond import Client, ConfigError, ReplyError
from millpond.errors import ClosedError
from millpond.limit.limiter import Limiter
from millpond.limit.policies import SlidingWindow

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize("key", ["", "x" * 2000, None, 1.5, True, b"ann", (), ["ann"]])
async def test_key_that_cannot_be_is_refused(client: Client, key: Any) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    for call in (limiter.hit(key), limiter.peek(key), limiter.reset(key), limiter.block(key, 1)):
        with pytest.raises(ConfigError):
            await call


@pytest.mark.parametrize("cost", [0, -1, 1.0, True, NAN, "1", None, 10**10])
async def test_cost_that_cannot_be_is_refused(client: Client, cost: Any) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    await limiter.hit("ann")
    await limiter.hit("ann")  # near answers from here on, and still refuses
    for call in (
        limiter.hit("ann", cost=cost),
        limiter.peek("ann", cost=cost),
        limiter.hit_up_to("ann", cost),
    ):
        with pytest.raises(ConfigError, match="cost"):
            await call


@pytest.mark.parametrize("seconds", [0, -1, NAN, INFINITE, "1", None, True])
async def test_time_that_cannot_be_is_refused(client: Client, seconds: Any) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    with pytest.raises(ConfigError):
        await limiter.block("ann", seconds)
    with pytest.raises(ConfigError):
        await limiter.acquire("ann", timeout=seconds)


async def test_limiter_of_a_closed_client_says_so(url: str) -> None:
    limiter = Limiter(Client.from_url(url), "api", SlidingWindow(1, per=60))
    for call in (limiter.hit("ann"), limiter.peek("ann"), limiter.reset("ann")):
        with pytest.raises(ClosedError):
            await call


async def test_another_programs_key_is_an_error_not_a_decision(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))
    name = f"{limiter.key('ann')}:window-60s"
    await client.pipeline([("RPUSH", name, "a"), ("PEXPIRE", name, 60_000)])
    with pytest.raises(ReplyError) as caught:
        await limiter.hit("ann")
    assert caught.value.code == "WRONGTYPE"
