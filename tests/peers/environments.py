"""An environment for each dependency group, since their pins on redis-py collide.

`limits` and `throttled-py` want redis-py below 8, `fastapi-cache2` below 5. An environment holds
nothing but its group; millpond is not installed there.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import cast

__all__ = ["Environments"]

_ROOT = Path(__file__).resolve().parents[2]


class Environments:
    """The interpreters, by group; made when first asked for, and anew when the group changes."""

    def __init__(self, folder: Path) -> None:
        """Take the folder that holds, or shall hold, one environment for each group."""
        self._folder = folder

    def python(self, group: str) -> str:
        """Return the interpreter of a group; of "", the running one.

        Raises:
            CalledProcessError: pip could not install the group; it has said why.
        """
        if not group:
            return sys.executable
        home = self._folder / group
        python = home / "bin" / "python"
        holds = home / "requirements.txt"  # written last: without it the making was interrupted
        wanted = requirements(group)
        if not holds.exists() or holds.read_text("utf-8").split() != wanted:
            print(f"making {home}: {' '.join(wanted)}", flush=True)
            venv.create(home, with_pip=True, clear=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *wanted], check=True)
            holds.write_text("\n".join(wanted), "utf-8")
        return str(python)


def requirements(group: str) -> list[str]:
    """Return what pip shall install for a dependency group of pyproject.toml."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))
    groups = cast("dict[str, list[str | dict[str, str]]]", project["dependency-groups"])
    found: list[str] = []
    for entry in groups[group]:
        found += [entry] if isinstance(entry, str) else requirements(entry["include-group"])
    return found
