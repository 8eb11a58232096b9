"""Run the peer conformance suite, and write its page.

python -m tests.peers                    every case on every library; it takes a while
python -m tests.peers cache/aiocache     on some only; what is known of the others stays
python -m tests.peers --case stale_fill  some cases only
python -m tests.peers --list             what there is
python -m tests.peers --page             the page once more, from docs/explanation/peers.json
"""

from __future__ import annotations

import argparse
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.peers import page
from tests.peers.cases import CASES
from tests.peers.environments import Environments
from tests.peers.results import load, save, where_it_ran
from tests.peers.runner import Finding, Runner, pairs
from tests.peers.subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_ENVIRONMENTS = Path(__file__).resolve().parents[2] / ".nox" / "peers-environments"


class _Options(argparse.Namespace):
    subjects: list[str]
    case: list[str]
    environments: Path
    jobs: int
    list: bool
    page: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments, namespace=_Options())
    for name in options.subjects:
        if name not in SUBJECTS:
            parser.error(f"unknown library {name!r}; known: {', '.join(SUBJECTS)}")
    for name in options.case:
        if name not in CASES:
            parser.error(f"unknown case {name!r}; known: {', '.join(CASES)}")
    if options.list:
        _print_list()
        return 0
    if not options.page:
        try:
            _run(options)
        except KeyboardInterrupt:
            print("interrupted; what was found is kept", file=sys.stderr)
            return 130
    page.update(*load())
    return 0


def _run(options: _Options) -> None:
    """Run, and keep what was found after every case: an interrupted run loses nothing."""
    environments = Environments(options.environments)
    chosen = pairs(options.case or list(CASES), options.subjects or list(SUBJECTS))
    pythons = {
        subject: environments.python(SUBJECTS[subject].group)
        for subject in dict.fromkeys(subject for _, subject in chosen)
    }
    where = where_it_ran()
    _, findings = load()
    runner = Runner()
    writing = threading.Lock()
    done = 0

    def one(case: str, subject: str) -> None:
        nonlocal done
        finding = runner.run(case, subject, pythons[subject])
        with writing:
            done += 1
            findings.append(finding)
            save(where, findings)
            _print_finding(finding, f"{done}/{len(chosen)}")

    with ThreadPoolExecutor(options.jobs) as pool:
        try:
            for future in [pool.submit(one, *pair) for pair in chosen]:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.stop()
            raise


def _print_finding(finding: Finding, count: str) -> None:
    outcome = finding.outcome.upper() if finding.outcome == "broken" else finding.outcome
    print(f"{count} {finding.subject} {finding.case}: {outcome}: {finding.evidence}", flush=True)


def _print_list() -> None:
    print("libraries:")
    for name, subject in SUBJECTS.items():
        print(f"  {name} ({subject.group or 'no group'})")
    print("cases:")
    for name, case in CASES.items():
        print(f"  {name} ({case.KIND}): {page.promise(name)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("subjects", nargs="*", metavar="LIBRARY", help="such as cache/aiocache; default: all")
    add("--case", action="append", default=[], metavar="NAME", help="only this; may be repeated")
    add("--environments", type=Path, default=_ENVIRONMENTS, metavar="DIR", help="made if missing")
    add("--jobs", type=int, default=1, metavar="N", help="cases at once; default 1")
    add("--list", action="store_true", help="name libraries and cases")
    add("--page", action="store_true", help="only write the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
