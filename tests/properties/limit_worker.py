"""One of several processes that hit one key: it writes down when it was admitted.

Run as `python limit_worker.py URL KEY POLICY PER FIRST THEN SECONDS`: for half of the time the
limit is FIRST, then THEN. The last line is JSON: when the last decision by the first limit was
made, and `[when, cost]` of every admission that was not given back, in microseconds of the server's
clock.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

from millpond import Client
from millpond.limit.limiter import Limiter
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket

POLICIES = {"window": SlidingWindow, "bucket": TokenBucket, "fixed": FixedWindow}


async def main(
    url: str, key: str, policy: str, per: float, first: int, then: int, seconds: float
) -> None:
    """Hit for a while from twenty tasks, now and then after a pause, and give some back."""
    admitted: list[list[int]] = []
    changed = 0
    dice = random.Random()
    refunds = policy != "bucket"  # of which a refund may be more than the hit still took
    async with Client.from_url(url, prefix="t") as client:
        before, after = (
            Limiter(client, "api", POLICIES[policy](limit, per=per), near=0)
            for limit in (first, then)
        )
        begin = asyncio.get_running_loop().time()

        async def worker() -> None:
            nonlocal changed
            while (now := asyncio.get_running_loop().time() - begin) < seconds:
                limiter = before if now < seconds / 2 else after
                decision = await limiter.hit(key, cost=dice.randint(1, 3))
                assert decision.source == "redis"
                if limiter is before:
                    changed = max(changed, decision.at)
                if decision.allowed:
                    back = refunds and dice.random() < 0.2
                    if back:
                        await asyncio.sleep(dice.choice((0, 0, 0.005)))
                    if not back or not await limiter.refund(decision):
                        admitted.append([decision.at, decision.granted])
                await asyncio.sleep(dice.choice((0, 0, 0.001, 0.01)))

        await asyncio.gather(*(worker() for _ in range(20)))
    print(json.dumps([changed, admitted]))


if __name__ == "__main__":
    url, key, policy, per, first, then, seconds = sys.argv[1:]
    asyncio.run(main(url, key, policy, float(per), int(first), int(then), float(seconds)))
