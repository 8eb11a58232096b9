"""millpond, with its defaults, and with stale values kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.keys import KEY_PREFIX
from benchmarks.source import Product
from millpond import Cache, CachePolicy, Client

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from benchmarks.subjects import Load

__all__ = ["MillpondCommands", "MillpondShop", "MillpondStaleShop"]


class MillpondCommands:
    """`await client.call("GET", key)`."""

    def __init__(self, url: str, *, tasks: int) -> None:
        """Take the address; any number of calls shares one connection."""
        del tasks
        self._client = Client.from_url(url)

    async def open(self) -> None:
        """Connect."""
        await self._client.__aenter__()

    async def aclose(self) -> None:
        """Disconnect."""
        await self._client.aclose()

    def get(self, key: str, /) -> Awaitable[object]:
        """Read one string."""
        return self._client.call("GET", key)


class MillpondShop:
    """`await products.get_or_set(id, load)`; `await products.delete(id)` after a write."""

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Take the address and the TTL in seconds."""
        del tasks
        self._client = Client.from_url(url, prefix=KEY_PREFIX)
        self._products = self._cache(ttl)

    def _cache(self, ttl: float) -> Cache[Product]:
        return Cache(self._client, "millpond", type=Product, ttl=ttl)

    async def open(self) -> None:
        """Connect."""
        await self._client.__aenter__()

    async def aclose(self) -> None:
        """Disconnect."""
        await self._client.aclose()

    def key(self, product_id: int, /) -> str:
        """Name the product's key."""
        return self._products.key(product_id)

    def fetch(self, product_id: int, load: Load, /) -> Awaitable[Product]:
        """Read the product through the cache."""
        return self._products.get_or_set(product_id, load)

    async def store(self, product: Product, /) -> None:
        """Put a product there."""
        await self._products.set(product.id, product)

    async def forget(self, product_id: int, /) -> bool:
        """Invalidate; False when the server did not acknowledge it."""
        return await self._products.delete(product_id)


class MillpondStaleShop(MillpondShop):
    """The same with `stale_while_revalidate`, so that every hit asks whether it is stale."""

    def _cache(self, ttl: float) -> Cache[Product]:
        policy = CachePolicy(stale_while_revalidate=60, early_refresh=1.0)
        return Cache(self._client, "millpond-stale", type=Product, ttl=ttl, policy=policy)
