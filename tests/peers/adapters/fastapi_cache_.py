"""fastapi-cache2: `@cache(expire=60)` on a function."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from fastapi import FastAPI, Request
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from fastapi_cache.key_builder import default_key_builder
from redis import asyncio as aioredis

from tests.peers.adapters.asking import ask
from tests.peers.adapters.loading import LOADER, load_current

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.peers.contract import Key, Load, Page

__all__ = ["Caching", "Responding"]


@cache(expire=60)
async def fetch(*key: str):
    """Load."""
    return await load_current()


class _Opened:
    """The quick start's set-up; it is one for the whole process."""

    def __init__(self, url: str) -> None:
        """Take the address."""
        self._url = url

    async def __aenter__(self) -> Self:
        """Connect."""
        self._redis = aioredis.from_url(self._url)
        FastAPICache.init(RedisBackend(self._redis), prefix="fastapi-cache")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect."""
        await self._redis.close()


class Caching(_Opened):
    """A decorated function."""

    async def get_or_compute(self, key: Key, load: Load) -> Any:
        """Call the decorated function."""
        LOADER.set(load)
        return await fetch(*((key,) if isinstance(key, str) else key))

    async def delete(self, key: Key) -> None:
        """Clear one key, as the default key builder names it."""
        args = (key,) if isinstance(key, str) else key
        name = default_key_builder(fetch.__wrapped__, "fastapi-cache:", args=args, kwargs={})
        await FastAPICache.clear(key=name)


class Responding(_Opened):
    """A decorated route."""

    async def __aenter__(self) -> Self:
        """Connect, and make the application."""
        await super().__aenter__()
        self._app = FastAPI()

        @self._app.get("/pages/{name}")
        @cache(expire=60)
        async def page(name: str, request: Request) -> str:
            return self._page(request.headers)

        return self

    async def get(self, path: str, headers: Mapping[str, str], page: Page) -> str:
        """GET."""
        self._page = page
        return (await ask(self._app, path, headers)).decode()
