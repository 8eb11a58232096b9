"""The scenarios, one module each: what the parent plans and what a worker does."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session
    from benchmarks.subjects import Role

__all__ = ["NAMES", "Scenario", "scenario"]

NAMES: tuple[str, ...] = (
    "get",
    "tasks",
    "large",
    "hit",
    "arrivals",
    "near",
    "get_many",
    "miss",
    "processes",
    "herd",
    "race",
    "writes",
    "outage",
    "lock",
    "lock_contended",
    "limit",
    "limit_denied",
    "limit_memory",
    "web",
    "web_limit",
    "web_page",
    "idle",
)
"""In the order in which `run all` measures them, and pages show them."""


class Scenario(Protocol):
    """What each module offers."""

    @property
    def SUMMARY(self) -> str:  # noqa: N802 - a module's constant
        """What it measures, in a line."""
        ...

    @property
    def NEEDS(self) -> Role:  # noqa: N802
        """Which adapter of a subject it drives."""
        ...

    @property
    def SUBJECTS(self) -> tuple[str, ...]:  # noqa: N802
        """Those it measures unless told otherwise."""
        ...

    @property
    def QUICK(self) -> tuple[str, ...]:  # noqa: N802
        """Those it measures with `--quick`; none: it is left out then."""
        ...

    async def run(self, session: Session, plan: Plan) -> list[Result]:
        """Measure, in the parent."""
        ...

    async def work(self, order: Order, channel: Channel) -> None:
        """Drive one subject, in a worker."""
        ...


def scenario(name: str) -> Scenario:
    """Import one scenario: a worker needs no other, and may lack what others need.

    Args:
        name: One of `NAMES`.
    """
    return cast("Scenario", importlib.import_module(f"{__name__}.{name}"))
