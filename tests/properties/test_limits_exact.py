"""The scripts against brute force: tens of thousands of weighted hits, no difference.

The clock is the test's own, so the moments that matter (the microsecond in which a hit leaves its
window, and the one before) are hit on purpose.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from millpond import Client
from millpond.limit.fallback import Local, States
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket
from millpond.limit.programs import REFUND, deciding
from tests.support.limits import CLOCK, decide, fake_time, model_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.core.commands import Arg
    from millpond.limit.policies import Policy
    from tests.support.limits import Model
    from tests.support.servers import Server

START = 1_700_000_000_123_456
MIXED = (
    SlidingWindow(20, per=10),
    SlidingWindow(150, per=100),
    TokenBucket(3, per=1, burst=15),
    FixedWindow(40, per=30),
)
CASES: dict[str, tuple[Policy, ...]] = {
    "window of 1": (SlidingWindow(1, per=5),),
    "window of 5": (SlidingWindow(5, per=10),),
    "window about the list's size": (SlidingWindow(66, per=10),),
    "window of 300": (SlidingWindow(300, per=60),),
    "bucket": (TokenBucket(7, per=1, burst=3),),
    "bucket of thirds": (TokenBucket(3, per=0.1, burst=9),),
    "slow bucket": (TokenBucket(100, per=86_400),),
    "fixed": (FixedWindow(10, per=5),),
    "all kinds": MIXED,
}


class History:
    """A run of operations on one key, and what brute force says of each."""

    def __init__(self, policies: tuple[Policy, ...], seed: int, *, plain: bool = False) -> None:
        self.dice = random.Random(seed)
        self.policies = policies
        self.models: list[Model] = [model_of(policy) for policy in policies]
        self.now = START
        self.granted: list[tuple[int, int]] = []
        self.plain = plain  # neither refunds nor limits that change

    def _advance(self) -> None:
        """Go on a little, or to the very edge of something."""
        dice = self.dice
        policy = dice.choice(self.policies)
        model = self.models[self.policies.index(policy)]
        how = dice.random()
        if how < 0.25:
            return
        if how < 0.45:
            edges = [edge for edge in model.instants(self.now, 1, policy) if edge > self.now]
            if edges:
                self.now = max(self.now, dice.choice(edges[:3]) + dice.choice((-1, 0, 1)))
            return
        if how < 0.97:
            self.now += int(dice.expovariate(1) * policy.period_us / policy.limit)
        else:
            self.now += int(dice.uniform(0.5, 1.5) * policy.period_us)

    def steps(self, count: int) -> Iterator[tuple[str, tuple[Policy, ...], list[int], list[int]]]:
        """Give mode, policies as changed for this call, costs, and the expected reply."""
        dice = self.dice
        for _ in range(count):
            self._advance()
            chance = dice.random()
            if not self.plain and chance < 0.1 and self.granted:
                when, cost = dice.choice(self.granted[-40:])
                self.granted.remove((when, cost))
                pairs = zip(self.models, self.policies, strict=True)
                given = sum(m.refund(self.now, when, cost, policy) for m, policy in pairs)
                yield "refund", self.policies, [when, cost], [given]
                continue
            if not self.plain and 0.1 < chance < 0.11:
                for model in self.models:
                    model.clear()
                yield "reset", self.policies, [], []
                continue
            policies = self.policies
            if not self.plain and chance > 0.9:
                factor = dice.choice((0.5, 0.8, 1.3, 2))
                policies = tuple(_scaled(policy, factor) for policy in policies)
            mode = dice.choice(("hit", "hit", "hit", "hit", "hit", "peek", "upto"))
            most = min(policy.most for policy in policies)
            costs = [
                most + 1 if dice.random() < 0.01 else min(1 + int(dice.expovariate(0.7)), most)
                for _ in range(dice.choice((1, 1, 1, 2, 5)))
            ]
            expected = [self.now]
            for cost in costs:
                answer = decide(self.models, policies, self.now, cost, mode)
                expected += answer
                if answer[0] == 0 and mode != "peek":
                    self.granted.append((self.now, answer[1]))
            yield mode, policies, costs, expected


def _scaled(policy: Policy, factor: float) -> Policy:
    limit = max(1, int(policy.limit * factor))
    if isinstance(policy, TokenBucket):
        return msgspec.structs.replace(policy, limit=limit, burst=max(1, int(policy.most * factor)))
    return msgspec.structs.replace(policy, limit=limit)


async def compare(client: Client, history: History, count: int) -> int:
    """Run a history in one pipeline, and compare every number; tell how many hits there were."""
    policies = history.policies
    script = fake_time(deciding("".join(sorted({policy.kind for policy in policies}))))
    refund = fake_time(REFUND)
    keys = [f"{{k}}:{policy.label}" for policy in policies]
    commands: list[tuple[Arg, ...]] = []
    wanted: list[tuple[Any, list[int]]] = []
    hits = 0
    for program in (script, refund):
        await client.call("SCRIPT", "LOAD", program.source)
    for mode, used, given, expected in history.steps(count):
        now = f"{history.now // 10**6} {history.now % 10**6}"
        commands.append(("SET", CLOCK, now, "PX", 600_000))
        numbers = [number for policy in used for number in policy.numbers]
        if mode == "refund":
            args = ("EVALSHA", refund.sha, len(keys), *keys, *given, *numbers)
        elif mode == "reset":
            args = ("DEL", *keys)
        else:
            hits += len(given)
            head = ("EVALSHA", script.sha, 1 + len(keys), "{k}:block")
            costs = (*(-cost for cost in given[:-1]), given[-1])
            args = (*head, *keys, mode, 1, len(policies), *numbers, *costs)
        commands.append(args)
        wanted.append(((mode, used, given, history.now), expected))
    replies = (await client.pipeline(commands))[1::2]
    for step, (reply, (operation, expected)) in enumerate(zip(replies, wanted, strict=True)):
        if operation[0] == "refund":
            assert [reply] == expected, (step, operation)
        elif operation[0] != "reset":
            assert reply == expected, (step, operation)
    return hits


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(3))
async def test_scripts_decide_as_brute_force_does(
    flavoured_server: Server, case: str, seed: int
) -> None:
    async with Client.from_url(flavoured_server.url) as client:
        assert await compare(client, History(CASES[case], seed), 500) > 500


@pytest.mark.parametrize("case", CASES)
async def test_scripts_decide_as_brute_force_does_in_memory(case: str) -> None:
    async with Client.from_url("memory://") as client:
        assert await compare(client, History(CASES[case], 99), 60) > 60


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_limiter_of_this_process_decides_as_brute_force_does(case: str, seed: int) -> None:
    policies = CASES[case]
    history = History(policies, seed, plain=True)
    local = Local(policies, 1.0, States())
    for mode, _, costs, expected in history.steps(500):
        for at, cost in enumerate(costs):
            why, amount, figures = local.decide("k", cost, history.now, mode)
            begin = 1 + at * (2 + len(figures))
            assert [why, amount, *figures] == expected[begin : begin + 2 + len(figures)]
