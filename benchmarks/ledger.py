"""What a run has measured so far, on disk after every sample, so that nothing is lost or repeated.

The file is the run's result as well: finished scenarios under `runs`; under `samples`, as long as
a scenario is not finished, what its workers reported. `--resume FILE` reads it, does what the
command line that began it asked for, and takes every sample that is there as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from benchmarks.results import Run  # noqa: TC001  (msgspec reads the annotations)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Asked", "Ledger", "LedgerUnreadable"]

T = TypeVar("T")


class LedgerUnreadable(Exception):
    """The file is not one of ours; the message is one line."""


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the command line asked for; None leaves it to the scenario."""

    scenarios: tuple[str, ...]
    subjects: tuple[str, ...] | None = None
    tasks: tuple[int, ...] | None = None
    seconds: float | None = None
    rounds: int | None = None
    quick: bool = False


class _Document(msgspec.Struct, kw_only=True, omit_defaults=True):
    asked: Asked | None = None
    runs: list[Run] = []
    samples: dict[str, msgspec.Raw] = {}


class Ledger:
    """The samples and results of one run, kept in a file, or only in memory."""

    def __init__(self, path: Path | None = None, asked: Asked | None = None) -> None:
        """Begin empty.

        Args:
            path: Where to keep it; written first when there is something to keep.
            asked: What `--resume` is to do again.
        """
        self.path = path
        self._document = _Document(asked=asked)

    @classmethod
    def load(cls, path: Path) -> Ledger:
        """Go on with a file.

        Raises:
            LedgerUnreadable: It is not there, or not the file of a run.
        """
        ledger = cls(path)
        try:
            ledger._document = msgspec.json.decode(path.read_bytes(), type=_Document)
        except (OSError, msgspec.DecodeError) as error:
            raise LedgerUnreadable(f"cannot read {path} as results: {error}") from error
        return ledger

    @property
    def asked(self) -> Asked | None:
        """What the run was begun with; None for files that nobody can resume."""
        return self._document.asked

    @property
    def runs(self) -> Sequence[Run]:
        """The finished scenarios."""
        return self._document.runs

    def get(self, key: str, kind: type[T]) -> T | None:
        """Return a sample, if it was taken."""
        raw = self._document.samples.get(key)
        return None if raw is None else msgspec.json.decode(raw, type=kind)

    def put(self, key: str, sample: Any) -> None:
        """Keep a sample."""
        self._document.samples[key] = msgspec.Raw(msgspec.json.encode(sample))
        self._write()

    def finish(self, run: Run) -> None:
        """Keep a scenario's results instead of its samples."""
        samples = self._document.samples
        for key in [key for key in samples if key.startswith(f"{run.scenario}/")]:
            del samples[key]
        self._document.runs.append(run)
        self._write()

    def _write(self) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # An interrupt in the middle of a write must not cost what the file had before it.
        beside = self.path.with_name(f".{self.path.name}.new")
        encoded = msgspec.json.encode(self._document)
        beside.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
        beside.replace(self.path)
