"""The command line: `python -m benchmarks list | run | demo | readme`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchmarks import demo, environment, readme, report
from benchmarks.processes import WorkerFailed
from benchmarks.progress import open_progress
from benchmarks.results import Run, save
from benchmarks.scenarios import SCENARIOS
from benchmarks.server import ServerUnreachable, opened_server
from benchmarks.session import Plan, Session
from benchmarks.subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


class _Options(argparse.Namespace):
    """What argparse found; each command reads its own."""

    command: str
    scenarios: list[str]
    url: str | None
    json: Path | None
    subjects: tuple[str, ...] | None
    tasks: tuple[int, ...] | None
    seconds: float | None
    rounds: int | None
    out: Path
    quick: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        arguments: Those of the command line when None.
    """
    parser = _parser()
    options = parser.parse_args(arguments, namespace=_Options())
    signal.signal(signal.SIGTERM, _terminate)
    try:
        match options.command:
            case "list":
                print(_listing())
                return 0
            case "run":
                return _run(options, parser)
            case "readme":
                print("README.md was brought up to date" if readme.update() else "nothing to do")
                return 0
            case _:
                return asyncio.run(demo.main(options.out, quick=options.quick, url=options.url))
    except (ServerUnreachable, WorkerFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(options: _Options, parser: argparse.ArgumentParser) -> int:
    plans = {name: _plan(name, options, parser) for name in dict.fromkeys(options.scenarios)}
    runs: list[Run] = []
    with (
        opened_server(options.url) as server,
        tempfile.TemporaryDirectory(prefix="millpond-bench-") as folder,
    ):
        progress = open_progress()
        session = Session(server, Path(folder), progress)
        try:
            for name, plan in plans.items():
                described = environment.describe(server)
                results = asyncio.run(SCENARIOS[name].run(session, plan))
                runs.append(Run(scenario=name, environment=described, results=results))
        finally:
            progress.close()
    print("\n\n".join(report.text(run) for run in runs))
    if options.json is not None:
        save(runs, options.json)
    return 0


def _plan(scenario: str, options: _Options, parser: argparse.ArgumentParser) -> Plan:
    """Check the names and leave the subjects that this scenario can drive."""
    if scenario not in SCENARIOS:
        parser.error(f"unknown scenario {scenario!r}; known: {', '.join(SCENARIOS)}")
    able = _able(scenario)
    chosen = options.subjects
    if chosen is not None:
        for name in chosen:
            if name not in SUBJECTS:
                parser.error(f"unknown subject {name!r}; known: {', '.join(SUBJECTS)}")
        chosen = tuple(name for name in chosen if name in able)
        if not chosen:
            parser.error(f"none of these subjects can do {scenario!r}; able: {', '.join(able)}")
    return Plan(
        subjects=chosen, tasks=options.tasks, seconds=options.seconds, rounds=options.rounds
    )


def _able(scenario: str) -> tuple[str, ...]:
    needs = SCENARIOS[scenario].NEEDS
    return tuple(
        name
        for name, subject in SUBJECTS.items()
        if (subject.commands if needs == "commands" else subject.shop) is not None
    )


def _listing() -> str:
    scenarios = [
        (name, one.SUMMARY, ", ".join(_able(name)), ", ".join(one.SUBJECTS))
        for name, one in SCENARIOS.items()
    ]
    subjects = [(name, one.summary) for name, one in SUBJECTS.items()]
    return "\n\n".join(
        (
            report.table(("scenario", "what it measures", "subjects", "by default"), scenarios),
            report.table(("subject", "what it is"), subjects),
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("list", help="name the scenarios and the subjects")

    commands.add_parser("readme", help="write README.md's table from benchmarks/measured.json")
    run = commands.add_parser("run", help="measure one scenario or several")
    run.add_argument("scenarios", nargs="+", metavar="SCENARIO", help=", ".join(SCENARIOS))
    run.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    run.add_argument("--subjects", type=_names, metavar="A,B", help="only these")
    run.add_argument("--tasks", type=_counts, metavar="N[,N]", help="tasks of one process")
    run.add_argument("--seconds", type=_seconds, metavar="S", help="measured in each round")
    run.add_argument("--rounds", type=_count, metavar="R", help="of each subject")

    show = commands.add_parser("demo", help="a thundering herd and a write race, in a minute")
    show.add_argument("--out", type=Path, default=Path("demo-results"), metavar="DIR")
    show.add_argument("--quick", action="store_true", help="one round and a short race")

    for command in (run, show):
        command.add_argument(
            "--url", help="measure this server; by default a private one is started"
        )
    return parser


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def _count(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return number


def _counts(value: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in value.split(","))


def _seconds(value: str) -> float:
    number = float(value)
    if not 0 < number < 3600:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 3600")
    return number


def _terminate(signum: int, frame: object) -> NoReturn:
    """Leave through the same clean-up as Ctrl-C."""
    del signum, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
