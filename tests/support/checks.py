"""What must hold after every test: each key expires, no task is left."""

from __future__ import annotations

import asyncio
from typing import Any, cast

__all__ = ["keys_without_ttl", "surviving_tasks"]


def keys_without_ttl(client: Any) -> list[str]:
    """List `db0:key` of every key, in any database, that would stay for ever.

    Args:
        client: A blocking redis-py client; it may be left on another database.

    Redis: INFO keyspace; and, where that counts fewer expiring keys than keys, SELECT, SCAN and
    one PTTL per key.
    """
    offenders: list[str] = []
    keyspace = cast("dict[str, dict[str, int]]", client.info("keyspace"))
    for database, counts in keyspace.items():
        if counts["keys"] == counts["expires"]:
            continue
        client.execute_command("SELECT", database.removeprefix("db"))
        keys = cast("list[bytes]", list(client.scan_iter(count=1000)))
        lasting = [key for key in keys if client.pttl(key) == -1]
        offenders += [f"{database}:{key.decode(errors='backslashreplace')}" for key in lasting]
    return sorted(offenders)


async def surviving_tasks() -> list[str]:
    """List the tasks of the running loop that are neither done nor the caller's own.

    One turn of the loop goes by first: a task that was cancelled in the test's last line ends
    in it.
    """
    await asyncio.sleep(0)
    return sorted(repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()})
