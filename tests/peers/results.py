"""The findings on disk: docs/explanation/peers.json, beside the page that shows them."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.peers.cases import CASES
from tests.peers.runner import Finding
from tests.peers.subjects import SUBJECTS
from tests.support.servers import Server, default_flavour

__all__ = ["RESULTS", "load", "save", "where_it_ran"]

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "peers.json"


def where_it_ran() -> dict[str, str]:
    """Tell day, interpreter, machine and server."""
    with Server(default_flavour().binary) as server:
        info: dict[str, Any] = server.execute("INFO", "server")
    name = info.get("server_name", "redis")
    version = info.get("valkey_version") or info["redis_version"]
    return {
        "day": datetime.now(UTC).date().isoformat(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}",
        "server": f"{name} {version}",
    }


def load(path: Path = RESULTS) -> tuple[dict[str, str], list[Finding]]:
    """Read where it ran, and the findings about what still exists, in the order of the suite."""
    if not path.exists():
        return {}, []
    kept = json.loads(path.read_text("utf-8"))
    findings = [Finding(**one) for one in kept["findings"]]
    return kept["where"], _ordered(findings)


def save(where: dict[str, str], findings: list[Finding], path: Path = RESULTS) -> None:
    """Write the findings; of two about one case and library the later counts."""
    kept = {"where": where, "findings": [one.as_json() for one in _ordered(findings)]}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _ordered(findings: list[Finding]) -> list[Finding]:
    latest = {(one.case, one.subject): one for one in findings}
    return [
        latest[case, subject] for subject in SUBJECTS for case in CASES if (case, subject) in latest
    ]
