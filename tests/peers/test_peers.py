"""millpond keeps every promise of the suite; the common recipe breaks what it is known to break.

The second half is what makes the first worth something: a case that the recipe passes might be one
that nobody can fail. No other library is needed here, and none is judged; see `python -m
tests.peers` for those.

Each case runs in a fresh process on a fresh server. Most of its time is waiting, so all that were
selected run beside each other, a few at once; a test waits for its own.
"""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import pytest

from tests.peers.cases import CASES
from tests.peers.runner import Finding, pairs, run_case
from tests.peers.subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AT_ONCE = 4
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
)


@pytest.fixture(scope="module")
def findings(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str], Finding]]:
    """Run what was selected, a few at once; give the finding of one."""
    wanted = [
        cast("tuple[str, str]", (item.callspec.params["case"], item.callspec.params["subject"]))
        for item in cast("list[pytest.Function]", request.session.items)
        if item.module is request.module and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running: dict[tuple[str, str], Future[Finding]] = {
            (case, subject): pool.submit(run_case, case, subject, sys.executable)
            for case, subject in wanted
        }
        yield lambda case, subject: running[case, subject].result()
        pool.shutdown(cancel_futures=True)


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
