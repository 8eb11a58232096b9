"""Cache-aside on redis-py, as it is commonly written, with a lock and without.

Both are copied faithfully, races included, because those are the subject:

- unprotected: everyone who misses loads.
- recipe: who misses tries a lock, `SET lock NX EX 10`; the winner loads, stores and deletes the
  lock; the others sleep 100 ms and start over. Between somebody's GET (a miss) and its SET NX the
  winner may have stored *and* unlocked: then the value is loaded again.
- In both a load begun before a write may be stored after the write's DEL, and then the old value
  stays until the next write or its TTL.

The limiter is the one of a hundred articles: a sorted set of time stamps in a MULTI. It counts
what it denies, and takes the time from the client.

The codec is msgspec's JSON, the fastest a user could choose, so that it decides nothing.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any, cast

import msgspec

from benchmarks.keys import KEY_PREFIX
from benchmarks.source import Product
from benchmarks.subjects import Subject
from benchmarks.subjects.redis_py import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.subjects import Load

__all__ = ["SUBJECTS", "RecipeLimiter", "RecipeMany", "RecipeShop", "UnprotectedShop"]

_LOCK_SECONDS = 10
_RETRY_AFTER = 0.1  # seconds

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Product).decode


class UnprotectedShop:
    """GET; on a miss load and SETEX; DEL on write."""

    name = "unprotected"

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Take the address, the number of concurrent calls, and the TTL in seconds."""
        self._url = url
        self._tasks = tasks
        self._ttl_ms = max(1, round(ttl * 1000))

    async def open(self) -> None:
        """Connect."""
        self._redis = await connect(self._url, tasks=self._tasks)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    def key(self, product_id: int, /) -> str:
        """Name the product's key."""
        return f"{KEY_PREFIX}:{self.name}:{product_id}"

    async def fetch(self, product_id: int, load: Load, /) -> Product:
        """Read the product, or load it."""
        raw = await self._redis.get(self.key(product_id))
        if raw is not None:
            return _decode(raw)
        product = await load()
        await self.store(product)
        return product

    async def store(self, product: Product, /) -> None:
        """SET with the TTL, whatever happened to the key meanwhile."""
        await self._redis.set(self.key(product.id), _encode(product), px=self._ttl_ms)

    async def forget(self, product_id: int, /) -> bool:
        """DEL the key; redis-py raises if that was not acknowledged."""
        await self._redis.delete(self.key(product_id))
        return True


class RecipeShop(UnprotectedShop):
    """The same with a lock: SET NX EX 10, sleep 100 ms, retry, DEL."""

    name = "recipe"

    async def fetch(self, product_id: int, load: Load, /) -> Product:
        """Read the product, or load it under the lock, or wait for whoever does."""
        lock = f"{self.key(product_id)}:lock"
        while True:
            raw = await self._redis.get(self.key(product_id))
            if raw is not None:
                return _decode(raw)
            if await self._redis.set(lock, 1, nx=True, ex=_LOCK_SECONDS):
                try:
                    product = await load()
                    await self.store(product)
                finally:
                    await self._redis.delete(lock)
                return product
            await asyncio.sleep(_RETRY_AFTER)


class RecipeMany(UnprotectedShop):
    """Many products by one MGET."""

    async def fetch_many(self, product_ids: Sequence[int], /) -> list[Product]:
        """MGET and decode."""
        found = await self._redis.mget([self.key(number) for number in product_ids])
        return [_decode(cast("bytes", raw)) for raw in found]


class RecipeLimiter:
    """MULTI, ZREMRANGEBYSCORE, ZADD, ZCARD, EXPIRE."""

    def __init__(self, url: str, *, tasks: int, limit: int, per: float) -> None:
        """Take the address, the number of concurrent calls, and the limit."""
        self._url = url
        self._tasks = tasks
        self._limit = limit
        self._per = per

    async def open(self) -> None:
        """Connect."""
        self._redis = await connect(self._url, tasks=self._tasks)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def hit(self, key: str, /) -> bool:
        """Add the hit, and see whether there are too many."""
        now = time.time()
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zremrangebyscore(key, 0, now - self._per)
        pipeline.zadd(key, {uuid.uuid4().hex: now})
        pipeline.zcard(key)
        pipeline.expire(key, round(self._per))
        replies: list[Any] = await pipeline.execute()
        return replies[2] <= self._limit


SUBJECTS = (
    Subject(
        name="recipe",
        summary="the common recipes on redis-py: SET NX EX 10, 100 ms sleep, retry, DEL; MULTI",
        settings=(
            "redis-py's client as for redis-py; msgspec JSON; get_many: MGET; limits: MULTI with "
            "ZREMRANGEBYSCORE, ZADD of a uuid, ZCARD, EXPIRE"
        ),
        roles={"shop": "RecipeShop", "many": "RecipeMany", "limiter": "RecipeLimiter"},
        versions=("redis", "hiredis", "msgspec"),
    ),
    Subject(
        name="unprotected",
        summary="cache-aside on redis-py without protection: GET, load, SETEX; DEL on write",
        settings="redis-py's client as for redis-py; msgspec JSON",
        roles={"shop": "UnprotectedShop"},
        versions=("redis", "hiredis", "msgspec"),
    ),
)
