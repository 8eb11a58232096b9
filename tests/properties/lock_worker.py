"""A process that takes one lock over and over, and writes down what it did and when.

A line for each act: `<monotonic ns> <fence>`. The time is read *before* the lock is checked, so
that whoever is stopped between the two claims nothing that was not true. `lost` stands for each
lock that ended before its block did.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time

from millpond import Client
from millpond.errors import BackendError, LockLost, LockTimeout
from millpond.lock.locks import Locks

LEASE = 0.3  # seconds: shorter than the stops that the parent inflicts


async def take(locks: Locks, out: int) -> None:
    """Take the lock, act a few times, let go; for ever."""
    while True:
        try:
            async with locks.hold("a", wait=2) as held:
                for _ in range(random.randint(1, 4)):
                    now = time.monotonic_ns()
                    held.ensure_held()
                    os.write(out, b"%d %d\n" % (now, held.fence))
                    await asyncio.sleep(random.choice([0, 0, 0.002]))
        except LockLost:
            os.write(out, b"lost\n")
        except LockTimeout:
            pass
        except BackendError:
            await asyncio.sleep(0.01)


async def main(url: str, path: str) -> None:
    """Let three tasks take it."""
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with Client.from_url(url, prefix="t", hooks=[]) as client:
        locks = Locks(client, "n", lease=LEASE)
        await asyncio.gather(*[take(locks, out) for _ in range(3)])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
