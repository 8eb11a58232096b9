"""The demo: a thundering herd and a write race, in under a minute, on a private server.

Both are the benchmark's own scenarios, shortened. The exit status is a verdict: 1 if millpond
did not load exactly once in every herd, or served a single stale read.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import environment, report
from benchmarks.progress import Progress, open_progress
from benchmarks.results import Result, Run, save
from benchmarks.scenarios import herd, race
from benchmarks.server import opened_server
from benchmarks.session import Session
from benchmarks.svg import Strip, chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.scenarios.herd import Herd
    from benchmarks.scenarios.race import Race

__all__ = ["main", "problems"]

_NAMES = {
    "unprotected": "no protection",
    "recipe": "the common recipe",
    "millpond": "millpond",
}
_NOTES = {
    "unprotected": "every miss runs the query",
    "recipe": "lock, sleep 100 ms, retry",
    "millpond": "a lease; waiters are pushed",
}
_MOMENTS = {"cold": "cold", "expiry": "at expiry"}
_RACERS = ("recipe", "millpond")

_HERD_ROUNDS = 2
_HERD_BUDGET = 36.0  # seconds: a round that would pass them is left out, on slow machines
_RACE_ROUNDS = 2
_RACE_SECONDS = 2.5  # x 2 subjects x 2 rounds: ten in all
_QUICK_RACE_SECONDS = 1.0


async def main(folder: Path, *, quick: bool = False, url: str | None = None) -> int:
    """Play, print the tables, and write chart and figures.

    Args:
        folder: Where `herd.svg` and `demo.json` go; made if it is not there.
        quick: One round of herds and one short race per subject.
        url: A server to use instead of a private one.

    Returns:
        0, or 1 if millpond broke its promise.

    Raises:
        ServerUnreachable: There is no server.
        WorkerFailed: A process of the demo died.
    """
    with (
        opened_server(url) as server,
        tempfile.TemporaryDirectory(prefix="millpond-bench-") as scratch,
    ):
        progress = open_progress()
        try:
            described = environment.describe(server)
            _introduce(progress, described)
            herds = await _herds(Session(server, Path(scratch), progress), quick=quick)
            races = await _races(Session(server, Path(scratch), progress), quick=quick)
        finally:
            progress.close()
    herd_run = Run(scenario="herd", environment=described, results=_herd_results(herds))
    race_run = Run(scenario="race", environment=described, results=_race_results(races))
    save([herd_run, race_run], folder / "demo.json")
    (folder / "herd.svg").write_text(_drawn(herds, described), encoding="utf-8")
    print(_tables(herd_run.results, race_run.results))
    broken = problems(herds, races)
    print(_verdict(broken, herds, races))
    print(f"\n{folder / 'herd.svg'}  {folder / 'demo.json'}")
    return 1 if broken else 0


def problems(herds: Sequence[Herd], races: Sequence[Race]) -> list[str]:
    """List how millpond broke its promises; rivals may do what they do.

    Args:
        herds: Of all subjects.
        races: Of all subjects.
    """
    ours = [one for one in herds if one.subject == "millpond"]
    found = [
        f"millpond loaded {len(one.loaded)} times in one herd ({_MOMENTS[one.moment]})"
        for one in ours
        if len(one.loaded) != 1
    ]
    stale = sum(one.stale for one in races if one.subject == "millpond")
    if stale:
        found.append(f"millpond served {stale:,} stale reads")
    return found


def _introduce(progress: Progress, described: dict[str, Any]) -> None:
    progress.say(environment.one_line(described))
    progress.say(
        "The load: a real query on an SQLite file of 100,000 products, a few milliseconds of\n"
        "CPU, then an awaited delay to 200 ms in all, as if a slow service were asked too.\n"
        f"It is awaited so that {described['cores']} cores can show what happens without "
        "protection as well:\na thousand queries of 200 ms of CPU each would keep them busy for "
        "minutes."
    )


async def _herds(session: Session, *, quick: bool) -> list[Herd]:
    rounds = 1 if quick else _HERD_ROUNDS
    session.catalogue()
    session.progress.begin("The herd", rounds * len(_NAMES))
    begun = time.monotonic()
    herds: list[Herd] = []
    for number in range(rounds):
        if (time.monotonic() - begun) * (number + 1) > _HERD_BUDGET * max(number, 1):
            session.progress.say(f"  (a slow machine: {number} of {rounds} rounds)")
            break
        for subject, name in _NAMES.items():
            session.progress.at(f"{name}, 4 processes x 250 tasks, round {number + 1}/{rounds}")
            for one in await herd.play(session, subject, number):
                session.progress.say(
                    f"  {_MOMENTS[one.moment]:<10} {name:<18} {len(one.loaded):>5,} "
                    f"load{'s' if len(one.loaded) != 1 else ' '}   "
                    f"last caller after {one.last / 1e6:>7,.0f} ms"
                )
                herds.append(one)
            session.progress.advance()
    return herds


async def _races(session: Session, *, quick: bool) -> list[Race]:
    rounds = 1 if quick else _RACE_ROUNDS
    seconds = _QUICK_RACE_SECONDS if quick else _RACE_SECONDS
    session.progress.begin("The write race", rounds * len(_RACERS))
    races: list[Race] = []
    for number in range(rounds):
        for subject in _RACERS:
            name = _NAMES[subject]
            session.progress.at(f"{name}, one write in ten, round {number + 1}/{rounds}")
            one = await race.play(session, subject, seconds=seconds)
            session.progress.say(
                f"  {'race':<10} {name:<18} {one.stale:>5,} stale of {one.reads:,} reads "
                f"beside {one.writes:,} writes"
            )
            races.append(one)
            session.progress.advance()
    return races


def _herd_results(herds: Sequence[Herd]) -> list[Result]:
    return [
        herd.summary([one for one in herds if (one.subject, one.moment) == (subject, moment)])
        for moment in herd.MOMENTS
        for subject in _NAMES
    ]


def _race_results(races: Sequence[Race]) -> list[Result]:
    return [race.summary([one for one in races if one.subject == subject]) for subject in _RACERS]


def _tables(herds: Sequence[Result], races: Sequence[Result]) -> str:
    herd_table = report.table(
        ("herd", "", "loads", "wait p50", "p99", "max", "wall time", "Redis commands"),
        [
            (
                _MOMENTS[str(one.moment)],
                _NAMES[one.subject],
                f"{(one.loads or 0) / one.rounds:,.4g}",
                *(f"{value or 0:,.0f} ms" for value in _waits(one)),
                f"{sum((one.commands or {}).values()):,.0f}",
            )
            for one in herds
        ],
    )
    race_table = report.table(
        ("race", "stale reads", "reads", "writes", "loads", "wait p50", "p99", "max"),
        [
            (
                _NAMES[one.subject],
                f"{one.stale or 0:,}",
                f"{one.reads or 0:,}",
                f"{one.writes or 0:,}",
                f"{one.loads or 0:,}",
                *(f"{value or 0:,.1f} ms" for value in (one.p50_ms, one.p99_ms, one.max_ms)),
            )
            for one in races
        ],
    )
    return (
        f"\n{herd_table}\n"
        "Loads and commands: mean per herd; commands inside scripts count.\n"
        f"\n{race_table}\n"
        "Stale: older than the last finished write (committed, invalidated) when the read began.\n"
    )


def _waits(one: Result) -> tuple[float | None, ...]:
    return one.p50_ms, one.p99_ms, one.max_ms, one.wall_ms


def _drawn(herds: Sequence[Herd], described: dict[str, Any]) -> str:
    """Draw the first cold herd of each subject: the first, so that none is picked for its looks."""
    strips: list[Strip] = []
    for subject, name in _NAMES.items():
        one = next(one for one in herds if (one.subject, one.moment) == (subject, "cold"))
        strips.append(
            Strip(
                name=name[0].upper() + name[1:] if subject != "millpond" else name,
                note=_NOTES[subject],
                finished_ms=[moment / 1e6 for moment in one.finished],
                loaders=one.loaders,
            )
        )
    server = described["server"]
    return chart(
        strips,
        title="1,000 callers want one product that takes 200 ms to load",
        note="4 processes x 250 tasks ask at 0, and nothing is cached yet · "
        f"{server['name']} {server['version']}, {described['cores']} cores",
    )


def _verdict(broken: Sequence[str], herds: Sequence[Herd], races: Sequence[Race]) -> str:
    if broken:
        return "\n".join(_coloured(f"✗ {problem}", "31") for problem in broken)
    count = sum(one.subject == "millpond" for one in herds)
    reads = sum(one.reads for one in races if one.subject == "millpond")
    return _coloured(
        f"✓ millpond loaded once in each of its {count} herds and served no stale read "
        f"in {reads:,}.",
        "32",
    )


def _coloured(text: str, code: str) -> str:
    return f"\033[1;{code}m{text}\033[0m" if sys.stdout.isatty() else text
