"""Where the figures were made: machine, interpreter, versions, commit and server."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.server import Server

__all__ = ["describe", "one_line"]

_PACKAGES = ("millpond", "redis", "hiredis", "msgspec", "uvloop")
_ROOT = Path(__file__).resolve().parent.parent


def describe(server: Server) -> dict[str, Any]:
    """Collect what a reader needs to judge the figures, or to repeat them.

    No URL is recorded: it may hold a password.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_mib": _memory_mib(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "server": server.description(),
    }


def one_line(environment: dict[str, Any]) -> str:
    """Say the essentials in one line, for the head of a table."""
    server = environment["server"]
    return (
        f"{environment['cpu']} · {environment['cores']} cores · {environment['python']} · "
        f"{server['name']} {server['version']} over {server['transport']}"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "source tree"


def _commit() -> str | None:
    """Return the commit, with `-dirty` when the tree differs from it; None outside git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _cores() -> int:
    """Count the cores this process may use, which a container can make fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
