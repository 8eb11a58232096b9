"""Which interpreter drives which subject.

Rivals pin redis-py against each other and against millpond: limits and throttled-py want it below
8, fastapi-cache2 below 5. So each dependency group of `pyproject.toml` has a virtual environment
of its own under `.nox/`, which `python -m benchmarks install` makes (`nox -s bench` does it first
of all), and a subject's worker runs there. None of the rivals' environments has millpond: what
they measure cannot owe it anything.

Without these environments a subject runs in the current interpreter, if that has its library, or
is named as skipped.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from benchmarks.subjects import Role, Subject

__all__ = ["Interpreter", "environment", "find", "install", "requirements", "versions", "why_not"]

_ROOT = Path(__file__).resolve().parent.parent
_HOME = _ROOT / ".nox"
_BASE = "bench"  # the group of the parent itself
_DONE = "installed.txt"  # in an environment: what was asked for, once pip had done it


class Interpreter(msgspec.Struct, frozen=True):
    """A Python that can drive a subject."""

    program: str
    site: str | None  # where to look for versions; None: here
    alone: bool  # apart from millpond, which must not be importable there


def find(subject: Subject) -> Interpreter | None:
    """Return the interpreter for a subject; None when its library is nowhere."""
    if subject.group != _BASE:
        home = _HOME / subject.group
        sites = sorted(home.glob("lib/python*/site-packages"))
        if (home / _DONE).exists() and sites:
            return Interpreter(str(home / "bin" / "python"), str(sites[-1]), alone=True)
    if subject.module and importlib.util.find_spec(subject.module) is None:
        return None
    return Interpreter(sys.executable, None, alone=False)


def why_not(subject: Subject, role: Role) -> str | None:
    """Say why a subject cannot play a role here and now; None: it can."""
    if role in subject.absent:
        return subject.absent[role]
    if find(subject) is None:
        return f"not installed: python -m benchmarks install, or pip install {subject.requires}"
    return None


def versions(subject: Subject) -> dict[str, str]:
    """Name the versions that a subject was measured with."""
    interpreter = find(subject)
    if interpreter is None:
        return {}
    path = sys.path if interpreter.site is None else [interpreter.site]
    found = {
        one.metadata["Name"].lower(): one.version
        for one in importlib.metadata.distributions(path=path)
    }
    return {name: found[name] for name in subject.versions if name in found}


def environment(interpreter: Interpreter) -> dict[str, str]:
    """Return the variables for a worker; PYTHONPATH may lead to millpond's sources."""
    variables = dict(os.environ)
    if interpreter.alone:
        variables.pop("PYTHONPATH", None)
    return variables


def requirements(group: str) -> tuple[str, ...]:
    """Read a dependency group of `pyproject.toml`, with the groups that it includes."""
    document = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))
    groups = cast("Mapping[str, Iterable[Any]]", document["dependency-groups"])
    found: list[str] = []
    for entry in groups[group]:
        if isinstance(entry, str):
            found.append(entry)
        else:
            found += requirements(entry["include-group"])
    return tuple(dict.fromkeys(found))


def install(groups: Iterable[str], say: Callable[[str], None]) -> bool:
    """Make the environments that are missing or out of date; False: pip failed for some.

    Args:
        groups: Dependency groups; that of the parent itself is left alone.
        say: Told what happens.
    """
    complete = True
    for group in groups:
        if group == _BASE:
            continue
        wanted = requirements(group)
        home = _HOME / group
        done = home / _DONE
        if done.exists() and done.read_text("utf-8").split("\n") == list(wanted):
            say(f"{group}: is there")
            continue
        say(f"{group}: {', '.join(wanted)}")
        venv.create(home, with_pip=True, clear=True)
        asked = subprocess.run(
            [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted],
            env={**os.environ, "PYTHONPATH": ""},
            check=False,
        )
        if asked.returncode:
            say(f"{group}: pip failed; its subjects will be skipped")
            complete = False
            continue
        done.write_text("\n".join(wanted), "utf-8")
    return complete
