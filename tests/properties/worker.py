"""One process of the freshness check: readers and writers on the rows of one database.

python -m tests.properties.worker PLAN      (JSON; prints a history in JSON at its end)
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from millpond import Cache, CachePolicy, Client, Loaded, RemoteLoadError
from millpond.cache import keeping, marks, store
from millpond.cache.flight import Flight
from millpond.core.scripts import Script
from tests.properties.history import History, Read, Write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from millpond.cache.captured import Captured

__all__ = ["Plan", "connect"]

# What most caches do: whatever was loaded is stored, whatever happened meanwhile.
BLIND = Script("redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1")
# And this one does so with what a refresh has loaded, over whatever value is there.
BLIND_REFRESH = Script(
    """
    if redis.call('GETRANGE', KEYS[1], 0, 3) == '\\137M\\1v' then
      redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
      return 1
    end
    """
    + Script.load("millpond.cache", "fill", after=("soft",)).source
)


async def capture_late(
    flight: Flight[int], _: Captured, more: Sequence[str], lifetime: int | None
) -> Captured:
    """Take the versions to store under when the loader has returned, which is too late."""
    shared = flight._store  # pyright: ignore[reportPrivateUsage]
    tags = (*flight._tags, *more)  # pyright: ignore[reportPrivateUsage]
    return await shared.versions.current(tags, lifetime or 5000)


class Plan(msgspec.Struct, kw_only=True):
    """What a process is to do."""

    url: str
    database: str
    seconds: float
    seed: int
    keys: int = 2
    readers: int = 6
    writers: int = 1
    blind: bool = False  # store without comparing
    blind_refresh: bool = False  # store what a refresh loaded over any value
    blind_leave: bool = False  # write through whatever others have written
    late_capture: bool = False  # store under the versions of after the load
    ways: tuple[str, ...] = ("delete",)  # how writes are made, in turn by chance
    tagged: str = ""  # each row by its own tag; known to the `call`, or to the `loader` alone
    refreshes: float = 0.0  # the share of reads that are `refresh`
    many: float = 0.0  # the share of reads that are `get_or_set_many`, of some keys
    failures: float = 0.0  # the share of loads that raise
    ttl: float = 5.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    stale_retry: float | None = None
    stale_after: float | None = None
    write_timeout: float = 30.0
    stall: float = 0.0  # seconds at most that the event loop stands still inside a `writing()`
    renew: bool = True  # otherwise leases run out under loads
    lease_ttl: float = 3.0
    load_seconds: float = 0.01  # at most, after the row was read
    pause: float = 0.03  # seconds at most, between two writes of one task


def connect(path: str) -> sqlite3.Connection:
    """Open the database of rows: autocommit, so that each statement is its own transaction."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    return connection


class Worker:
    """The tasks of this process, and what they did."""

    def __init__(self, plan: Plan, cache: Cache[int]) -> None:
        """Begin with an empty history."""
        self.plan = plan
        self.cache = cache
        self.history = History()
        self.random = random.Random(plan.seed)
        self.rows = connect(plan.database)
        self.end = 0.0

    async def run(self) -> None:
        """Read and write until the time is over."""
        self.end = time.monotonic() + self.plan.seconds
        tasks = [self.read() for _ in range(self.plan.readers)]
        tasks += [self.write() for _ in range(self.plan.writers)]
        await asyncio.gather(*tasks)
        counted = self.cache.statistics()
        self.history.loads, self.history.stale = counted.loads, counted.stale

    def tags(self, *keys: int) -> list[int]:
        """Name the tags that a call knows."""
        return list(keys) if self.plan.tagged == "call" else []

    def loader(self, key: int) -> Callable[[], Awaitable[int | Loaded[int]]]:
        """Read the row first and then take a while, in which a write can overtake."""

        async def load() -> int | Loaded[int]:
            (version,) = self.rows.execute(
                "SELECT version FROM row WHERE id = ?", (key,)
            ).fetchone()
            await asyncio.sleep(self.random.uniform(0, self.plan.load_seconds))
            if self.random.random() < self.plan.failures:
                raise LookupError
            return Loaded(version, tags=[key]) if self.plan.tagged == "loader" else version

        return load

    async def load_many(self, keys: list[int]) -> dict[int, int]:
        """Do the same for many, and find no row now and then."""
        found: dict[int, int] = {}
        for key in keys:
            if len(found) == 1:
                await asyncio.sleep(self.random.uniform(0, self.plan.load_seconds))
            (found[key],) = self.rows.execute(
                "SELECT version FROM row WHERE id = ?", (key,)
            ).fetchone()
        await asyncio.sleep(self.random.uniform(0, self.plan.load_seconds))
        if self.random.random() < 0.1:
            del found[self.random.choice(keys)]
        return found

    async def read_many(self) -> None:
        """Read some rows with one call."""
        keys = self.random.sample(range(self.plan.keys), self.random.randint(1, self.plan.keys))
        began = time.monotonic_ns()
        refreshes = self.random.random() < self.plan.refreshes
        read = self.cache.refresh_many if refreshes else self.cache.get_or_set_many
        found = await read(keys, self.load_many, tags=self.tags(*keys))
        ended = time.monotonic_ns()
        self.history.reads += [Read(key, found[key], began, ended) for key in found]

    async def read(self) -> None:
        """Read rows through the cache."""
        while time.monotonic() < self.end:
            if self.random.random() < self.plan.many:
                await self.read_many()
                continue
            key = self.random.randrange(self.plan.keys)
            began = time.monotonic_ns()
            refreshes = self.random.random() < self.plan.refreshes
            read = self.cache.refresh if refreshes else self.cache.get_or_set
            try:
                version = await read(key, self.loader(key), tags=self.tags(key))
            except (LookupError, RemoteLoadError):
                pass
            else:
                self.history.reads.append(Read(key, version, began, time.monotonic_ns()))
            await asyncio.sleep(self.random.uniform(0, 0.003))

    async def write(self) -> None:
        """Write rows, one way or another."""
        while time.monotonic() < self.end:
            key = self.random.randrange(self.plan.keys)
            began = time.monotonic_ns()
            way = self.random.choice(self.plan.ways)
            if way == "delete":
                version = self.commit(key)
                ended = await self.cache.delete(key)
            elif way == "tags":
                version = self.commit(key)
                ended = await self.cache.delete_tags(key)
            elif way == "clear":
                version = self.commit(key)
                ended = await self.cache.clear()
            elif way == "expire":  # which promises nothing about what is served meanwhile
                version = self.commit(key)
                ended = None if await self.cache.expire(key) else False
            else:
                version = await self.write_marked(key)
                ended = True
            if ended:
                self.history.writes.append(Write(key, version, began, time.monotonic_ns()))
            elif ended is not None:
                self.history.unconfirmed += 1
            await asyncio.sleep(self.random.uniform(0.002, self.plan.pause))

    def commit(self, key: int) -> int:
        """Give the row its next version."""
        (version,) = self.rows.execute(
            "UPDATE row SET version = version + 1 WHERE id = ? RETURNING version", (key,)
        ).fetchone()
        return version

    async def write_marked(self, key: int) -> int:
        """Commit under a write mark, and perhaps write through."""
        async with self.cache.writing(key, tags=self.tags(key)) as write:
            await self.linger()
            version = self.commit(key)
            await self.linger()
            if "through" in self.plan.ways and self.random.random() < 0.7:
                write.set(version)
        return version

    async def linger(self) -> None:
        """Let others in between, or stall, so that the mark may lapse."""
        await asyncio.sleep(self.random.uniform(0, 0.004))
        if self.plan.stall and self.random.random() < 0.1:
            time.sleep(self.random.uniform(0, self.plan.stall))


async def main(plan: Plan) -> History:
    """Run one process's share."""
    if plan.blind:
        setattr(store, "_FILL", BLIND)  # noqa: B010  (private: this is the mutation)
    if plan.blind_refresh:
        setattr(store, "_FILL", BLIND_REFRESH)  # noqa: B010
    if not plan.renew:
        setattr(keeping, "_RENEW", Script("return 1"))  # noqa: B010
    if plan.blind_leave:
        setattr(marks, "_LEAVE", BLIND)  # noqa: B010
    if plan.late_capture:
        setattr(Flight, "_under", capture_late)  # noqa: B010
    client = Client.from_url(plan.url, prefix="t", hooks=[])
    policy = CachePolicy(
        lease_ttl=plan.lease_ttl,
        write_timeout=plan.write_timeout,
        stale_while_revalidate=plan.stale_while_revalidate,
        stale_if_error=plan.stale_if_error,
        stale_retry=plan.stale_retry,
        stale_after=plan.stale_after,
    )
    cache: Cache[int] = Cache(client, "row", type=int, ttl=plan.ttl, policy=policy)
    async with client:
        worker = Worker(plan, cache)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await worker.run()
    worker.rows.close()
    return worker.history


if __name__ == "__main__":
    done = asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
    sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
