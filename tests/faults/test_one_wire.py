"""What would be lost if deletes, or claims, went by another connection than the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from millpond import MISSING, Cache, Client
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from tests.support.servers import Server


async def abandoned_write(users: Cache[str], proxy: Proxy) -> None:
    """Have a `set` on its way whose caller has gone; the proxy holds it back."""
    await users.set(1, "the server knows the script from here on")
    road = proxy.connections[0].to_server
    road.hold()
    before = road.received
    write = asyncio.ensure_future(users.set(1, "before the delete"))
    await road.received_at_least(before + 1)
    write.cancel()


async def test_delete_is_never_overtaken_by_an_earlier_set_whose_caller_has_gone(
    server: Server,
) -> None:
    async with Proxy(server.port) as proxy, Client.from_url(proxy.url, prefix="t") as client:
        users = Cache(client, "user", type=str, ttl=60)
        await abandoned_write(users, proxy)
        deleting = asyncio.ensure_future(users.delete(1))
        await asyncio.sleep(0)
        proxy.connections[0].to_server.release()
        assert await deleting is True
        assert await users.get(1) is MISSING


async def test_delete_by_another_connection_is_overtaken(server: Server) -> None:
    """Which is why this process's deletes go by the connection that its writes went by."""
    async with (
        Proxy(server.port) as proxy,
        Client.from_url(proxy.url, prefix="t") as client,
        Client.from_url(server.url, prefix="t") as second,
    ):
        users = Cache(client, "user", type=str, ttl=60)
        await abandoned_write(users, proxy)
        assert await Cache(second, "user", type=str, ttl=60).delete(1) is True
        proxy.connections[0].to_server.release()
        assert await users.get(1) == "before the delete"
