"""`large`: GET of values from 1 KiB to 1 MiB, by 20 concurrent tasks of one process.

Twenty, not a hundred: a hundred replies of 1 MiB would fill the socket's buffers and measure
memory copies alone. 64 keys a size, so that the server's own cache of them is the same for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import plain, throughput
from benchmarks.plain import work
from benchmarks.throughput import Setting

if TYPE_CHECKING:
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "GET of 1 KiB to 1 MiB, 20 concurrent tasks"
NEEDS: Final = "commands"
SUBJECTS: tuple[str, ...] = ("floor", "redis-py", "valkey-glide", "coredis", "millpond")
QUICK: tuple[str, ...] = ()

_SIZES = {"1 KiB": 2**10, "16 KiB": 2**14, "128 KiB": 2**17, "1 MiB": 2**20}
_KEYS = 64
_TASKS = 20


async def run(session: Session, plan: Plan) -> list[Result]:
    """Compare the subjects' rates at every size."""
    for size in _SIZES.values():
        plain.fill(session.server, size, _KEYS)
    settings = [Setting(name=name, size=size, tasks=_TASKS) for name, size in _SIZES.items()]
    return await throughput.compare(session, "large", NEEDS, plan, settings, seconds=1.0, rounds=3)
