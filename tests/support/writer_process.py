"""A process that writes a row through `writing()`, and stops where it is told to.

python -m tests.support.writer_process URL DATABASE WRITE_TIMEOUT

It says `marked`, and obeys lines: `commit` commits the next version, sets it and says the
version; `leave` ends the block, with what it has set, and says `left`.
"""

from __future__ import annotations

import asyncio
import sys

from millpond import Cache, CachePolicy, Client
from tests.properties.worker import connect


def say(word: object) -> None:
    print(word, flush=True)


async def main(url: str, database: str, write_timeout: float) -> None:
    """Write the row 1 once."""
    policy = CachePolicy(write_timeout=write_timeout)
    async with Client.from_url(url, prefix="t", hooks=[]) as client:
        cache: Cache[int] = Cache(client, "n", ttl=60, type=int, policy=policy)
        rows = connect(database)
        async with cache.writing(1) as write:
            say("marked")
            while (await asyncio.to_thread(sys.stdin.readline)).strip() == "commit":
                (version,) = rows.execute(
                    "UPDATE row SET version = version + 1 WHERE id = 1 RETURNING version"
                ).fetchone()
                write.set(version)
                say(version)
        say("left")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
