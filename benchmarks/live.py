"""The display for terminals: one bar a stage, the figures so far, what is left; needs rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LiveProgress"]


class LiveProgress:
    """A `benchmarks.progress.Progress` drawn by rich, on stderr."""

    def __init__(self) -> None:
        """Take over the bottom lines of the terminal until `close`."""
        self._console = Console(stderr=True)
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[what]}"),
            console=self._console,
        )
        self._stage = None
        self._figures = Text()
        self._left = Text()
        self._live = Live(
            Group(self._bars, self._figures, self._left),
            console=self._console,
            refresh_per_second=8,
        )
        self._live.start()

    def begin(self, title: str, total: float) -> None:
        """Start a bar; the one before is full, whatever it had counted."""
        self._finish()
        self.figures("")
        self._stage = self._bars.add_task(title, total=total, what="")

    def at(self, what: str) -> None:
        """Write beside the bar."""
        if self._stage is not None:
            self._bars.update(self._stage, what=what)

    def advance(self, amount: float = 1.0) -> None:
        """Move the bar."""
        if self._stage is not None:
            self._bars.advance(self._stage, amount)

    def figures(self, text: str) -> None:
        """Write under the bars."""
        self._figures.plain = f"  {text}" if text else ""

    def left(self, stages: Sequence[str]) -> None:
        """Write at the very bottom."""
        self._left.plain = f"  left: {', '.join(stages)}" if stages else ""

    def say(self, line: str) -> None:
        """Print above the bars."""
        self._console.print(Text(line))

    def close(self) -> None:
        """Complete the last bar and give the terminal back."""
        self._finish()
        self.figures("")
        self.left(())
        self._live.stop()

    def _finish(self) -> None:
        if self._stage is not None:
            total = self._bars.tasks[-1].total
            self._bars.update(self._stage, completed=total, what="")
