"""A process of one release of a program, whose `Account` has the fields of that release.

python -m tests.support.release_process URL RELEASE VERSION

For each line it is given it reads every key through `get_or_set`, loading what is not there, and
says how many it has loaded and how many hits it had by now. Release 2 adds a field with a default,
release 3 one without.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec

from millpond import Cache, Client

FIELDS: dict[int, list[Any]] = {
    1: [("id", int)],
    2: [("id", int), ("plan", str, "free")],
    3: [("id", int), ("plan", str, "free"), ("email", str)],
}
KEYS = 20


async def main(url: str, release: int, version: int) -> None:
    """Read for every line."""
    account: Any = msgspec.defstruct("Account", FIELDS[release], kw_only=True)
    given = {"email": "a@b"} if release == 3 else {}
    async with Client.from_url(url, prefix="t", hooks=[]) as client:
        cache: Cache[Any] = Cache(client, "n", ttl=60, type=account, version=version)

        async def load(key: int) -> Any:
            return account(id=key, **given)

        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            for key in range(KEYS):
                found = await cache.get_or_set(key, lambda key=key: load(key))
                assert type(found) is account
                assert found.id == key
            statistics = cache.statistics()
            print(statistics.loads, statistics.hits, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
