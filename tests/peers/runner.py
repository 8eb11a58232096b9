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

__all__ = ["Finding", "pairs", "run_case"]

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


def run_case(case: str, subject: str, python: str) -> Finding:
    """Run one case on one library.

    Args:
        case: Its name.
        subject: The library's.
        python: The interpreter of an environment that has the library.
    """
    with Server(default_flavour().binary) as server:
        process = subprocess.Popen(
            [python, "-m", "tests.peers.worker", case, subject, str(server.port), str(server.pid)],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it may have started processes of its own: they end with it
        )
        try:
            output, log = process.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            return Finding(case, subject, "failed", f"no verdict within {_LONGEST:.0f} s", {})
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    lines = output.strip().splitlines()
    try:
        said = json.loads(lines[-1])
        return Finding(case, subject, said["outcome"], said["evidence"], said["versions"])
    except (IndexError, ValueError, KeyError):
        end = "\n".join(log.strip().splitlines()[-5:])
        return Finding(case, subject, "failed", f"the process said no verdict: {end}", {})
