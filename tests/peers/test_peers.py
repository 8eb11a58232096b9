"""millpond keeps every promise of the suite; the common recipe breaks what it is known to break.

The second half is what makes the first worth something: a case that the recipe passes might be one
that nobody can fail. No other library is needed here, and none is judged; see `python -m
tests.peers` for those.

Each case runs in a fresh process on a fresh server. Most of its time is waiting, so all that were
selected run beside each other, a few at once; a test waits for its own.
"""

from __future__ import annotations

import ast
import inspect
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.peers import page
from tests.peers.__main__ import main
from tests.peers.cases import CASES
from tests.peers.environments import requirements
from tests.peers.results import load
from tests.peers.runner import Finding, Runner, pairs
from tests.peers.subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AT_ONCE = 4
_LONG = {"killed_loader", "cache_hung", "limit_hung", "slow_load"}  # begun first
_HERE = Path(__file__).parent
_ALONE = sorted(
    path
    for path in (
        *_HERE.glob("adapters/*.py"),
        *_HERE.glob("cases/*.py"),
        *(_HERE / f"{name}.py" for name in ("arena", "contract", "member", "subjects", "taking")),
        *(_HERE / f"{name}.py" for name in ("tap", "worker")),
    )
    if path.name != "millpond_.py"
)
_OURS = [name for name, subject in SUBJECTS.items() if subject.where.startswith("millpond_:")]

# What the recipe does about each, in one line; the evidence is in docs/explanation/peers.md.
_RECIPE_BREAKS = (
    ("stale_fill", "cache/recipe"),  # stores whatever it loaded
    ("joined_flight", "cache/recipe"),  # waits for the lock, whoever holds it
    ("joined_elsewhere", "cache/recipe"),
    ("failing_loader", "cache/recipe"),  # one after another
    ("failing_elsewhere", "cache/recipe"),
    ("cache_waiting", "cache/recipe"),  # looks again every 100 ms
    ("killed_loader", "cache/recipe"),  # its lock lives 10 s
    ("cache_hung", "cache/recipe"),  # redis-py's timeout, on every call
    ("cache_gone", "cache/recipe"),  # raises
    ("none_value", "cache/recipe"),  # a nil reply is a miss
    ("undecodable", "cache/recipe"),  # raises
    ("colliding_keys", "cache/recipe"),  # joins with a colon
    ("another_user", "response/recipe"),  # knows paths and no users
    ("lost_acquire", "lock/recipe"),  # raises, and leaves the lock
    ("lost_release", "lock/recipe"),  # raises
    ("cancelled_acquire", "lock/recipe"),  # leaves the lock
    ("shared_object", "lock/recipe"),  # deletes whatever is there
    ("foreign_release", "lock/recipe"),
    ("stalled_holder", "lock/recipe"),  # is never told
    ("lock_waiting", "lock/recipe"),  # looks again every 100 ms
    ("over_by_five", "limit/recipe"),  # counts what it denies
    ("limit_hung", "limit/recipe"),  # redis-py's timeout, on every call
)


@pytest.fixture(scope="module")
def findings(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str], Finding]]:
    """Run what was selected, a few at once; give the finding of one."""
    wanted = [
        cast("tuple[str, str]", (item.callspec.params["case"], item.callspec.params["subject"]))
        for item in cast("list[pytest.Function]", request.session.items)
        if "findings" in item.fixturenames
    ]
    runner = Runner()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running: dict[tuple[str, str], Future[Finding]] = {
            (case, subject): pool.submit(runner.run, case, subject, sys.executable)
            for case, subject in sorted(wanted, key=lambda pair: pair[0] not in _LONG)
        }
        yield lambda case, subject: running[case, subject].result()
        pool.shutdown(wait=False, cancel_futures=True)
        runner.stop()


@pytest.mark.parametrize(("case", "subject"), pairs(list(CASES), _OURS))
def test_millpond_keeps_the_promise(
    findings: Callable[[str, str], Finding], case: str, subject: str
) -> None:
    found = findings(case, subject)
    assert found.outcome in {"kept", "not applicable"}, found.evidence


@pytest.mark.parametrize(("case", "subject"), _RECIPE_BREAKS)
def test_recipe_breaks_what_it_is_known_to_break(
    findings: Callable[[str, str], Finding], case: str, subject: str
) -> None:
    found = findings(case, subject)
    assert found.outcome == "broken", found.evidence


# -- what is kept in the repository ------------------------------------------------------------


def test_findings_in_the_docs_are_of_every_case_and_library_and_each_is_a_verdict() -> None:
    _, findings = load()
    assert {(one.case, one.subject) for one in findings} == set(pairs(list(CASES), list(SUBJECTS)))
    assert [one for one in findings if one.outcome == "failed"] == []


def test_page_shows_the_findings_that_lie_beside_it() -> None:
    assert page.render(*load()) in page.PAGE.read_text("utf-8")


@pytest.mark.parametrize("name", list(CASES))
def test_case_says_what_it_forces_and_how_it_decides(name: str) -> None:
    promised, *how, decides = inspect.cleandoc(CASES[name].__doc__ or "").split("\n\n")
    assert promised.endswith(".")
    assert "\n" not in promised
    assert how
    assert decides.startswith("Kept if ")


@pytest.mark.parametrize("path", _ALONE, ids=lambda path: str(path.relative_to(_HERE)))
def test_what_runs_beside_other_libraries_needs_neither_millpond_nor_the_test_suite(
    path: Path,
) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    foreign = ("millpond", "msgspec", "pytest", "tests.support", "tests.conftest")
    assert [name for name in imported if name.startswith(foreign)] == []


@pytest.mark.parametrize(
    ("arguments", "known"), [(["cache/nobody"], "cache/millpond"), (["--case", "x"], "stale_fill")]
)
def test_unknown_name_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str], arguments: list[str], known: str
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    said = capsys.readouterr().err
    assert "unknown" in said
    assert known in said


def test_groups_of_the_libraries_are_in_the_project() -> None:
    for group in {subject.group for subject in SUBJECTS.values()} - {""}:
        assert requirements(group)
