"""What all scenarios of one invocation share: the server, the catalogue's file, the display."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks import processes, source

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from benchmarks.progress import Progress
    from benchmarks.server import Server

__all__ = ["Plan", "Session"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for; None leaves it to the scenario."""

    subjects: tuple[str, ...] | None = None
    tasks: tuple[int, ...] | None = None  # concurrent tasks of one process
    seconds: float | None = None  # measured, of each subject in each round
    rounds: int | None = None


class Session:
    """Handed to every scenario's `run`."""

    def __init__(self, server: Server, folder: Path, progress: Progress) -> None:
        """Take them all.

        Args:
            server: Under test; every subject of the run meets the same one.
            folder: For files that go with the run.
            progress: Told what happens; the caller closes it.
        """
        self.server = server
        self.folder = folder
        self.progress = progress

    def catalogue(self) -> Path:
        """Return the products' database, built at the first call."""
        path = self.folder / "products.sqlite"
        if not path.exists():
            source.build(path)
        return path

    def team(
        self, scenario: str, subject: str, options: msgspec.Struct, *, size: int = 1
    ) -> AbstractAsyncContextManager[processes.Team]:
        """Start fresh processes that drive one subject; see `processes.team`."""
        return processes.team(
            scenario, subject, url=self.server.url, options=options, processes=size
        )
