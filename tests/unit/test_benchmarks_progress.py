"""What a run shows while it lasts, in a log and on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.live import LiveProgress
from benchmarks.progress import PlainProgress, Progress, open_progress

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("display", [PlainProgress, LiveProgress])
def test_display_says_what_is_to_stay(
    display: Callable[[], Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = display()
    progress.left(["hit", "herd"])
    progress.begin("get", 2)
    progress.at("millpond · round 1/2")
    progress.advance()
    progress.figures("millpond 7/s")
    progress.say("get · millpond 7/s")
    progress.begin("hit", 1)
    progress.close()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "get · millpond 7/s" in shown.err
    assert "hit" in shown.err


def test_log_names_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    progress = PlainProgress()
    progress.left(["hit", "herd"])
    progress.left([])
    assert capsys.readouterr().err == "(2 left: hit, herd)\n"


def test_what_is_no_terminal_gets_plain_lines() -> None:
    assert isinstance(open_progress(), PlainProgress)
