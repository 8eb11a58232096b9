"""A Redis Cluster for limits: one node is enough for what keys of different slots are answered."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from millpond import Client
from tests.support.servers import Server, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["cluster"]


@asynccontextmanager
async def cluster() -> AsyncGenerator[Client]:
    """Give a client of a Redis Cluster of one node, which has all slots."""
    server = Server(args=["--cluster-enabled", "yes"])
    server.port = free_port() - 10_000  # whose bus is 10,000 above, and is to find its port free
    with server:
        server.execute("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        async with Client.from_url(server.url, prefix="t") as client:
            while b"cluster_state:ok" not in await client.call("CLUSTER", "INFO"):
                await asyncio.sleep(0.01)
            yield client
