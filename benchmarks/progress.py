"""What is happening, live: bars on a terminal that has rich, plain lines anywhere else.

All of it goes to stderr, so that stdout holds only tables.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PlainProgress", "Progress", "open_progress"]


class Progress(Protocol):
    """Told by the scenarios what they do."""

    def begin(self, title: str, total: float) -> None:
        """Start a stage.

        Args:
            title: Names it, in a few words.
            total: What its `advance` calls will add up to.
        """
        ...

    def at(self, what: str) -> None:
        """Name what runs now."""
        ...

    def advance(self, amount: float = 1.0) -> None:
        """Move the stage forward."""
        ...

    def figures(self, text: str) -> None:
        """Show the figures of the stage so far, in a line."""
        ...

    def left(self, stages: Sequence[str]) -> None:
        """Name the stages that come after this one."""
        ...

    def say(self, line: str) -> None:
        """Print a line that stays."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class PlainProgress:
    """One line a stage, and whatever is to stay: for pipes, logs and CI."""

    def begin(self, title: str, total: float) -> None:
        """Print the title."""
        del total
        self.say(f"{title} ...")

    def at(self, what: str) -> None:
        """Say nothing: a log needs results, not intentions."""

    def advance(self, amount: float = 1.0) -> None:
        """Draw nothing."""

    def figures(self, text: str) -> None:
        """Say nothing: medians come when the rounds are over."""

    def left(self, stages: Sequence[str]) -> None:
        """Print what is left."""
        if stages:
            self.say(f"({len(stages)} left: {', '.join(stages)})")

    def say(self, line: str) -> None:
        """Print the line at once, even into a pipe."""
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Have nothing to restore."""


def open_progress() -> Progress:
    """Return the display that suits stderr."""
    if sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
        module = importlib.import_module("benchmarks.live")
        return cast("Callable[[], Progress]", module.LiveProgress)()
    return PlainProgress()
