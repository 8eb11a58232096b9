"""fastapi-cache2: the decorator, on functions and on endpoints.

https://github.com/long2ice/fastapi-cache
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.keys import KEY_PREFIX, KEY_TTL
from benchmarks.source import Product, sample
from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from benchmarks.subjects import Load

__all__ = ["SUBJECTS", "FastapiCacheShop", "page"]


def _name(product_id: int) -> str:
    return f"{KEY_PREFIX}:fastapi-cache2:{product_id}"


class FastapiCacheShop:
    """`@cache(expire=..., coder=..., key_builder=...)` on a function."""

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Take the address and the TTL, which it has in whole seconds."""
        del tasks
        self._url = url
        self._ttl = math.ceil(ttl)

    async def open(self) -> None:
        """Connect."""
        from fastapi_cache import Coder, FastAPICache
        from fastapi_cache.backends.redis import RedisBackend
        from fastapi_cache.decorator import cache
        from redis import asyncio as aioredis

        class ProductCoder(Coder):
            """A custom coder, the fastest a user could choose."""

            _encoder = msgspec.json.Encoder()
            _decoder = msgspec.json.Decoder(Product)

            @classmethod
            def encode(cls, value: Any) -> bytes:
                return cls._encoder.encode(value)

            @classmethod
            def decode(cls, value: bytes) -> Any:
                return cls._decoder.decode(value)

        self._coder = ProductCoder
        self._redis = aioredis.from_url(self._url)
        FastAPICache.init(RedisBackend(self._redis), prefix=KEY_PREFIX)

        @cache(
            expire=self._ttl,
            coder=ProductCoder,
            key_builder=lambda *_, args, **__: _name(args[0]),
        )
        async def product(product_id: int, load: Load) -> Product:
            del product_id  # for the key alone
            return await load()

        self._product = product

    async def aclose(self) -> None:
        """Disconnect."""
        from fastapi_cache import FastAPICache

        FastAPICache.reset()
        await self._redis.close()

    def key(self, product_id: int, /) -> str:
        """Name the product's key."""
        return _name(product_id)

    def fetch(self, product_id: int, load: Load, /) -> Awaitable[Product]:
        """Read the product through the cache."""
        return self._product(product_id, load)

    async def store(self, product: Product, /) -> None:
        """Put a product there."""
        from fastapi_cache import FastAPICache

        encoded = self._coder.encode(product)
        await FastAPICache.get_backend().set(_name(product.id), encoded, self._ttl)

    async def forget(self, product_id: int, /) -> bool:
        """Clear the key."""
        from fastapi_cache import FastAPICache

        await FastAPICache.clear(key=_name(product_id))
        return True


def page(url: str) -> Any:
    """Make an application with a cached endpoint, as its README has it."""
    from fastapi import FastAPI
    from fastapi_cache import FastAPICache
    from fastapi_cache.backends.redis import RedisBackend
    from fastapi_cache.decorator import cache
    from redis import asyncio as aioredis

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        redis = aioredis.from_url(url)
        FastAPICache.init(RedisBackend(redis), prefix=f"{KEY_PREFIX}:page")
        yield
        await redis.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/products/{product_id}")
    @cache(expire=KEY_TTL)
    async def product(product_id: int) -> dict:
        made = sample(product_id)
        return {"id": made.id, "name": made.name, "price_cents": made.price_cents}

    return app


SUBJECTS = (
    Subject(
        name="fastapi-cache2",
        summary="fastapi-cache2: @cache on a function or an endpoint",
        settings=(
            "RedisBackend on aioredis.from_url(url), redis-py below 5; functions: a coder of "
            "msgspec JSON and a key builder; endpoints: defaults"
        ),
        roles={"shop": "FastapiCacheShop", "page": "page"},
        module="fastapi_cache",
        requires="fastapi-cache2[redis] jinja2",
        versions=("fastapi-cache2", "redis", "hiredis", "fastapi", "uvicorn"),
        group="bench-redis4",
    ),
)
