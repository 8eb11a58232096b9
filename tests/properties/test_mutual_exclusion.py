"""Mutual exclusion and rising fences, as a checked history of processes that die and freeze."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.support.servers import Server

_ROUNDS = 3
_SECONDS = 2.0  # of random trouble in each


class Act(NamedTuple):
    """Something that was done under the lock."""

    at: int
    fence: int
    worker: int


def violations(acts: Iterable[Act]) -> list[tuple[Act, Act]]:
    """Find acts under a fence lower than one that had acted before, or shared by two processes."""
    found: list[tuple[Act, Act]] = []
    owners: dict[int, Act] = {}
    highest: Act | None = None
    for act in sorted(acts):
        owner = owners.setdefault(act.fence, act)
        if owner.worker != act.worker:
            found.append((owner, act))
        if highest is not None and act.fence < highest.fence:
            found.append((highest, act))
        if highest is None or act.fence > highest.fence:
            highest = act
    return found


def test_history_in_which_a_former_holder_acts_again_is_found_out() -> None:
    assert violations([Act(1, 10, 0), Act(2, 10, 0), Act(3, 11, 1), Act(4, 12, 0)]) == []
    assert violations([Act(1, 10, 0), Act(2, 11, 1), Act(3, 10, 0)])
    assert violations([Act(1, 10, 0), Act(2, 10, 1)])


class _Worker:
    """A process that takes the lock, and the file in which it writes what it did under it."""

    def __init__(self, number: int, url: str, path: Path) -> None:
        self.number = number
        self.path = path
        command = [sys.executable, "-m", "tests.properties.lock_worker", url, str(path)]
        self.process = subprocess.Popen(command)

    def stop(self) -> None:
        """Freeze it; it is when this returns."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def lines(self) -> list[list[str]]:
        """What it has written; a line that it was killed in is left out."""
        text = self.path.read_text() if self.path.exists() else ""
        return [line.split() for line in text.rpartition("\n")[0].splitlines()]

    def acts(self) -> list[Act]:
        return [
            Act(int(at), int(fence), self.number) for at, *rest in self.lines() for fence in rest
        ]

    def highest(self) -> int:
        return max([act.fence for act in self.acts()], default=0)

    def lost(self) -> int:
        return self.lines().count(["lost"])


class _Fleet:
    def __init__(self, server: Server, folder: Path, size: int) -> None:
        self.server = server
        self.folder = folder
        self.ever: list[_Worker] = []
        self.workers = [self.start() for _ in range(size)]

    def start(self) -> _Worker:
        number = len(self.ever)
        self.ever.append(_Worker(number, self.server.tcp_url, self.folder / str(number)))
        return self.ever[-1]

    def kill(self, place: int) -> None:
        """Kill one for good, and start another in its place."""
        self.workers[place].end()
        self.workers[place] = self.start()

    def end(self) -> None:
        for worker in self.workers:
            worker.end()

    def acts(self) -> list[Act]:
        """What was done by all that ever ran."""
        return [act for worker in self.ever for act in worker.acts()]

    def holder(self) -> tuple[_Worker, int] | None:
        """Tell who holds the lock, and its fence, while nobody moves."""
        value: bytes = self.server.execute("GET", "{t:n:a}") or b"0:"
        fence = int(value.partition(b":")[0])
        for worker in self.workers:
            acts = worker.acts()
            if acts and acts[-1].fence == fence:
                return worker, fence
        return None  # it is free, or has not been used yet

    async def freeze_the_holder(self) -> None:
        """Stop whoever holds the lock until a rival has acted under it; it must learn of that.

        With everybody stopped, the lock's fence and the last acts tell who it is: it has acted,
        and Redis has not heard of a release. Whatever it does when it wakes, it has lost its lock.
        (Unless its release was sent, and struck by trouble: such a lock is nobody's, and no loss.
        So first everybody acts anew, which they do over connections that live.)
        """
        past = max([worker.highest() for worker in self.ever])
        await _until(lambda: all(worker.highest() > past for worker in self.workers))
        while True:
            for worker in self.workers:
                worker.stop()
            found = self.holder()
            for worker in self.workers:
                if found is None or worker is not found[0]:
                    worker.go_on()
            if found is not None:
                break
            await asyncio.sleep(0.001)
        frozen, fence = found
        rivals = [worker for worker in self.workers if worker is not frozen]
        before = frozen.lost()
        await _until(lambda: any(rival.highest() > fence for rival in rivals))
        frozen.go_on()
        await _until(lambda: frozen.lost() > before)

    async def trouble(self, dice: random.Random, seconds: float) -> None:
        """Freeze, kill and cut off whoever the dice say."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        frozen: list[_Worker] = []
        while loop.time() < ends:
            await asyncio.sleep(dice.uniform(0.05, 0.3))
            event = dice.random()
            place = dice.randrange(len(self.workers))
            if event < 0.5:
                frozen.append(self.workers[place])
                frozen[-1].stop()
            elif event < 0.65:
                await asyncio.to_thread(self.kill, place)
            elif event < 0.8:
                self.server.execute("CLIENT", "KILL", "TYPE", "normal")
            while len(frozen) > 2 or (frozen and dice.random() < 0.3):
                with contextlib.suppress(ProcessLookupError):  # killed meanwhile
                    frozen.pop(0).go_on()
        for worker in frozen:
            with contextlib.suppress(ProcessLookupError):
                worker.go_on()


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_processes_that_are_killed_and_frozen_never_act_beside_each_other(
    server: Server, tmp_path: Path
) -> None:
    dice = random.Random(11)
    fleet = _Fleet(server, tmp_path, size=4)
    try:
        async with asyncio.timeout(60):
            await _until(lambda: all(worker.acts() for worker in fleet.workers))
            for _ in range(_ROUNDS):
                await fleet.trouble(dice, _SECONDS)
                await fleet.freeze_the_holder()
    finally:
        await asyncio.to_thread(fleet.end)
    acts = fleet.acts()
    assert violations(acts) == []
    assert len({act.fence for act in acts}) > 200
    assert len({act.worker for act in acts}) >= 4
    lost = sum(worker.lost() for worker in fleet.ever)
    assert lost >= _ROUNDS, "nothing was lost: the faults did not bite"
