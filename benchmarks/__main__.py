"""The command line, `python -m benchmarks`: one command each, `--help` names them."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import demo, environment, environments, held, page, parts, readme, report
from benchmarks.ledger import Asked, Ledger, LedgerUnreadable
from benchmarks.processes import WorkerFailed
from benchmarks.progress import open_progress
from benchmarks.results import Measured, Run, save
from benchmarks.scenarios import NAMES, scenario
from benchmarks.server import ServerUnreachable, opened_server
from benchmarks.session import Plan, Session
from benchmarks.subjects import subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EVERYTHING = "all"


class _Options(argparse.Namespace):
    """What argparse found; each command reads its own."""

    command: str
    scenarios: list[str]
    url: str | None
    json: Path | None
    resume: Path | None
    subjects: tuple[str, ...] | None
    tasks: tuple[int, ...] | None
    seconds: float | None
    rounds: int | None
    publish: bool
    files: list[Path]
    page: Path
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
            case "install":
                groups = dict.fromkeys(one.group for one in subjects().values())
                return 0 if environments.install(groups, print) else 1
            case "run":
                return _run(options, parser)
            case "report":
                print(page.write(options.files or [readme.FIGURES], options.page))
                return 0
            case "publish":
                readme.keep(options.files)
                readme.update()
                print(page.write([readme.FIGURES]))
                return 0
            case "parts":
                found = parts.measure(options.url)
                print(parts.render(found))
                print(held.render(found.waiting))
                if options.publish:
                    parts.publish(found)
                return 0
            case "readme":
                print("README.md was brought up to date" if readme.update() else "nothing to do")
                return 0
            case _:
                return asyncio.run(demo.main(options.out, quick=options.quick, url=options.url))
    except (ServerUnreachable, WorkerFailed, LedgerUnreadable, readme.NotPublishable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


# -- run -------------------------------------------------------------------------------------------


def _run(options: _Options, parser: argparse.ArgumentParser) -> int:
    ledger = _ledger(options, parser)
    asked = ledger.asked
    if asked is None:
        raise RuntimeError("a run knows what it was asked for")
    plans = _plans(asked, {run.scenario for run in ledger.runs}, parser)
    with (
        opened_server(options.url) as server,
        tempfile.TemporaryDirectory(prefix="millpond-bench-") as folder,
    ):
        progress = open_progress()
        session = Session(server, Path(folder), progress, ledger)
        try:
            for number, (name, (plan, skipped)) in enumerate(plans.items(), start=1):
                progress.left(list(plans)[number:])
                for subject, reason in skipped.items():
                    progress.say(f"{name} · {subject} skipped: {reason}")
                described = environment.describe(server)
                results = asyncio.run(scenario(name).run(session, plan)) if plan.subjects else []
                ledger.finish(
                    Run(
                        scenario=name,
                        environment=described,
                        results=results,
                        subjects={one: _measured(one) for one in plan.subjects},
                        skipped=skipped,
                        quick=asked.quick,
                    )
                )
        finally:
            progress.close()
            _conclude(ledger, complete=len(ledger.runs) == len(asked.scenarios))
    if options.publish:
        save(ledger.runs, readme.FIGURES)
        readme.update()
        print(page.write([readme.FIGURES]))
    return 1 if session.failures else 0


def _ledger(options: _Options, parser: argparse.ArgumentParser) -> Ledger:
    if options.resume is not None:
        if options.scenarios or options.json is not None:
            parser.error("--resume goes on with what its file says: give no scenario, no --json")
        ledger = Ledger.load(options.resume)
        if ledger.asked is None:
            parser.error(f"{options.resume} does not say what was asked for")
        if options.publish:
            _check_publishable(ledger.asked, parser)
        return ledger
    names = list(dict.fromkeys(options.scenarios))
    if not names:
        parser.error(f"name a scenario, or {_EVERYTHING}; known: {', '.join(NAMES)}")
    if _EVERYTHING in names:
        names = [
            name for name in NAMES if scenario(name).QUICK or not options.quick
        ]  # what the budgets are about
    for name in names:
        if name not in NAMES:
            parser.error(f"unknown scenario {name!r}; known: {', '.join(NAMES)}")
    for subject in options.subjects or ():
        if subject not in subjects():
            parser.error(f"unknown subject {subject!r}; known: {', '.join(subjects())}")
    path = options.json or Path("bench-results") / f"{datetime.now():%Y-%m-%d-%H%M%S}.json"  # noqa: DTZ005
    asked = Asked(
        scenarios=tuple(names),
        subjects=options.subjects,
        tasks=options.tasks,
        seconds=options.seconds,
        rounds=options.rounds,
        quick=options.quick,
    )
    if options.publish:
        _check_publishable(asked, parser)
    return Ledger(path, asked)


def _check_publishable(asked: Asked, parser: argparse.ArgumentParser) -> None:
    """What the documentation shows is a whole run, with everything as the scenarios have it."""
    if asked != Asked(scenarios=NAMES):
        parser.error(f"--publish is for `run {_EVERYTHING}` as it is, without other options")


def _plans(
    asked: Asked, finished: set[str], parser: argparse.ArgumentParser
) -> dict[str, tuple[Plan, dict[str, str]]]:
    """Choose each scenario's subjects, and say why others are skipped."""
    plans: dict[str, tuple[Plan, dict[str, str]]] = {}
    for name in asked.scenarios:
        if name in finished:
            continue
        one = scenario(name)
        able = _able(name)
        by_default = one.QUICK if asked.quick else one.SUBJECTS
        chosen = by_default if asked.subjects is None else asked.subjects
        chosen = tuple(subject for subject in chosen if subject in able)
        if not chosen:
            parser.error(f"none of these subjects can do {name!r}; able: {', '.join(able)}")
        reasons = {
            subject: reason
            for subject in chosen
            if (reason := environments.why_not(subjects()[subject], one.NEEDS)) is not None
        }
        plan = Plan(
            subjects=tuple(subject for subject in chosen if subject not in reasons),
            tasks=asked.tasks,
            seconds=asked.seconds,
            rounds=asked.rounds,
            quick=asked.quick,
        )
        plans[name] = (plan, reasons)
    return plans


def _able(name: str) -> tuple[str, ...]:
    needs = scenario(name).NEEDS
    return tuple(
        subject for subject, one in subjects().items() if needs in one.roles or needs in one.absent
    )


def _measured(subject: str) -> Measured:
    one = subjects()[subject]
    return Measured(settings=one.settings, versions=environments.versions(one))


def _conclude(ledger: Ledger, *, complete: bool) -> None:
    """Print the finished scenarios, and how to go on with the rest."""
    if ledger.runs:
        print("\n\n".join(report.text(run) for run in ledger.runs))
    if ledger.path is not None and ledger.path.exists():
        print(f"\n{ledger.path}", file=sys.stderr)
        if not complete:
            print(f"to go on: python -m benchmarks run --resume {ledger.path}", file=sys.stderr)


# -- list, and the options -------------------------------------------------------------------------


def _listing() -> str:
    scenarios = [
        (name, scenario(name).SUMMARY, ", ".join(scenario(name).SUBJECTS)) for name in NAMES
    ]
    known = [
        (
            name,
            one.summary,
            one.group,
            "yes" if environments.find(one) else f"pip install {one.requires}",
        )
        for name, one in subjects().items()
    ]
    return "\n\n".join(
        (
            report.table(("scenario", "what it measures", "subjects"), scenarios),
            report.table(("subject", "what it is", "group", "installed"), known),
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure millpond beside the libraries it competes with, on this machine.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("list", help="name the scenarios and the subjects")
    commands.add_parser("install", help="make the rivals' environments, under .nox/")

    run = commands.add_parser("run", help="measure one scenario, several, or all")
    run.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"{_EVERYTHING}, {', '.join(NAMES)}"
    )
    run.add_argument(
        "--json", type=Path, metavar="FILE", help="where to keep the results (bench-results/)"
    )
    run.add_argument("--resume", type=Path, metavar="FILE", help="go on with an interrupted run")
    run.add_argument("--quick", action="store_true", help="the budgets' lines, in three minutes")
    run.add_argument("--subjects", type=_names, metavar="A,B", help="only these")
    run.add_argument("--tasks", type=_counts, metavar="N[,N]", help="tasks of one process")
    run.add_argument("--seconds", type=_seconds, metavar="S", help="measured in each round")
    run.add_argument("--rounds", type=_count, metavar="R", help="of each subject")
    run.add_argument(
        "--publish",
        action="store_true",
        help="keep the results as the project's own, and write README.md and docs from them",
    )

    written = commands.add_parser("report", help="write the documentation's page and charts")
    written.add_argument("files", nargs="*", type=Path, metavar="FILE", help="results of runs")
    written.add_argument(
        "--page", type=Path, default=page.PAGE, metavar="FILE", help="where to, other than docs"
    )
    kept = commands.add_parser(
        "publish", help="keep the scenarios of runs as the project's own, and write pages from them"
    )
    kept.add_argument("files", nargs="+", type=Path, metavar="FILE", help="results of runs")
    commands.add_parser("readme", help="write README.md's tables from benchmarks/measured.json")

    pieces = commands.add_parser("parts", help="time the parts of a call, a hit and a decision")
    pieces.add_argument(
        "--publish", action="store_true", help="write docs/explanation/performance.md from it"
    )

    show = commands.add_parser("demo", help="a thundering herd and a write race, in a minute")
    show.add_argument("--out", type=Path, default=Path("demo-results"), metavar="DIR")
    show.add_argument("--quick", action="store_true", help="one round and a short race")

    for command in (run, pieces, show):
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


def _terminate(signum: int, frame: object) -> None:
    """Leave through the same door as Ctrl-C.

    Raising KeyboardInterrupt here would do so in the middle of whatever the event loop is at, a
    process just forked that nobody knows of yet included; asyncio makes Ctrl-C a cancellation.
    """
    del signum, frame
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
