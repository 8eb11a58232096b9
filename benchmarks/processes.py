"""The parent's side of the worker processes: started for one round, spoken to in JSON lines.

What must stay true: no worker outlives the block that started it.

1. The block ends normally: the workers' input is closed, they finish and are waited for.
2. It ends by an error, a cancellation or Ctrl-C: they are killed, then waited for.
3. The parent itself is killed: a worker reads end-of-file on its input and exits.

Ctrl-C in a terminal reaches the workers too; they ignore it and leave the ending to the parent,
which would otherwise report their deaths instead of the user's wish.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import msgspec

from benchmarks.channel import Order
from benchmarks.environments import Interpreter, environment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

__all__ = ["Team", "WorkerFailed", "team"]

_ROOT = Path(__file__).resolve().parent.parent
_LONGEST_LINE = 2**26  # a race's latencies, with room to spare
_GRACE = 5.0  # seconds for a worker to close its connections

T = TypeVar("T")


class WorkerFailed(Exception):
    """A worker ended before it answered; the message ends with what it wrote to stderr."""


class Team:
    """The workers of one subject in one round, which act together."""

    def __init__(self, processes: Sequence[Process], log: IO[bytes]) -> None:
        """Take the started processes and the file that holds their stderr."""
        self._processes = processes
        self._log = log

    async def send(self, message: msgspec.Struct) -> None:
        """Send every worker the same message."""
        line = msgspec.json.encode(message) + b"\n"
        for process in self._processes:
            await self._write(process, line)

    async def send_each(self, messages: Sequence[msgspec.Struct]) -> None:
        """Send each worker its own message."""
        for process, message in zip(self._processes, messages, strict=True):
            await self._write(process, msgspec.json.encode(message) + b"\n")

    async def receive(self, kind: type[T]) -> list[T]:
        """Wait for one message of every worker, in the workers' order.

        Raises:
            WorkerFailed: One of them ended instead.
        """
        lines = await asyncio.gather(*(self._line(process) for process in self._processes))
        return [msgspec.json.decode(line, type=kind) for line in lines]

    async def receive_from(self, index: int, kind: type[T]) -> T:
        """Wait for one message of one worker.

        Raises:
            WorkerFailed: It ended instead.
        """
        return msgspec.json.decode(await self._line(self._processes[index]), type=kind)

    async def _line(self, process: Process) -> bytes:
        if process.stdout is None:
            raise RuntimeError("the worker was started without a pipe")
        line = await process.stdout.readline()
        if not line:
            raise self._failure(await process.wait())
        return line

    async def _write(self, process: Process, line: bytes) -> None:
        if process.stdin is None:
            raise RuntimeError("the worker was started without a pipe")
        try:
            process.stdin.write(line)
            await process.stdin.drain()
        except ConnectionError as error:
            raise self._failure(await process.wait()) from error

    def _failure(self, status: int) -> WorkerFailed:
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()
        last = "\n".join(text.splitlines()[-20:]) or "(it wrote nothing to stderr)"
        return WorkerFailed(f"a worker exited with status {status}:\n{last}")


@contextlib.asynccontextmanager
async def team(
    scenario: str,
    subject: str,
    *,
    interpreter: Interpreter,
    adapter: str,
    url: str,
    options: msgspec.Struct,
    processes: int = 1,
) -> AsyncGenerator[Team]:
    """Start fresh processes for one subject; all have ended when the block has.

    Args:
        scenario: Whose `work` they run.
        subject: Whom they drive.
        interpreter: What to run them with.
        adapter: `module:name` of the subject's adapter.
        url: The server's.
        options: What `work` reads from its order.
        processes: How many.
    """
    with tempfile.TemporaryFile() as log:
        started: list[Process] = []
        try:
            for _ in range(processes):
                started.append(  # noqa: PERF401 - a failing start must leave the others known
                    await asyncio.create_subprocess_exec(
                        interpreter.program,
                        "-m",
                        "benchmarks.worker",
                        stdin=PIPE,
                        stdout=PIPE,
                        stderr=log,
                        cwd=_ROOT,
                        env=environment(interpreter),
                        limit=_LONGEST_LINE,
                    )
                )
            crew = Team(started, log)
            raw = msgspec.Raw(msgspec.json.encode(options))
            await crew.send_each(
                [
                    Order(
                        scenario=scenario,
                        subject=subject,
                        adapter=adapter,
                        alone=interpreter.alone,
                        url=url,
                        index=index,
                        options=raw,
                    )
                    for index in range(processes)
                ]
            )
            yield crew
            await _dismiss(started)
        finally:
            await _end(started)


async def _dismiss(processes: Sequence[Process]) -> None:
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GRACE):
            for process in processes:
                await process.wait()


async def _end(processes: Sequence[Process]) -> None:
    for process in processes:
        if process.returncode is None:
            # Not `process.kill()`, which polls first: it would reap a worker that has just died
            # by itself before asyncio's own watcher does, and that one then warns of a stranger.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        await process.wait()
