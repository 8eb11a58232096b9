"""Every scenario of the benchmarks, with millpond alone and as short as it can be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scenarios import NAMES, scenario
from benchmarks.subjects import subjects

ROOT = Path(__file__).parents[2]

# What a result must have, beside a subject, for the scenario to have measured anything.
_FIGURES = {
    "herd": ("loads", "after_fill_p99_ms"),
    "race": ("reads", "writes"),
    "writes": ("reads", "writes", "per_second"),
    "outage": ("p50_ms", "max_ms", "errors"),
    "arrivals": ("p50_ms", "p999_ms", "errors"),
    "limit_memory": ("bytes_per_key",),
    "idle": ("client_bytes",),
    "lock_contended": ("per_second", "least_share", "waiter_bytes"),
}


def _measure(name: str, folder: Path, *options: str) -> dict[str, Any]:
    file = folder / "run.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "run", name, "--subjects", "millpond"),
            *("--seconds", "0.2", "--rounds", "1", "--json", str(file), *options),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads(file.read_bytes())["runs"]
    assert run["scenario"] == name
    return run


@pytest.mark.parametrize("name", NAMES)
def test_scenario_measures_millpond(name: str, tmp_path: Path) -> None:
    few = () if name in {"hit", "get", "outage", "limit_memory"} else ("--tasks", "5")
    run = _measure(name, tmp_path, *few)
    reason = subjects()["millpond"].absent.get(scenario(name).NEEDS)
    if reason is not None:
        assert run["skipped"] == {"millpond": reason}
        assert run["results"] == []
        return
    assert run["results"]
    for result in run["results"]:
        assert result["subject"] == "millpond"
        for figure in _FIGURES.get(name, ("per_second", "p99_ms", "cpu_us", "rss_mib")):
            assert result[figure] is not None
        assert result.get("stale", 0) == 0
    if name == "herd":
        assert [(one["moment"], one["loads"]) for one in run["results"]] == [
            ("cold", 1),
            ("expiry", 1),
        ]
    if name in {"hit", "near", "processes"}:
        assert [one["loads"] for one in run["results"]] == [0] * len(run["results"])
    if name == "limit_denied":
        assert run["results"][0]["allowed"] == 0
