"""fastapi-redis-sdk: cached routes, called as an ASGI server calls them, and its limiter."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from fastapi import Depends, FastAPI, Request
from redis.asyncio import Redis
from redis_fastapi import FastAPIRedis, cache, cache_evict, get_settings
from redis_fastapi.cache import default_key_builder
from redis_fastapi.ratelimit_backend import RateLimitBackend

from tests.peers.adapters.asking import ask
from tests.peers.adapters.loading import LOADER, load_current
from tests.peers.contract import Answer, NotApplicable, Quota

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.peers.contract import Key, Load, Page

__all__ = ["Caching", "Limiting", "Responding"]


class _Application:
    """An application that runs, with the routes of who inherits it."""

    def __init__(self, url: str) -> None:
        """Take the address."""
        self._url = url

    async def __aenter__(self) -> Self:
        """Make the application, and start it."""
        get_settings().url = self._url
        app = self._app = FastAPI()
        FastAPIRedis(app).lifespan().caching()
        self._route(app)
        self._lifespan = app.router.lifespan_context(app)
        await self._lifespan.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop it."""
        await self._lifespan.__aexit__(None, None, None)

    def _route(self, app: FastAPI) -> None:
        raise NotImplementedError


class Caching(_Application):
    """Two routes of one path: GET is cached, DELETE evicts."""

    def _route(self, app: FastAPI) -> None:
        @app.get("/items/{key:path}", dependencies=[Depends(cache(ttl=60))])
        async def read(key: str) -> Any:
            return await load_current()

        evict = cache_evict(key_builder=default_key_builder)

        @app.delete("/items/{key:path}", dependencies=[Depends(evict)])
        async def remove(key: str) -> None:
            pass

    async def get_or_compute(self, key: Key, load: Load) -> Any:
        """GET."""
        LOADER.set(load)
        return json.loads(await self._request("GET", key))

    async def delete(self, key: Key) -> None:
        """DELETE."""
        await self._request("DELETE", key)

    async def _request(self, method: str, key: Key) -> bytes:
        path = "/items/" + (key if isinstance(key, str) else "/".join(key))
        return await ask(self._app, path, method=method)


class Responding(_Application):
    """One cached route."""

    def _route(self, app: FastAPI) -> None:
        @app.get("/pages/{name}", dependencies=[Depends(cache(ttl=60))])
        async def page(name: str, request: Request) -> str:
            return self._page(request.headers)

    async def get(self, path: str, headers: Mapping[str, str], page: Page) -> str:
        """GET."""
        self._page = page
        return (await ask(self._app, path, headers)).decode()


class Limiting:
    """The imperative backend."""

    shape = "fixed"

    def __init__(self, url: str) -> None:
        """Take the address."""
        self._url = url

    async def __aenter__(self) -> Self:
        """Connect."""
        self._redis = Redis.from_url(self._url)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def meter(self, quota: Quota) -> _Meter:
        """Return a limiter."""
        return _Meter(RateLimitBackend(self._redis), quota)


class _Meter:
    def __init__(self, backend: RateLimitBackend, quota: Quota) -> None:
        self._backend, self._quota = backend, quota

    async def hit(self, key: str, cost: int = 1) -> Answer:
        result = await self._backend.hit(
            key, limit=self._quota.limit, window=self._quota.per, cost=cost
        )
        return Answer(result.allowed, result.retry_after)

    async def wait(self, key: str, timeout: float) -> bool:
        raise NotApplicable("does not wait")
