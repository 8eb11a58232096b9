"""The display for terminals: one bar a stage, results scrolling by above; needs rich."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

__all__ = ["LiveProgress"]


class LiveProgress:
    """A `benchmarks.progress.Progress` drawn by rich, on stderr."""

    def __init__(self) -> None:
        """Take over the bottom lines of the terminal until `close`."""
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[what]}"),
            console=Console(stderr=True),
        )
        self._stage = None
        self._bars.start()

    def begin(self, title: str, total: float) -> None:
        """Start a bar; the one before is full, whatever it had counted."""
        self._finish()
        self._stage = self._bars.add_task(title, total=total, what="")

    def at(self, what: str) -> None:
        """Write beside the bar."""
        if self._stage is not None:
            self._bars.update(self._stage, what=what)

    def advance(self, amount: float = 1.0) -> None:
        """Move the bar."""
        if self._stage is not None:
            self._bars.advance(self._stage, amount)

    def say(self, line: str) -> None:
        """Print above the bars."""
        self._bars.console.print(Text(line))

    def close(self) -> None:
        """Complete the last bar and give the terminal back."""
        self._finish()
        self._bars.stop()

    def _finish(self) -> None:
        if self._stage is not None:
            total = self._bars.tasks[-1].total
            self._bars.update(self._stage, completed=total, what="")
