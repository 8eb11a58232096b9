"""Runs cases: each in a fresh process, on a fresh server, for so long at most."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.peers.cases import CASES
from tests.peers.subjects import SUBJECTS
from tests.support.servers import Server, default_flavour

if TYPE_CHECKING:
    from tests.peers.contract import Outcome

__all__ = ["Finding", "Runner", "Stopped", "pairs"]

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST = 60.0
"""Seconds after which a case is ended: the longest that has a verdict takes some 25."""


@dataclass(frozen=True)
class Finding:
    """What one case found out about one library."""

    case: str
    subject: str
    outcome: Outcome
    evidence: str
    versions: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return asdict(self)


def pairs(cases: list[str], subjects: list[str]) -> list[tuple[str, str]]:
    """List which cases run on which libraries: those of its kind, a library at a time."""
    return [
        (case, subject)
        for subject in subjects
        for case in cases
        if SUBJECTS[subject].kind == CASES[case].KIND
    ]


class Stopped(Exception):
    """The runner was stopped while the case ran."""


class Runner:
    """Runs cases, from several threads if need be; `stop()` ends those that run."""

    def __init__(self) -> None:
        """Begin with none."""
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, case: str, subject: str, python: str) -> Finding:
        """Run one case on one library.

        Args:
            case: Its name.
            subject: The library's.
            python: The interpreter of an environment that has the library.

        Raises:
            Stopped: By `stop()`.
        """
        command = [python, "-m", "tests.peers.worker", case, subject]
        with Server(default_flavour().binary) as server:
            process = subprocess.Popen(
                [*command, str(server.port), str(server.pid)],
                cwd=_ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # the processes that it starts end with it
            )
            self._running.add(process)
            if self._stopped:
                _end(process)
            try:
                output, log = process.communicate(timeout=_LONGEST)
            except subprocess.TimeoutExpired:
                output = json.dumps(
                    {
                        "outcome": "failed",
                        "evidence": f"no verdict within {_LONGEST:.0f} s",
                        "versions": {},
                    }
                )
                log = ""
            finally:
                _end(process)
                process.communicate()
                self._running.discard(process)
        if self._stopped:
            raise Stopped
        return _finding(case, subject, output, log)

    def stop(self) -> None:
        """End every case that runs, with all its processes."""
        self._stopped = True
        for process in tuple(self._running):
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _finding(case: str, subject: str, output: str, log: str) -> Finding:
    lines = output.strip().splitlines()
    try:
        said = json.loads(lines[-1])
        return Finding(case, subject, said["outcome"], said["evidence"], said["versions"])
    except (IndexError, ValueError, KeyError):
        end = "\n".join(log.strip().splitlines()[-5:])
        return Finding(case, subject, "failed", f"the process said no verdict: {end}", {})
