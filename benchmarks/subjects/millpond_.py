"""millpond with its defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import millpond
from benchmarks.keys import KEY_PREFIX, KEY_TTL
from benchmarks.source import Product, sample
from benchmarks.subjects import Subject
from millpond import Cache, CachePolicy, Client, Limiter, Locks, SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from contextlib import AbstractAsyncContextManager

    from benchmarks.subjects import Load, Role

__all__ = [
    "SUBJECTS",
    "MillpondCommands",
    "MillpondLimiter",
    "MillpondLocks",
    "MillpondMany",
    "MillpondNear",
    "MillpondShop",
    "MillpondStaleShop",
    "behind_middleware",
    "endpoint",
    "near_page",
    "page",
]


class _Millpond:
    def __init__(self, url: str, *, tasks: int) -> None:
        """Take the address; any number of calls shares one connection."""
        del tasks
        self._client = Client.from_url(url, prefix=KEY_PREFIX)

    async def open(self) -> None:
        """Connect."""
        await self._client.__aenter__()

    async def aclose(self) -> None:
        """Disconnect."""
        await self._client.aclose()


class MillpondCommands(_Millpond):
    """`await client.call("GET", key)`."""

    def get(self, key: str, /) -> Awaitable[object]:
        """Read one string."""
        return self._client.call("GET", key)


class MillpondShop(_Millpond):
    """`await products.get_or_set(id, load)`; `await products.delete(id)` after a write."""

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Take the address and the TTL in seconds."""
        super().__init__(url, tasks=tasks)
        self._products = self._cache(ttl)

    def _cache(self, ttl: float) -> Cache[Product]:
        return Cache(self._client, "millpond", type=Product, ttl=ttl)

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


class MillpondNear(MillpondShop):
    """The same with `CachePolicy(near=NearCache(...))`."""

    def _cache(self, ttl: float) -> Cache[Product]:
        near: Any = getattr(millpond, "NearCache")  # noqa: B009 - not in every version
        policy: Any = CachePolicy
        return Cache(
            self._client,
            "millpond-near",
            type=Product,
            ttl=ttl,
            policy=policy(near=near()),
        )


class MillpondMany(MillpondShop):
    """`await products.get_many(ids)`."""

    async def fetch_many(self, product_ids: Sequence[int], /) -> list[Product]:
        """Read the products in one call."""
        products: Any = self._products
        found: dict[int, Product] = await products.get_many(product_ids)
        return [found[number] for number in product_ids]


class MillpondLocks(_Millpond):
    """`async with locks.hold(name)`, with a fencing token."""

    def __init__(self, url: str, *, tasks: int) -> None:
        """Take the address."""
        super().__init__(url, tasks=tasks)
        self._locks = Locks(self._client, "lock")

    def hold(self, name: str, /) -> AbstractAsyncContextManager[object]:
        """Hold the lock while a block runs."""
        return self._locks.hold(name)


class MillpondLimiter(_Millpond):
    """`await limiter.hit(key)` on an exact sliding window."""

    def __init__(self, url: str, *, tasks: int, limit: int, per: float) -> None:
        """Take the address and the limit."""
        super().__init__(url, tasks=tasks)
        self._limiter = Limiter(self._client, "limit", SlidingWindow(limit, per=per))

    def hit(self, key: str, /) -> Awaitable[object]:
        """Count a hit; the decision is true if it is allowed."""
        return self._limiter.hit(key)


def endpoint(url: str) -> Any:
    """Make an application with a limited endpoint, as the how-to on FastAPI has it."""
    from fastapi import Depends, FastAPI

    from millpond.ext.fastapi import install, limit

    client = Client.from_url(url, prefix=KEY_PREFIX)
    limiter = Limiter(client, "web", SlidingWindow(100_000, per=1))
    app = FastAPI()
    install(app, client)

    @app.get("/limited", dependencies=[Depends(limit(limiter))])
    async def limited() -> dict[str, bool]:
        return {"ok": True}

    return app


def behind_middleware(url: str) -> Any:
    """Make an application that is limited as a whole, before FastAPI begins with a request."""
    from fastapi import FastAPI

    from millpond.ext.fastapi import LimitMiddleware, install

    client = Client.from_url(url, prefix=KEY_PREFIX)
    limiter = Limiter(client, "web", SlidingWindow(100_000, per=1))
    app = FastAPI()
    install(app, client)
    app.add_middleware(LimitMiddleware, limiter=limiter)

    @app.get("/limited")
    async def limited() -> dict[str, bool]:
        return {"ok": True}

    return app


def page(url: str) -> Any:
    """Make an application with a cached page, as the how-to on responses has it."""
    return _page(url, "page", CachePolicy())


def near_page(url: str) -> Any:
    """Make the same with copies of pages in the process's memory."""
    return _page(url, "page-near", CachePolicy(near=millpond.NearCache()))


def _page(url: str, namespace: str, policy: CachePolicy) -> Any:
    from fastapi import FastAPI

    from millpond.ext.fastapi import ResponseCache, ResponseCacheMiddleware, install

    client = Client.from_url(url, prefix=KEY_PREFIX)
    pages = ResponseCache(client, namespace, ttl=KEY_TTL, policy=policy)
    app = FastAPI()
    install(app, client)
    app.add_middleware(ResponseCacheMiddleware, cache=pages, paths=["/products/{product_id}"])

    @app.get("/products/{product_id}")
    async def product(product_id: int) -> dict[str, Any]:
        made = sample(product_id)
        return {"id": made.id, "name": made.name, "price_cents": made.price_cents}

    return app


def _roles() -> tuple[dict[Role, str], dict[Role, str]]:
    """Name what this version of millpond can do, and what it cannot yet."""
    roles: dict[Role, str] = {
        "commands": "MillpondCommands",
        "shop": "MillpondShop",
        "lock": "MillpondLocks",
        "limiter": "MillpondLimiter",
        "endpoint": "endpoint",
        "page": "page",
    }
    absent: dict[Role, str] = {}
    if hasattr(millpond, "NearCache"):
        roles["near"] = "MillpondNear"
    else:
        absent["near"] = "this version of millpond has no near cache"
    if hasattr(Cache, "get_many"):
        roles["many"] = "MillpondMany"
    else:
        absent["many"] = "this version of millpond has no get_many"
    return roles, absent


_ROLES, _ABSENT = _roles()

SUBJECTS = (
    Subject(
        name="millpond",
        summary="millpond's Client, Cache, Locks and Limiter with their defaults",
        settings=(
            "one connection, RESP3; msgspec MessagePack; locks with fence, renewed, lease 10 s; "
            "limits: an exact SlidingWindow, denials remembered for at most 1 s"
        ),
        roles=_ROLES,
        absent=_ABSENT,
        versions=("millpond", "redis", "hiredis", "msgspec"),
    ),
    Subject(
        name="millpond-middleware",
        summary="millpond's LimitMiddleware: one limit for a whole application",
        settings="`app.add_middleware(LimitMiddleware, limiter=limiter)`, as millpond",
        roles={"endpoint": "behind_middleware"},
        versions=("millpond", "redis", "hiredis", "msgspec"),
    ),
    Subject(
        name="millpond-near",
        summary="millpond with pages in the process's memory as well",
        settings="as millpond, with CachePolicy(near=NearCache())",
        roles={"page": "near_page"},
        versions=("millpond", "redis", "hiredis", "msgspec"),
    ),
    Subject(
        name="millpond-stale",
        summary="millpond with values that may be served stale",
        settings="as millpond, with stale_while_revalidate=60 and early_refresh=1",
        roles={"shop": "MillpondStaleShop"},
        versions=("millpond", "redis", "hiredis", "msgspec"),
    ),
)
