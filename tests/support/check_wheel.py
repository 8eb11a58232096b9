"""Check a built wheel, in an environment that has it and its plain dependencies only.

Run as a script: `python -I check_wheel.py millpond-1.0-py3-none-any.whl`.
"""

from __future__ import annotations

import importlib
import sys
import zipfile
from pathlib import Path

_SOURCE = Path(__file__).parents[2] / "src"
# What `import millpond` may bring along: its four dependencies, and what these need in turn.
_WELCOME = {
    *("millpond", "msgspec", "redis", "hiredis", "anyio"),
    *("async_timeout", "idna", "sniffio", "typing_extensions"),
}


def missing_files(wheel: Path) -> list[str]:
    """List the sources, scripts and markers that the wheel should carry and does not."""
    kinds = ("*.py", "*.lua", "py.typed")
    wanted = {str(p.relative_to(_SOURCE)) for kind in kinds for p in _SOURCE.rglob(kind)}
    return sorted(wanted - set(zipfile.ZipFile(wheel).namelist()))


def unwelcome_modules() -> list[str]:
    """Import millpond, and list the installed packages that it should not have pulled in."""
    before = set(sys.modules)  # such as what .pth files import at start
    millpond = importlib.import_module("millpond")
    site = Path(str(millpond.__file__)).parents[1]
    if site.name != "site-packages":
        raise SystemExit(f"millpond was imported from {site}, not as installed")
    packages: set[str] = set()
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and site in Path(file).parents:
            packages.add(name.partition(".")[0])
    return sorted(packages - _WELCOME)


def main(wheel: Path) -> None:
    """Check both, or exit with what is wrong."""
    if missing := missing_files(wheel):
        raise SystemExit(f"{wheel.name} lacks {', '.join(missing)}")
    if unwelcome := unwelcome_modules():
        raise SystemExit(f"import millpond pulls in {', '.join(unwelcome)}")
    print(f"{wheel.name}: complete, and importing it pulls in its dependencies only")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
