"""The scenarios, one module each: what the parent plans and what a worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from benchmarks.scenarios import get, herd, hit, race, writes

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["SCENARIOS", "Scenario"]


class Scenario(Protocol):
    """What each module offers."""

    @property
    def SUMMARY(self) -> str:  # noqa: N802 - a module's constant
        """What it measures, in a line."""
        ...

    @property
    def NEEDS(self) -> Literal["commands", "shop"]:  # noqa: N802
        """Which adapter of a subject it drives."""
        ...

    @property
    def SUBJECTS(self) -> tuple[str, ...]:  # noqa: N802
        """Those it measures unless told otherwise."""
        ...

    async def run(self, session: Session, plan: Plan) -> list[Result]:
        """Measure, in the parent."""
        ...

    async def work(self, order: Order, channel: Channel) -> None:
        """Drive one subject, in a worker."""
        ...


SCENARIOS: dict[str, Scenario] = {
    "get": get,
    "hit": hit,
    "herd": herd,
    "race": race,
    "writes": writes,
}
