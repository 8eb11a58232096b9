"""Never more than the limit in any stretch of time: recorded admissions, over every stretch."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from millpond import Client
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket
from millpond.limit.programs import deciding
from tests.support.limits import CLOCK, fake_time, most_in_any_window

if TYPE_CHECKING:
    from millpond.core.commands import Arg
    from millpond.limit.policies import Policy
    from tests.support.servers import Server

NOON = 1_700_000_000_000_000
Admitted = list[int]  # when; once for each unit of cost


def exceeded(admitted: Admitted, policy: Policy) -> bool:
    """Whether there is a stretch of time with more than the policy promises."""
    period = policy.period_us
    if isinstance(policy, SlidingWindow):
        return most_in_any_window(admitted, period) > policy.limit
    if isinstance(policy, FixedWindow):
        windows = [when // period for when in admitted]
        return any(windows.count(window) > policy.limit for window in set(windows))
    # A stretch from one hit to another may have the burst, and what has flowed back meanwhile.
    debt, last = 0, NOON
    for when in sorted(admitted):
        debt = max(0, debt - (when - last) * policy.limit) + period
        last = when
        if debt > policy.most * period:
            return True
    return False


async def hit_by_processes(
    url: str, policy: Policy, then: int, seconds: float
) -> tuple[int, Admitted]:
    """Hit one key from three processes; give the last moment of the first limit, and all hits."""
    script = str(Path(__file__).with_name("limit_worker.py"))
    limits = (policy.limit, then, seconds)
    arguments = (url, "ann", policy.word, policy.period_us / 1e6, *limits)
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, script, *map(str, arguments)), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    changed, admitted = 0, list[int]()
    for process in processes:
        output, _ = await process.communicate()
        assert process.returncode == 0
        last, hits = json.loads(output)
        changed = max(changed, last)
        for when, cost in hits:
            admitted += [when] * cost
    return changed, admitted


@pytest.mark.parametrize(
    "policy",
    [
        SlidingWindow(50, per=0.1),
        SlidingWindow(300, per=0.5),
        TokenBucket(60, per=0.1),
        FixedWindow(80, per=0.2),
    ],
    ids=lambda policy: policy.label,
)
async def test_processes_that_hit_one_key_never_exceed_the_limit_in_any_window(
    url: str, policy: Policy
) -> None:
    """Three processes, some hits given back; and no stretch leaves much unused."""
    seconds = 2.0
    _, admitted = await hit_by_processes(url, policy, policy.limit, seconds)
    assert not exceeded(admitted, policy)
    assert len(admitted) >= policy.limit * seconds / (policy.period_us / 1e6) / 2


async def test_limit_lowered_in_all_processes_is_kept_from_then_on(url: str) -> None:
    first, then = SlidingWindow(300, per=0.4), SlidingWindow(40, per=0.4)
    changed, admitted = await hit_by_processes(url, first, then.limit, 2.0)
    assert not exceeded(admitted, first)
    after = [when for when in admitted if when > changed]
    assert not exceeded(after, then)
    assert len(after) > then.limit


@pytest.mark.parametrize("word", ["window", "large", "bucket", "fixed"])
@pytest.mark.parametrize("seed", range(4))
async def test_changed_limit_admits_no_more_than_itself_in_any_window_that_begins_after(
    server: Server, word: str, seed: int
) -> None:
    """Limits changed up and down at random, on one key: each counts from its change on."""
    dice = random.Random(f"{word}{seed}")
    now, most = NOON, 400 if word == "large" else 20

    def chosen() -> Policy:
        limit = dice.randint(1, most)
        if word == "bucket":
            return TokenBucket(limit, per=1, burst=dice.randint(1, most))
        return FixedWindow(limit, per=1) if word == "fixed" else SlidingWindow(limit, per=1)

    async with Client.from_url(server.url) as client:
        script = fake_time(deciding(chosen().kind))
        await client.call("SCRIPT", "LOAD", script.source)
        for _ in range(12):
            policy, admitted = chosen(), list[int]()
            commands: list[tuple[Arg, ...]] = []
            asked: list[int] = []
            for _ in range(60):
                now += int(dice.expovariate(1) * 30_000 / (most / 20))
                cost = dice.randint(1, 5)
                commands.append(("SET", CLOCK, f"{now // 10**6} {now % 10**6}", "PX", 600_000))
                keys = ("{k}:block", f"{{k}}:{policy.label}")
                head: tuple[Arg, ...] = ("EVALSHA", script.sha, 2, *keys, "hit", 1, 1)
                commands.append((*head, *policy.numbers, cost))
                asked.append(now)
            for when, reply in zip(asked, (await client.pipeline(commands))[1::2], strict=True):
                admitted += [when] * (reply[2] if reply[1] == 0 else 0)
            assert not exceeded(admitted, policy)
