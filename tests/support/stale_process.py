"""A process that reads key 1, which is stale, and says what it did.

python -m tests.support.stale_process URL POLICY WHAT      (POLICY in JSON)

`hang`: reads it once; the load that it begins never ends. To be killed.
`crowd`: 100 readers at once; the load takes a while and brings 2.
`outage`: readers for a second, one after another; every load fails.

Says "ready", waits for a line, and at its end says in JSON what was read and how often it loaded.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from millpond import CachePolicy
from tests.support.fleet import Member, until


async def main(url: str, policy: CachePolicy, what: str) -> dict[str, Any]:
    """Do it."""
    loads = 0

    async def load() -> int:
        nonlocal loads
        loads += 1
        if what == "hang":
            print("loading", flush=True)
            await asyncio.Event().wait()
        elif what == "outage":
            raise ConnectionError
        await asyncio.sleep(0.1)
        return 2

    async with Member[int](url, policy=policy) as member:
        await member.client.call("PING")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        read: set[int] = set()
        if what == "outage":
            ends = time.monotonic() + 1
            while time.monotonic() < ends:
                read.add(await member.cache.get_or_set(1, load))
        else:
            crowd = (member.cache.get_or_set(1, load) for _ in range(100 if what == "crowd" else 1))
            read.update(await asyncio.gather(*crowd))
            await until(lambda: not member.cache.statistics().flights, 60)
        return {"read": sorted(read), "loads": loads}


if __name__ == "__main__":
    chosen = CachePolicy(**json.loads(sys.argv[2]))
    print(json.dumps(asyncio.run(main(sys.argv[1], chosen, sys.argv[3]))), flush=True)
