"""A process that holds locks, obeying lines on stdin and answering on stdout.

`hold <name> <lease>`: acquires, says `held <fence>`, then stalls or works until told otherwise:
`write <fence>` is not obeyed but done by itself: after every line it reads, it checks that the
lock is held and writes its fence into a store that refuses lower ones, and says what came of it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys

from millpond import Client
from millpond.errors import LockLost
from millpond.lock.locks import Locks


def fenced_write(path: str, fence: int) -> bool:
    """Write a row unless a higher fence has written; what a resource behind a lock must do."""
    with sqlite3.connect(path, timeout=10) as db:
        done = db.execute(
            "UPDATE account SET fence = :fence, writes = writes + 1 WHERE fence <= :fence",
            {"fence": fence},
        ).rowcount
    return done == 1


def say(*words: object) -> None:
    print(*words, flush=True)


async def main(url: str, name: str, lease: float, store: str) -> None:
    """Hold the lock; for each line, write first unchecked, then checked."""
    loop = asyncio.get_running_loop()
    async with Client.from_url(url, prefix="t") as client:
        locks = Locks(client, "n", lease=lease)
        try:
            async with locks.hold(name) as held:
                say("held", held.fence)
                sys.stdin.readline()  # blocks the loop, as work that never yields does
                say("written" if fenced_write(store, held.fence) else "refused")
                held.ensure_held()
                say("side effect")
                await loop.run_in_executor(None, sys.stdin.readline)
        except LockLost as error:
            say("lost", error.reason)
        else:
            say("released")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]))
