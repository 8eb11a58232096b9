"""What all scenarios of one invocation share: server, catalogue, ledger and display."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks import environments, processes, source
from benchmarks.ledger import Ledger
from benchmarks.subjects import subjects

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from benchmarks.progress import Progress
    from benchmarks.server import Server
    from benchmarks.subjects import Role

__all__ = ["EVERY_SETTING", "Plan", "Session"]

EVERY_SETTING = "*"
"""Of a failure that keeps a subject out of a whole scenario."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario is to do; None leaves it to the scenario."""

    subjects: tuple[str, ...]  # checked: they can, and are installed
    tasks: tuple[int, ...] | None = None  # concurrent tasks of one process
    seconds: float | None = None  # measured, of each subject in each round
    rounds: int | None = None
    quick: bool = False  # the one setting that the budgets are about


class Session:
    """Handed to every scenario's `run`.

    Attributes:
        server: Under test; every subject of the run meets the same one.
        folder: For files that go with the run.
        progress: Told what happens; the caller closes it.
        ledger: Keeps what was measured.
        failures: Why a subject could not be measured, by scenario, setting and subject.
    """

    def __init__(
        self, server: Server, folder: Path, progress: Progress, ledger: Ledger | None = None
    ) -> None:
        """Take them all; without a ledger nothing is kept."""
        self.server = server
        self.folder = folder
        self.progress = progress
        self.ledger = Ledger() if ledger is None else ledger
        self.failures: dict[tuple[str, str, str], str] = {}

    def fail(self, scenario: str, setting: str, subject: str, reason: str) -> None:
        """Note that a subject is out, and say so."""
        self.failures[scenario, setting, subject] = reason
        self.progress.say(f"{scenario} · {setting} · {subject} failed: {reason}")

    def failure(self, scenario: str, setting: str, subject: str) -> str | None:
        """Return why a subject is out of a setting."""
        return self.failures.get((scenario, setting, subject)) or self.failures.get(
            (scenario, EVERY_SETTING, subject)
        )

    def catalogue(self) -> Path:
        """Return the products' database, built at the first call."""
        path = self.folder / "products.sqlite"
        if not path.exists():
            source.build(path)
        return path

    def team(
        self,
        scenario: str,
        role: Role,
        subject: str,
        options: msgspec.Struct,
        *,
        size: int = 1,
        url: str | None = None,
    ) -> AbstractAsyncContextManager[processes.Team]:
        """Start fresh processes that drive one subject in one role; see `processes.team`.

        Args:
            scenario: Whose `work` they run.
            role: Which of the subject's adapters.
            subject: Its name.
            options: What `work` reads from its order.
            size: How many processes.
            url: Another server than the run's.
        """
        one = subjects()[subject]
        interpreter = environments.find(one)
        if interpreter is None:
            raise LookupError(f"{subject} is not installed")
        return processes.team(
            scenario,
            subject,
            interpreter=interpreter,
            adapter=one.roles[role],
            url=url or self.server.url,
            options=options,
            processes=size,
        )
