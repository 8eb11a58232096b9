"""Whether a lock can be had: the evidence of most cases about locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.peers.contract import LockPeer

__all__ = ["LEASE", "can_take"]

LEASE = 10.0
"""Seconds: far longer than any case waits for a lock that should be free."""


async def can_take(peer: LockPeer, name: str, wait: float | None) -> bool:
    """Take a lock and release it; tell whether it was to be had in that time."""
    try:
        async with peer.lock(name, lease=LEASE, wait=wait):
            return True
    except peer.not_acquired:
        return False
