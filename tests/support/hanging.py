"""A process that begins to load a key and never ends: to be killed. Says when it has begun.

python -m tests.support.hanging URL LEASE_TTL [KEYS]      (so many keys with one call)
"""

from __future__ import annotations

import asyncio
import sys

from millpond import CachePolicy
from tests.support.fleet import Member


async def main(url: str, lease_ttl: float, many: int = 0) -> None:
    """Load key 1, or the first keys from 0."""

    async def load() -> int:
        print("loading", flush=True)
        await asyncio.Event().wait()
        return -1

    async def load_many(keys: list[int]) -> dict[int, int]:
        return dict.fromkeys(keys, await load())

    async with Member[int](url, policy=CachePolicy(lease_ttl=lease_ttl)) as member:
        if many:
            await member.cache.get_or_set_many(range(many), load_many)
        await member.cache.get_or_set(1, load)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), *map(int, sys.argv[3:])))
