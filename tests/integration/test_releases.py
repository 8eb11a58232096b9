"""Two releases side by side, in processes of their own, over one Redis: a rolling deploy."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.release_process import KEYS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ROOT = Path(__file__).parents[2]


class Release:
    """One running process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Speak to a process that runs."""
        self._process = process

    async def round(self) -> tuple[int, int]:
        """Have it read every key; return its loads and hits so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        loads, hits = (await self.line()).split()
        return int(loads), int(hits)

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            return (await self._process.stdout.readline()).decode()


def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


@asynccontextmanager
async def releases(url: str, *which: tuple[int, int]) -> AsyncGenerator[list[Release]]:
    """Start processes, each of a release and with a version of the cache."""
    async with AsyncExitStack() as stack:
        running: list[Release] = []
        for release, version in which:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.release_process"),
                *(url, str(release), str(version)),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(process.wait)
            stack.callback(_end, process)
            running.append(Release(process))
        for one in running:
            assert (await one.line()).strip() == "ready"
        yield running


async def test_added_field_with_a_default_costs_no_load_in_either_direction(url: str) -> None:
    async with releases(url, (1, 0), (2, 0)) as (old, new):
        assert await old.round() == (KEYS, 0)
        for turn in range(1, 4):
            assert await new.round() == (0, turn * KEYS)
            assert await old.round() == (KEYS, turn * KEYS)


async def test_values_of_the_newer_release_are_hits_of_the_older_one(url: str) -> None:
    async with releases(url, (1, 0), (2, 0)) as (old, new):
        assert await new.round() == (KEYS, 0)
        assert await old.round() == (0, KEYS)
        assert await new.round() == (KEYS, KEYS)


async def test_field_without_a_default_is_loaded_once_and_then_read_by_both(url: str) -> None:
    async with releases(url, (2, 0), (3, 0)) as (old, new):
        assert await old.round() == (KEYS, 0)
        assert await new.round() == (KEYS, 0)
        for turn in range(1, 4):
            assert await old.round() == (KEYS, turn * KEYS)
            assert await new.round() == (KEYS, turn * KEYS)


async def test_raised_version_is_loaded_once_and_the_older_never_replaces_it(url: str) -> None:
    async with releases(url, (1, 6), (2, 7)) as (old, new):
        assert await old.round() == (KEYS, 0)
        assert await new.round() == (KEYS, 0)
        for turn in range(1, 4):
            # The older release loads for itself and stores nothing, and the newer does not notice.
            assert await old.round() == ((turn + 1) * KEYS, 0)
            assert await new.round() == (KEYS, turn * KEYS)
