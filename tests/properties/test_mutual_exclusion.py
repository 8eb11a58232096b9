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
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.servers import Server

_SECONDS = 6.0


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


class _Fleet:
    def __init__(self, url: str, folder: Path, size: int) -> None:
        self.url = url
        self.folder = folder
        self.files: list[Path] = []
        self.processes = [self.start() for _ in range(size)]

    def start(self) -> subprocess.Popen[bytes]:
        path = self.folder / str(len(self.files))
        self.files.append(path)
        command = [sys.executable, "-m", "tests.properties.lock_worker", self.url, str(path)]
        return subprocess.Popen(command)

    def kill(self, place: int) -> None:
        """Kill one for good, and start another in its place."""
        process = self.processes[place]
        process.kill()
        process.wait()
        self.processes[place] = self.start()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def history(self) -> tuple[list[Act], int]:
        """What was done, and how many locks were lost or timed out."""
        acts: list[Act] = []
        lost = 0
        for worker, path in enumerate(self.files):
            for line in path.read_text().splitlines() if path.exists() else ():
                words = line.split()
                if words == ["lost"]:
                    lost += 1
                elif len(words) == 2:
                    acts.append(Act(int(words[0]), int(words[1]), worker))
        return acts, lost


@pytest.mark.slow
async def test_processes_that_are_killed_and_frozen_never_act_beside_each_other(
    server: Server, tmp_path: Path
) -> None:
    dice = random.Random(11)
    loop = asyncio.get_running_loop()
    fleet = _Fleet(server.tcp_url, tmp_path, size=4)
    try:
        async with asyncio.timeout(20):
            while not all(path.exists() for path in fleet.files):
                await asyncio.sleep(0.05)
        ends = loop.time() + _SECONDS
        frozen: list[int] = []
        while loop.time() < ends:
            await asyncio.sleep(dice.uniform(0.05, 0.3))
            event = dice.random()
            place = dice.randrange(4)
            if event < 0.5:
                frozen.append(fleet.processes[place].pid)
                os.kill(frozen[-1], signal.SIGSTOP)
            elif event < 0.65:
                await asyncio.to_thread(fleet.kill, place)
            elif event < 0.8:
                server.execute("CLIENT", "KILL", "TYPE", "normal")
            while len(frozen) > 2 or (frozen and dice.random() < 0.3):
                with contextlib.suppress(ProcessLookupError):  # killed meanwhile
                    os.kill(frozen.pop(0), signal.SIGCONT)
    finally:
        await asyncio.to_thread(fleet.end)
    acts, lost = fleet.history()
    assert violations(acts) == []
    assert len({act.fence for act in acts}) > 200
    assert len({act.worker for act in acts}) >= 4
    assert lost >= 1, "nothing was lost: the faults did not bite"
