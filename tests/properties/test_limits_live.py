"""Limiters beside brute force by the server's own clock: every number of every answer.

Hits of many callers, several a turn, on a few keys of short periods; each decision says when the
server made it, so brute force can be asked the same question at the same moment.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from millpond import Client
from millpond.limit.limiter import Limiter
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket
from tests.support.limits import decide, model_of

if TYPE_CHECKING:
    from millpond.limit.decision import Decision
    from millpond.limit.policies import Policy
    from tests.support.limits import Model
    from tests.support.servers import Server

CASES: dict[str, tuple[Policy, ...]] = {
    "window": (SlidingWindow(9, per=0.01),),
    "large window": (SlidingWindow(200, per=0.05),),
    "bucket": (TokenBucket(7, per=0.01, burst=12),),
    "fixed": (FixedWindow(20, per=0.02),),
    "all": (SlidingWindow(30, per=0.03), TokenBucket(9, per=0.01), FixedWindow(200, per=0.2)),
}
KEYS = 3


class Histories:
    """What brute force says of each key."""

    def __init__(self, policies: tuple[Policy, ...]) -> None:
        self.policies = policies
        self.models: list[list[Model]] = [[model_of(p) for p in policies] for _ in range(KEYS)]

    def check(self, key: int, mode: str, decision: Decision) -> None:
        """Compare one answer with what it must be."""
        assert decision.source == "redis"
        models = self.models[key]
        why, amount, *figures = decide(models, self.policies, decision.at, decision.cost, mode)
        assert decision.culprit == why, decision
        assert list(decision.figures) == figures, decision
        if why:
            wait = None if amount < 0 else amount / 1e6
            assert (decision.allowed, decision.retry_after) == (False, wait)
        else:
            assert decision.granted == (0 if mode == "peek" else amount)


@pytest.mark.parametrize("case", CASES)
async def test_limiter_answers_by_the_servers_clock_as_brute_force_does(
    flavoured_server: Server, case: str
) -> None:
    """Three thousand hits of random weight for each policy and server, and no difference."""
    dice = random.Random(case)
    async with Client.from_url(flavoured_server.url, prefix="t") as client:
        limiter = Limiter(client, "api", *CASES[case], near=0)
        histories = Histories(CASES[case])
        most = min(policy.most for policy in limiter.policies)

        async def asked(mode: str, key: int, cost: int) -> tuple[str, int, Decision]:
            if mode == "upto":
                return mode, key, await limiter.hit_up_to(key, cost)
            ask = limiter.hit if mode == "hit" else limiter.peek
            return mode, key, await ask(key, cost=cost)

        windows = all(isinstance(policy, SlidingWindow) for policy in limiter.policies)
        granted: list[tuple[int, Decision]] = []
        hits = 0
        while hits < 3000:
            if dice.random() < 0.05:
                key = dice.randrange(KEYS)
                await limiter.reset(key)
                for model in histories.models[key]:
                    model.clear()
                granted.clear()
            count = dice.choice((1, 1, 2, 5, 30))
            hits += count
            mode = dice.choice(("hit", "hit", "hit", "peek", "upto"))
            costs = [min(1 + int(dice.expovariate(0.7)), most + 1) for _ in range(count)]
            turn = [asked(mode, dice.randrange(KEYS), cost) for cost in costs]
            for how, key, decision in await asyncio.gather(*turn):
                histories.check(key, how, decision)
                if decision.counted:
                    granted.append((key, decision))
            if windows and granted and dice.random() < 0.3:
                key, decision = granted.pop(dice.randrange(max(0, len(granted) - 9), len(granted)))
                await limiter.refund(decision)  # of others it would matter when the server did it
                for model in histories.models[key]:
                    model.refund(decision.at, decision.at, decision.counted, limiter.policies[0])
            if dice.random() < 0.1:
                await asyncio.sleep(dice.uniform(0, 0.02))
