"""What an idle client costs."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from millpond import Client

if TYPE_CHECKING:
    from tests.support.servers import Server

_CLIENTS = 100


async def test_an_idle_client_takes_less_than_a_hundred_kibibytes(server: Server) -> None:
    async with Client.from_url(server.url) as first:  # imports and caches are not its fault
        await first.call("PING")
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        async with AsyncExitStack() as stack:
            for _ in range(_CLIENTS):
                client = await stack.enter_async_context(Client.from_url(server.url))
                await client.call("PING")
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / _CLIENTS < 100 * 1024
