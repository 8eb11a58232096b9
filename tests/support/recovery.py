"""Waiting for a connection to come back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from millpond.errors import BackendError

if TYPE_CHECKING:
    from millpond import Client
    from millpond.events import Event

__all__ = ["in_state", "kinds", "recovered"]


async def recovered(client: Client) -> None:
    """Wait until calls succeed again."""
    async with asyncio.timeout(10):
        while True:
            try:
                await client.call("PING")
            except BackendError:
                await asyncio.sleep(0.005)
            else:
                return


async def in_state(client: Client, state: str) -> None:
    """Wait for a state of the connection."""
    async with asyncio.timeout(10):
        while client.statistics().state != state:
            await asyncio.sleep(0.002)


def kinds(events: list[Event]) -> list[type[Event]]:
    """Reduce events to what kinds they are."""
    return [type(event) for event in events]
