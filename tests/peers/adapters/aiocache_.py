"""aiocache: `@cached_stampede` on Redis."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from aiocache import Cache, cached_stampede

from tests.peers.adapters.loading import LOADER, load_current

if TYPE_CHECKING:
    from tests.peers.contract import Key, Load

__all__ = ["Caching"]


class Caching:
    """`cached_stampede` with its default lease."""

    def __init__(self, url: str) -> None:
        """Take the address."""
        parts = urlsplit(url)
        self._where = {"endpoint": parts.hostname, "port": parts.port}

    async def __aenter__(self) -> Self:
        """Decorate; it connects when it is called."""

        @cached_stampede(
            ttl=60,
            cache=Cache.REDIS,
            namespace="main",
            key_builder=lambda function, key: f"item:{key}",
            **self._where,
        )
        async def fetch(key: str) -> Any:
            return await load_current()

        @cached_stampede(ttl=60, cache=Cache.REDIS, namespace="main", **self._where)
        async def fetch_pair(first: str, second: str) -> Any:
            return await load_current()

        self._fetch, self._fetch_pair = fetch, fetch_pair
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect."""
        await self._fetch.cache.close()
        await self._fetch_pair.cache.close()

    async def get_or_compute(self, key: Key, load: Load) -> Any:
        """Call the decorated function."""
        LOADER.set(load)
        return await (self._fetch(key) if isinstance(key, str) else self._fetch_pair(*key))

    async def delete(self, key: Key) -> None:
        """Delete through the function's cache."""
        await self._fetch.cache.delete(f"item:{key}")
