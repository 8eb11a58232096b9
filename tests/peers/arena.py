"""Where a case runs: an empty server of its own, and the ways to get at it.

The server was started by whoever runs the case (`runner.py`): its process may be stopped and
killed at will. `Behind` speaks to it past the library under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import redis

from tests.peers.tap import Tap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.peers.subjects import Subject

__all__ = ["Arena", "Behind", "Member", "elapsed", "settles"]

_ROOT = Path(__file__).resolve().parents[2]


class Behind:
    """The server, past the library: commands on a connection of our own, and its process."""

    def __init__(self, port: int, pid: int) -> None:
        """Take the server's port on 127.0.0.1 and its process."""
        self.port = port
        self._pid = pid
        self._client = cast("Any", redis.Redis)(host="127.0.0.1", port=port, socket_timeout=5)

    def execute(self, *command: str | bytes | float) -> Any:
        """Run one command."""
        return self._client.execute_command(*command)

    def stored(self) -> list[bytes]:
        """List all keys."""
        return list(self._client.scan_iter(count=1000))

    def lasting(self) -> list[str]:
        """List the keys without a TTL."""
        return [
            key.decode(errors="replace") for key in self.stored() if self._client.pttl(key) == -1
        ]

    def commands(self) -> int:
        """Count the commands that were run since the start, scripts as one, these questions not."""
        stats = cast("dict[str, dict[str, int]]", self._client.info("commandstats"))
        return sum(numbers["calls"] for name, numbers in stats.items() if name != "cmdstat_info")

    def now(self) -> float:
        """Return the server's clock, in seconds."""
        seconds, microseconds = self._client.time()
        return int(seconds) + int(microseconds) / 1e6

    def pause(self) -> None:
        """Freeze the server: it accepts connections and bytes, and answers nothing."""
        os.kill(self._pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw it."""
        os.kill(self._pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it; from now on connections are refused."""
        os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


class Member:
    """Another process that uses the same library; see `member.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take a process that has said that it is open."""
        self._process = process

    def order(self, **order: object) -> None:
        """Tell it what to do; it does one thing after another."""
        stdin = cast("asyncio.StreamWriter", self._process.stdin)
        stdin.write(json.dumps(order).encode() + b"\n")

    async def answer(self, timeout: float = 20.0) -> dict[str, Any]:
        """Wait for the next thing that it says."""
        stdout = cast("asyncio.StreamReader", self._process.stdout)
        line = await asyncio.wait_for(stdout.readline(), timeout)
        if not line:
            raise RuntimeError("the other process has ended")
        return json.loads(line)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@dataclass
class Arena:
    """What a case is given.

    Attributes:
        subject: Which library.
        behind: The server.
    """

    subject: Subject
    behind: Behind

    @property
    def url(self) -> str:
        """The server's address."""
        return f"redis://127.0.0.1:{self.behind.port}/0"

    @contextlib.asynccontextmanager
    async def peer(self, url: str | None = None) -> AsyncGenerator[Any]:
        """Open the library once more, with connections of its own; through a tap, if given."""
        peer = self.subject.adapter()(url or self.url)
        await peer.__aenter__()
        try:
            yield peer
        finally:
            # A library whose connection a case has broken may take its time, or fail, to say
            # goodbye; the process ends soon. In this task: some hold scopes that belong to it.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(3):
                    await peer.__aexit__(None, None, None)

    def tap(self) -> Tap:
        """Return a proxy to the server; enter it."""
        return Tap(self.behind.port)

    @contextlib.asynccontextmanager
    async def member(self) -> AsyncGenerator[Member]:
        """Start another process that uses the library."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.peers.member",
            self.subject.name,
            self.url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
        )
        member = Member(process)
        try:
            await member.answer()
            yield member
        finally:
            await member.kill()


async def settles(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true, for so long at most; tell whether it is."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        await asyncio.sleep(0.005)
    return True


async def elapsed(call: Awaitable[Any], timeout: float) -> tuple[float, Any]:
    """Await something for so long at most; return how long it took and what it gave or raised."""
    began = time.monotonic()
    try:
        outcome: Any = await asyncio.wait_for(call, timeout)
    except Exception as error:  # noqa: BLE001 - whatever a library raises is what was asked for
        outcome = error
    return time.monotonic() - began, outcome
