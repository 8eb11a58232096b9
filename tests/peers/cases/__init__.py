"""The cases, one promise each.

A case's docstring is what the page prints: the promise, the interleaving that the case forces, and
how it decides. `KIND` says which libraries it is for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from tests.peers.arena import Arena
    from tests.peers.contract import Verdict
    from tests.peers.subjects import Kind

__all__ = ["CASES", "Case"]


class Case(Protocol):
    """A module of this package."""

    __doc__: str | None
    KIND: Kind

    async def run(self, arena: Arena) -> Verdict:
        """Force the interleaving and judge."""
        ...


_NAMES = (
    "stale_fill",
    "joined_flight",
    "joined_elsewhere",
    "cancelled_caller",
    "failing_loader",
    "failing_elsewhere",
    "one_load",
    "slow_load",
    "cache_waiting",
    "killed_loader",
    "cache_hung",
    "cache_gone",
    "none_value",
    "falsy_values",
    "undecodable",
    "colliding_keys",
    "cache_expiry",
    "another_user",
    "near_changed",
    "near_flushed",
    "near_cut_off",
    "near_late_reply",
    "lost_acquire",
    "lost_release",
    "cancelled_acquire",
    "cancelled_release",
    "shared_object",
    "failed_try",
    "foreign_release",
    "stalled_holder",
    "fence",
    "lock_gone",
    "lock_waiting",
    "over_by_five",
    "exact_window",
    "overtaken_hit",
    "burst",
    "refill",
    "denied_cost",
    "retry_after",
    "keys_apart",
    "waiters_apart",
    "limit_expiry",
    "script_flush",
    "limit_hung",
)

CASES: dict[str, Case] = {
    name: cast("Case", importlib.import_module(f"tests.peers.cases.{name}")) for name in _NAMES
}
