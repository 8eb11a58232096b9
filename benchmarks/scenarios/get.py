"""`get`: one GET at a time, of 200 bytes, by 100 concurrent tasks of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import plain, throughput
from benchmarks.plain import work
from benchmarks.throughput import Setting

if TYPE_CHECKING:
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "GET of 200 bytes, 100 concurrent tasks"
NEEDS: Final = "commands"
SUBJECTS: tuple[str, ...] = ("floor", "redis-py", "valkey-glide", "coredis", "millpond")
QUICK: tuple[str, ...] = ("floor", "redis-py", "valkey-glide", "millpond")


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare the subjects' rates."""
    plain.fill(session.server)
    return await throughput.compare(session, "get", NEEDS, plan, [Setting()])
