"""Rounds in which subjects take turns: who is measured when, what is kept, who is left out."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any, cast

import pytest

from benchmarks.environments import Interpreter
from benchmarks.ledger import Ledger
from benchmarks.processes import WorkerFailed, team
from benchmarks.progress import PlainProgress
from benchmarks.session import EVERY_SETTING, Plan, Session
from benchmarks.throughput import Sample, Setting, failed
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.server import Server


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(cast("Server", None), tmp_path, PlainProgress(), Ledger(tmp_path / "run.json"))


class _Measured:
    """Notes who was measured; fails whom it is told to."""

    def __init__(self, **failing: BaseException) -> None:
        self.turns: list[tuple[str, int]] = []
        self.failing = failing

    async def __call__(self, subject: str, number: int) -> Sample:
        self.turns.append((subject, number))
        if subject in self.failing:
            raise self.failing[subject]
        return Sample(per_second=float(10 * number + len(subject)))


async def test_order_turns_by_one_from_round_to_round(session: Session) -> None:
    measure = _Measured()
    await take_turns(session, "get", ("a", "bb", "ccc"), measure, Sample, rounds=3)
    assert "".join(subject[0] for subject, _ in measure.turns) == "abcbcacab"


async def test_samples_are_those_of_the_rounds_in_order(session: Session) -> None:
    taken = await take_turns(session, "get", ("a", "bb"), _Measured(), Sample, rounds=2)
    assert [one.per_second for one in taken["bb"]] == [2.0, 12.0]


@pytest.mark.parametrize("error", [WorkerFailed("it broke"), TimeoutError()])
async def test_subject_that_fails_is_out_and_the_others_go_on(
    session: Session, error: Exception
) -> None:
    measure = _Measured(bb=error)
    taken = await take_turns(
        session, "get", ("a", "bb"), measure, Sample, rounds=3, setting="7 tasks"
    )
    assert measure.turns.count(("bb", 0)) == 1
    assert [subject for subject, _ in measure.turns].count("bb") == 1
    assert (len(taken["a"]), taken["bb"]) == (3, [])
    reason = failed(session, "get", "bb", Setting(tasks=7)).failure
    assert reason == (str(error) or "no answer within 180 s")


async def test_subject_that_could_not_fill_its_cache_is_out_of_every_setting(
    session: Session,
) -> None:
    reason = "a worker exited with status -11:\nTraceback\nKeyError: 'bb'"
    session.fail("hit", EVERY_SETTING, "bb", reason)
    measure = _Measured()
    await take_turns(session, "hit", ("a", "bb"), measure, Sample, rounds=1, setting="1 tasks")
    assert measure.turns == [("a", 0)]
    said = failed(session, "hit", "bb", Setting(tasks=1)).failure
    assert said == "a worker exited with status -11: KeyError: 'bb'"


async def test_interrupted_rounds_go_on_where_they_were(session: Session, tmp_path: Path) -> None:
    interrupted = _Measured(bb=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await take_turns(session, "get", ("a", "bb"), interrupted, Sample, rounds=2)
    again: Any = _Measured()
    kept = Ledger.load(tmp_path / "run.json")
    later = Session(cast("Server", None), tmp_path, PlainProgress(), kept)
    taken = await take_turns(later, "get", ("a", "bb"), again, Sample, rounds=2)
    assert again.turns == [("bb", 0), ("bb", 1), ("a", 1)]
    assert [one.per_second for one in taken["a"]] == [1.0, 11.0]


async def test_interrupt_while_workers_end_kills_them_without_a_word(tmp_path: Path) -> None:
    """Steps: a round is over; its workers are slow to end; Ctrl-C cancels the wait for them."""
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\nexec sleep 60\n")
    worker.chmod(0o755)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: complaints.append(said))
    over = asyncio.Event()

    async def play() -> None:
        async with team(
            "get",
            "floor",
            interpreter=Interpreter(str(worker), None, alone=False),
            adapter="none:None",
            url="redis://nowhere",
            options=Plan(subjects=()),
            processes=2,
        ):
            over.set()

    playing = asyncio.ensure_future(play())
    await over.wait()
    playing.cancel()
    await asyncio.wait((playing,))
    assert playing.cancelled()
    del playing  # what it leaves behind complains when it goes
    gc.collect()
    assert complaints == []
