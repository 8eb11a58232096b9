"""Writers that are killed, stopped and doubled, as processes of their own; DEL from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from millpond import MISSING, CachePolicy
from millpond.core.entry import pack_mark
from tests.properties.worker import connect
from tests.support.fleet import Member

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from types import TracebackType

    from tests.support.servers import Server

ROOT = Path(__file__).parents[2]
KEY = "t:n:1"
MARK = pack_mark(b"", 0, 0)[:4]


class Writer:
    """A process inside `writing(1)`; see `tests.support.writer_process`."""

    def __init__(self, server: Server, database: Path, write_timeout: float = 30) -> None:
        """Start it."""
        arguments = [server.url, str(database), str(write_timeout)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.writer_process", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    async def marked(self) -> Self:
        """Wait until its mark is confirmed."""
        assert await self._hear() == "marked"
        return self

    async def commit(self) -> int:
        """Have it commit the next version."""
        self._tell("commit")
        return int(await self._hear())

    async def leave(self) -> None:
        """Have it leave, with the version that it committed."""
        self._tell("leave")
        assert await self._hear() == "left"

    def stop(self) -> None:
        """Freeze it."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Thaw it."""
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it where it is."""
        self._process.kill()
        self._process.wait(timeout=10)

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        with self._process:
            self._process.kill()

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    async def _hear(self) -> str:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), 30)
        return line.decode().strip()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "rows.sqlite"
    rows = connect(str(path))
    rows.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)")
    rows.execute("INSERT INTO row VALUES (1, 1)")
    rows.close()
    return path


class Reader:
    """Reads the row through the cache, and knows the newest version that must be seen."""

    def __init__(self, member: Member[int], rows: sqlite3.Connection) -> None:
        """Begin with nothing that must be seen."""
        self.member = member
        self.rows = rows

    async def load(self) -> int:
        """Read the row."""
        (version,) = self.rows.execute("SELECT version FROM row WHERE id = 1").fetchone()
        return version

    async def read(self) -> int:
        """Read through the cache."""
        return await self.member.cache.get_or_set(1, self.load)

    async def raw(self) -> bytes:
        """Read what is under the key."""
        return await self.member.client.call("GET", KEY) or b""

    async def until_mark(self, *, there: bool) -> None:
        """Wait until there is a write mark, or none."""
        async with asyncio.timeout(30):
            while (await self.raw()).startswith(MARK) != there:
                await asyncio.sleep(0.01)

    async def until_stored(self, version: int) -> None:
        """Read, every time this version and no other, until it is stored again."""
        async with asyncio.timeout(30):
            while await self.member.cache.get(1) is MISSING:
                assert await self.read() == version
                await asyncio.sleep(0.01)
        assert await self.member.cache.get(1) == version


@pytest.fixture
async def reader(url: str, database: Path) -> AsyncIterator[Reader]:
    rows = connect(str(database))
    async with Member[int](url, policy=CachePolicy(wait_timeout=5)) as member:
        yield Reader(member, rows)
    rows.close()


async def test_writer_killed_between_commit_and_leave_leaves_nothing_stale(
    server: Server, database: Path, reader: Reader
) -> None:
    assert await reader.read() == 1
    with Writer(server, database, write_timeout=3) as writer:
        await writer.marked()
        assert await reader.read() == 1
        assert await writer.commit() == 2
        writer.kill()
        await reader.until_stored(2)
        assert reader.member.cache.statistics().unleased_loads > 1, "the mark outlived its writer"


async def test_delete_after_commit_by_a_process_that_is_killed_would_be_stale(
    server: Server, database: Path, reader: Reader
) -> None:
    """What `writing()` is for: the same without a mark, which somebody removes, goes stale."""
    with Writer(server, database) as writer:
        await writer.marked()
        assert server.execute("DEL", KEY) == 1  # from outside, which the documentation forbids
        assert await reader.read() == 1
        assert await writer.commit() == 2
        writer.kill()
        assert await reader.read() == 1


async def test_mark_deleted_from_outside_is_put_again_and_the_writer_stores_nothing(
    server: Server, database: Path, reader: Reader
) -> None:
    with Writer(server, database, write_timeout=0.9) as writer:
        await writer.marked()
        assert server.execute("DEL", KEY) == 1
        assert await reader.read() == 1
        await reader.until_mark(there=True)
        assert await writer.commit() == 2
        assert await reader.read() == 2
        await writer.leave()
        assert await reader.member.cache.get(1) is MISSING
        assert await reader.read() == 2


@pytest.mark.parametrize("first", [0, 1])
async def test_overlapping_writers_in_two_processes_store_nothing_older(
    server: Server, database: Path, reader: Reader, first: int
) -> None:
    with Writer(server, database) as one, Writer(server, database) as other:
        writers = (await one.marked(), await other.marked())
        assert [await writer.commit() for writer in writers] == [2, 3]
        for writer in (writers[first], writers[1 - first]):
            await writer.leave()
            assert await reader.member.cache.get(1) is MISSING
        assert await reader.read() == 3
        assert await reader.member.cache.get(1) == 3


async def test_one_of_two_writers_killed_leaves_the_mark_to_the_other(
    server: Server, database: Path, reader: Reader
) -> None:
    with Writer(server, database, 0.6) as victim, Writer(server, database, 0.6) as other:
        await victim.marked()
        await other.marked()
        assert await victim.commit() == 2
        victim.kill()
        assert await reader.read() == 2
        assert await other.commit() == 3
        await other.leave()
        await reader.until_stored(3)


async def test_writer_stopped_until_its_mark_has_lapsed_stores_nothing_over_a_later_write(
    server: Server, database: Path, reader: Reader
) -> None:
    with Writer(server, database, 0.5) as stopped:
        await stopped.marked()
        assert await stopped.commit() == 2
        stopped.stop()
        await reader.until_mark(there=False)
        with Writer(server, database) as other:
            await other.marked()
            assert await other.commit() == 3
            await other.leave()
        assert await reader.member.cache.get(1) == 3
        stopped.go_on()
        await stopped.leave()  # with version 2
        assert await reader.read() == 3


async def test_writer_stopped_before_its_commit_is_fresh_once_it_has_left(
    server: Server, database: Path, reader: Reader
) -> None:
    with Writer(server, database, 0.5) as stopped:
        await stopped.marked()
        stopped.stop()
        await reader.until_mark(there=False)
        assert await reader.read() == 1
        assert await reader.member.cache.get(1) == 1
        stopped.go_on()
        assert await stopped.commit() == 2
        await stopped.leave()
        assert await reader.read() == 2
