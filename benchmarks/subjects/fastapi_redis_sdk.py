"""fastapi-redis-sdk, Redis' own integration: its cache backend, rate limit and response cache.

https://redis.github.io/fastapi-redis-sdk/
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.keys import KEY_PREFIX, KEY_TTL
from benchmarks.source import Product, sample
from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from benchmarks.subjects import Load

__all__ = ["SUBJECTS", "SdkLimiter", "SdkShop", "endpoint", "page"]


def _configure(url: str) -> None:
    from redis_fastapi import get_settings

    settings = get_settings()
    settings.url = url
    settings.prefix = KEY_PREFIX


class SdkShop:
    """`CacheBackend`: get, and set after a miss; with a coder of msgspec JSON."""

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Take the address and the TTL, which it has in whole seconds."""
        del tasks
        self._url = url
        self._ttl = max(1, round(ttl))

    async def open(self) -> None:
        """Connect."""
        from redis.asyncio import Redis
        from redis_fastapi.cache_backend import CacheBackend

        class ProductCoder:
            _encoder = msgspec.json.Encoder()
            _decoder = msgspec.json.Decoder(Product)

            @classmethod
            def encode(cls, value: Any) -> str:
                return cls._encoder.encode(value).decode()

            @classmethod
            def decode(cls, value: str) -> Any:
                return cls._decoder.decode(value)

        _configure(self._url)
        self._redis = Redis.from_url(self._url)
        self._backend = CacheBackend(self._redis, coder=ProductCoder)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    def key(self, product_id: int, /) -> str:
        """Name the product's key."""
        return f"{KEY_PREFIX}:cache:product:{product_id}"

    async def fetch(self, product_id: int, load: Load, /) -> Product:
        """Read the product, or load and set it."""
        product = await self._backend.get(f"product:{product_id}")
        if product is None:
            product = await load()
            await self._backend.set(f"product:{product_id}", product, ttl=self._ttl)
        return product

    async def store(self, product: Product, /) -> None:
        """Put a product there."""
        await self._backend.set(f"product:{product.id}", product, ttl=self._ttl)

    async def forget(self, product_id: int, /) -> bool:
        """Delete the key."""
        await self._backend.delete(f"product:{product_id}")
        return True


class SdkLimiter:
    """`RateLimitBackend.hit`: a fixed window, INCREX or its script."""

    def __init__(self, url: str, *, tasks: int, limit: int, per: float) -> None:
        """Take the address and the limit."""
        del tasks
        self._url = url
        self._limit = limit
        self._window = round(per)

    async def open(self) -> None:
        """Connect."""
        from redis.asyncio import Redis
        from redis_fastapi.ratelimit_backend import RateLimitBackend

        _configure(self._url)
        self._redis = Redis.from_url(self._url)
        self._backend = RateLimitBackend(self._redis)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def hit(self, key: str, /) -> bool:
        """Count a hit."""
        result = await self._backend.hit(key, limit=self._limit, window=self._window)
        return result.allowed


def endpoint(url: str) -> Any:
    """Make an application with a limited endpoint, as its README has it."""
    from fastapi import Depends, FastAPI
    from redis_fastapi import FastAPIRedis, rate_limit

    _configure(url)
    app = FastAPI()
    FastAPIRedis(app).lifespan().rate_limiting()

    @app.get("/limited", dependencies=[Depends(rate_limit("100000/second"))])
    async def limited() -> dict[str, bool]:
        return {"ok": True}

    return app


def page(url: str) -> Any:
    """Make an application with a cached endpoint, as its README has it."""
    from fastapi import Depends, FastAPI
    from redis_fastapi import FastAPIRedis, cache

    _configure(url)
    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()

    @app.get("/products/{product_id}", dependencies=[Depends(cache(ttl=KEY_TTL))])
    async def product(product_id: int) -> dict[str, Any]:
        made = sample(product_id)
        return {"id": made.id, "name": made.name, "price_cents": made.price_cents}

    return app


SUBJECTS = (
    Subject(
        name="fastapi-redis-sdk",
        summary="fastapi-redis-sdk: CacheBackend, rate_limit(), cache()",
        settings=(
            "defaults, redis-py's default pool; cached read: one CacheBackend, a coder of msgspec "
            "JSON; limits: a fixed window, which is all it has"
        ),
        roles={"shop": "SdkShop", "limiter": "SdkLimiter", "endpoint": "endpoint", "page": "page"},
        module="redis_fastapi",
        requires="fastapi-redis-sdk",
        versions=("fastapi-redis-sdk", "redis", "hiredis", "fastapi", "uvicorn"),
        group="bench-rivals",
    ),
)
