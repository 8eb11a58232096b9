"""The worker's side of its two pipes: an order first, then messages, one JSON object a line."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TypeVar

import msgspec

__all__ = ["Channel", "Order", "sleep_until"]

T = TypeVar("T")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told first."""

    scenario: str
    subject: str
    adapter: str  # "module:name"
    alone: bool  # in an environment that must not have millpond
    url: str
    index: int  # of this process among those that act together
    options: msgspec.Raw  # the scenario's own

    def read(self, kind: type[T]) -> T:
        """Decode the scenario's options."""
        return msgspec.json.decode(self.options, type=kind)


class Channel:
    """The worker's end of its two pipes."""

    def __init__(self) -> None:
        """Make one that is not connected yet."""
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._reader = asyncio.StreamReader()
        # A library that prints must not end up between the answers.
        self._answers, sys.stdout = sys.stdout.buffer, sys.stderr

    async def listen(self) -> None:
        """Read lines as they come, until the parent closes the pipe.

        Its end lets the scenario finish by itself; if it does not within a second, the parent is
        gone in the middle of a measurement and this process has nothing left to do.
        """
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader), sys.stdin.buffer
        )
        while line := await self._reader.readline():
            self._lines.put_nowait(line)
        self._lines.put_nowait(None)
        loop.call_later(1.0, os._exit, 1)

    async def receive(self, kind: type[T]) -> T | None:
        """Wait for the parent's next message; None when there will be none."""
        line = await self._lines.get()
        return None if line is None else msgspec.json.decode(line, type=kind)

    def send(self, message: msgspec.Struct) -> None:
        """Answer the parent, which always reads."""
        self._answers.write(msgspec.json.encode(message) + b"\n")
        self._answers.flush()


async def sleep_until(moment_ns: int) -> None:
    """Return at a moment of CLOCK_MONOTONIC, which all processes of a machine share.

    Timers of the loop have a grain of a millisecond; the last two are spun away.

    Args:
        moment_ns: As `time.monotonic_ns()` counts.
    """
    await asyncio.sleep(max(0.0, (moment_ns - time.monotonic_ns()) / 1e9 - 0.002))
    while time.monotonic_ns() < moment_ns:
        await asyncio.sleep(0)
