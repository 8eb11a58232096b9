"""A process that goes in and out of a concurrency limit, and says when.

python -m tests.support.limit_places URL LIMIT SECONDS [stay]

It says `ready`, and begins at a line on stdin. Each time that it was inside it says `[from, to]`,
by the monotonic clock that all processes of a machine share. With `stay` it says `inside` and
stays, for somebody to kill it.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

from millpond import Client
from millpond.limit.limiter import Limiter
from millpond.limit.policies import SlidingWindow


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


async def main(url: str, limit: int, seconds: float, *, stay: bool) -> None:
    """Go in and out from eight tasks for a while."""
    async with Client.from_url(url, prefix="t", hooks=[]) as client:
        limiter = Limiter(client, "api", SlidingWindow(1, per=60))
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        end = time.monotonic() + seconds

        async def worker() -> None:
            while time.monotonic() < end:
                async with limiter.concurrency("ann", limit, lease=1.0, wait=10):
                    begin = time.monotonic()
                    await asyncio.sleep(random.uniform(0, 0.01))
                    say([begin, time.monotonic()])

        if stay:
            async with limiter.concurrency("ann", limit, lease=1.0):
                say("inside")
                await asyncio.Event().wait()
        await asyncio.gather(*(worker() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), stay="stay" in sys.argv))
