"""One of several processes that hit one key: it writes down when it was admitted.

Run as `python limit_worker.py URL KEY LIMIT PER SECONDS`; the last line is JSON: `[when, cost]` of
every admission, in microseconds of the server's clock.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

from millpond import Client
from millpond.limit.limiter import Limiter
from millpond.limit.policies import SlidingWindow


async def main(url: str, key: str, limit: int, per: float, seconds: float) -> None:
    """Hit for a while from twenty tasks, now and then after a pause, and give some back."""
    admitted: list[list[int]] = []
    dice = random.Random()
    async with Client.from_url(url, prefix="t") as client:
        limiter = Limiter(client, "api", SlidingWindow(limit, per=per), near=0)
        end = asyncio.get_running_loop().time() + seconds

        async def worker() -> None:
            while asyncio.get_running_loop().time() < end:
                decision = await limiter.hit(key, cost=dice.randint(1, 3))
                assert decision.source == "redis"
                if decision.allowed:
                    admitted.append([decision.at, decision.granted])
                await asyncio.sleep(dice.choice((0, 0, 0.001, 0.01)))

        await asyncio.gather(*(worker() for _ in range(20)))
    print(json.dumps(admitted))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(float, sys.argv[4:])))
