"""Caches, lock, limit on plain redis-py, as tutorials write them; their races are the subject."""

# pyright: basic

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fastapi import FastAPI, Request
from redis.asyncio import Redis

from tests.peers.adapters.asking import ask
from tests.peers.contract import Answer, NotApplicable, Quota

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.peers.contract import Key, Load, Page

__all__ = ["Caching", "Limiting", "Locking", "Responding"]


class _Opened:
    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._redis = Redis.from_url(self._url)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._redis.aclose()


class Caching(_Opened):
    """GET, a lock, SET EX, DEL."""

    async def get_or_compute(self, key: Key, load: Load) -> Any:
        """Read, or load under the lock, or wait for whoever does."""
        name = _name(key)
        while True:
            raw = await self._redis.get(name)
            if raw is not None:
                return json.loads(raw)
            if await self._redis.set(f"lock:{name}", 1, nx=True, ex=10):
                try:
                    value = await load()
                    if value is not None:
                        await self._redis.set(name, json.dumps(value), ex=60)
                    return value
                finally:
                    await self._redis.delete(f"lock:{name}")
            await asyncio.sleep(0.1)

    async def delete(self, key: Key) -> None:
        """DEL."""
        await self._redis.delete(_name(key))


class Responding(_Opened):
    """GET, SET EX, by the path."""

    async def __aenter__(self) -> Self:
        """Connect, and make the application."""
        await super().__aenter__()
        self._app = FastAPI()

        @self._app.get("/pages/{name}")
        async def page(name: str, request: Request) -> str:
            stored = await self._redis.get(request.url.path)
            if stored is not None:
                return json.loads(stored)
            answer = self._page(request.headers)
            await self._redis.set(request.url.path, json.dumps(answer), ex=60)
            return answer

        return self

    async def get(self, path: str, headers: Mapping[str, str], page: Page) -> str:
        """GET."""
        self._page = page
        return (await ask(self._app, path, headers)).decode()


def _name(key: Key) -> str:
    return f"item:{key}" if isinstance(key, str) else f"item:{key[0]}:{key[1]}"


class Locking(_Opened):
    """SET NX PX and DEL."""

    not_acquired: ClassVar[tuple[type[BaseException], ...]] = (TimeoutError,)
    shares_objects = False

    def lock(self, name: str, *, lease: float, wait: float | None) -> _Lock:
        """Return a block."""
        return _Lock(self._redis, name, lease, wait)

    def fence(self, held: Any) -> int:
        """There is none."""
        raise NotApplicable("has no fencing token")


class _Lock:
    def __init__(self, redis: Redis, name: str, lease: float, wait: float | None) -> None:
        self._redis, self._name, self._lease = redis, name, lease
        self._wait = math.inf if wait is None else wait

    async def __aenter__(self) -> None:
        end = time.monotonic() + self._wait
        while not await self._redis.set(self._name, 1, nx=True, px=int(self._lease * 1000)):
            if time.monotonic() >= end:
                raise TimeoutError
            await asyncio.sleep(0.1)

    async def __aexit__(self, *exc_info: object) -> None:
        await self._redis.delete(self._name)


class Limiting(_Opened):
    """A sorted set of hits."""

    shape = "window"

    async def meter(self, quota: Quota) -> _Meter:
        """Return a limiter."""
        return _Meter(self._redis, quota)


class _Meter:
    def __init__(self, redis: Redis, quota: Quota) -> None:
        self._redis, self._quota = redis, quota

    async def hit(self, key: str, cost: int = 1) -> Answer:
        if cost != 1:
            raise NotApplicable("knows no costs")
        now = time.time()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zremrangebyscore(key, 0, now - self._quota.per)
            pipe.zadd(key, {str(now): now})
            pipe.zcard(key)
            pipe.expire(key, self._quota.per)
            replies = await pipe.execute()
        return Answer(replies[2] <= self._quota.limit)

    async def wait(self, key: str, timeout: float) -> bool:
        raise NotApplicable("does not wait")
