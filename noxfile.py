"""What can be done with a clone: `pip install nox`, then `nox -s demo`, `nox -s tests`, ...

`nox` alone checks everything. Arguments after `--` go to the tool: `nox -s tests -- -k herd`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typing", "docs", "wheel", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group; pip before 25.1 cannot read them itself."""
    return nox.project.dependency_groups(PROJECT, name)


@nox.session
def demo(session: nox.Session) -> None:
    """The herd and the write race, on a private server, before your eyes."""
    session.install(".[demo]")
    session.run("python", "-m", "benchmarks", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite; what needs a server once more on the redis-server of this machine."""
    session.install("-e", ".", *group("tests"))
    session.run("pytest", *session.posargs)
    system = shutil.which("redis-server")
    if system is None:
        session.log("no redis-server on PATH: the suite ran on the wheels' servers only")
        return
    # 5 is pytest's word for "nothing selected", as in: nox -s tests -- tests/unit
    session.run(
        "pytest",
        "-m",
        "server",
        *session.posargs,
        env={"MILLPOND_TEST_SERVER": system},
        success_codes=[0, 5],
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, and the floors that imports must respect."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "src"}, silent=True)


@nox.session
def typing(session: nox.Session) -> None:
    """Strict types over source, tests and benchmarks."""
    session.install("-e", ".", *group("typing"))
    session.run("basedpyright", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings being errors, and run its snippets."""
    session.install("-e", ".", *group("docs"))
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-n", "docs", "docs/_build/html")
    session.run("pytest", "-q", "tests/docs", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it with its plain dependencies, and look at what came."""
    dist = Path(session.create_tmp(), "dist")
    shutil.rmtree(dist, ignore_errors=True)
    session.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(dist), ".")
    (built,) = dist.glob("*.whl")
    session.install("--force-reinstall", str(built))
    session.run("python", "-I", "tests/support/check_wheel.py", str(built))


@nox.session
def peers(session: nox.Session) -> None:
    """Put other libraries through the cases of tests/peers, and write the page that tells of it."""
    session.install("-e", ".", *group("tests"))
    session.run("python", "-m", "tests.peers", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure on this machine: everything, or `nox -s bench -- all --quick`, `-- get hit`.

    The rivals get environments of their own, beside this one.
    """
    session.install(".", *group("bench"))
    session.run("python", "-m", "benchmarks", "install", success_codes=[0, 1])
    session.run("python", "-m", "benchmarks", "run", *(session.posargs or ("all",)))
