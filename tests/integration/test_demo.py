"""The demo, as a stranger runs it, but shorter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_demo_shows_one_load_per_herd_no_stale_read_and_leaves_its_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "demo", "--quick", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "served no stale read" in done.stdout
    assert "a few ms" in done.stderr.lower() or "200 ms" in done.stderr
    picture = (tmp_path / "herd.svg").read_text("utf-8")
    assert picture.startswith("<svg")
    figures = msgspec.json.decode((tmp_path / "demo.json").read_bytes())
    assert figures
