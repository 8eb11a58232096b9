"""`tasks`: one GET at a time by 1 to 10,000 concurrent tasks of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import plain, throughput
from benchmarks.plain import work
from benchmarks.throughput import Setting

if TYPE_CHECKING:
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "GET of 200 bytes, 1 to 10,000 concurrent tasks"
NEEDS: Final = "commands"
SUBJECTS: tuple[str, ...] = ("floor", "redis-py", "valkey-glide", "coredis", "millpond")
QUICK: tuple[str, ...] = ()

_TASKS = (1, 10, 100, 1_000, 10_000)


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare the subjects' rates at every number of tasks."""
    plain.fill(session.server)
    settings = [Setting(tasks=count) for count in _TASKS]
    return await throughput.compare(session, "tasks", NEEDS, plan, settings, rounds=3)
