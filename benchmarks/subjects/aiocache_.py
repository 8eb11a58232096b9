"""aiocache: the stampede decorator on Redis.

https://aiocache.readthedocs.io/en/latest/decorators.html
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.keys import KEY_PREFIX
from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from benchmarks.source import Product
    from benchmarks.subjects import Load

__all__ = ["SUBJECTS", "AiocacheShop"]

_LEASE = 2  # seconds: the decorator's own default


class AiocacheShop:
    """`@cached_stampede(lease=2, ttl=..., cache=Cache.REDIS, serializer=PickleSerializer())`."""

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Take the address, the number of concurrent calls and the TTL in seconds."""
        self._address = urlsplit(url)
        self._tasks = tasks
        self._ttl = ttl

    async def open(self) -> None:
        """Connect."""
        from aiocache import Cache, cached_stampede
        from aiocache.serializers import PickleSerializer

        @cached_stampede(
            lease=_LEASE,
            ttl=self._ttl,
            key_builder=lambda *call: self.key(call[1]),
            cache=Cache.REDIS,
            serializer=PickleSerializer(),
            endpoint=self._address.hostname,
            port=self._address.port or 6379,
            # "If you expect high concurrency, you should adapt the pool size as needed."
            pool_max_size=max(100, self._tasks),
        )
        async def product(product_id: int, load: Load) -> Product:
            del product_id  # for the key alone
            return await load()

        self._product = product
        self._cache = product.cache

    async def aclose(self) -> None:
        """Disconnect."""
        await self._cache.close()

    def key(self, product_id: int, /) -> str:
        """Name the product's key."""
        return f"{KEY_PREFIX}:aiocache:{product_id}"

    def fetch(self, product_id: int, load: Load, /) -> Awaitable[Product]:
        """Read the product through the cache."""
        return self._product(product_id, load)

    async def store(self, product: Product, /) -> None:
        """Put a product there."""
        await self._cache.set(self.key(product.id), product, ttl=self._ttl)

    async def forget(self, product_id: int, /) -> bool:
        """Delete the key."""
        await self._cache.delete(self.key(product_id))
        return True

    async def fetch_many(self, product_ids: Sequence[int], /) -> Sequence[Product]:
        """Read the products in one call."""
        return await self._cache.multi_get([self.key(number) for number in product_ids])


SUBJECTS = (
    Subject(
        name="aiocache",
        summary="aiocache: @cached_stampede on Redis",
        settings=(
            "@cached_stampede(lease=2), PickleSerializer, pool_max_size the number of tasks "
            "and at least 100; otherwise defaults (timeout 5 s)"
        ),
        roles={"shop": "AiocacheShop", "many": "AiocacheShop"},
        module="aiocache",
        requires="aiocache[redis]",
        versions=("aiocache", "redis", "hiredis"),
        group="bench-rivals",
    ),
)
