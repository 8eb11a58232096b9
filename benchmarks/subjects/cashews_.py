"""cashews: the cache decorator, plain, with a lock, and with its client-side cache; and its lock.

https://github.com/Krukov/cashews
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.keys import KEY_PREFIX
from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from contextlib import AbstractAsyncContextManager

    from benchmarks.source import Product
    from benchmarks.subjects import Load

__all__ = [
    "SUBJECTS",
    "CashewsClientSideShop",
    "CashewsLockedShop",
    "CashewsLocks",
    "CashewsShop",
]

_LEASE = 10  # seconds


def _connections(tasks: int) -> int:
    """Choose the size of its pool, which blocks: its own 10, or more where that was faster."""
    return max(10, min(tasks, 100))


class CashewsShop:
    """`@cache(ttl=..., key=...)`, with its protection within the process, which is the default."""

    name = "cashews"
    lock = False
    setup: ClassVar[dict[str, Any]] = {}
    prefix = ""  # what the backend puts before a key

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Take the address, the number of concurrent calls and the TTL in seconds."""
        self._url = url
        self._connections = _connections(tasks)
        self._ttl = ttl

    async def open(self) -> None:
        """Connect."""
        from cashews import Cache

        self._cache = Cache()
        self._cache.setup(self._url, max_connections=self._connections, **self.setup)
        await self._cache.init()

        @self._cache(ttl=self._ttl, key=self._key("{product_id}"), lock=self.lock)
        async def product(product_id: int, load: Load) -> Product:
            del product_id  # for the key alone
            return await load()

        self._product = product

    async def aclose(self) -> None:
        """Disconnect."""
        await self._cache.close()

    def _key(self, product_id: object) -> str:
        return f"{KEY_PREFIX}:{self.name}:{product_id}"

    def key(self, product_id: int, /) -> str:
        """Name the product's key."""
        return self.prefix + self._key(product_id)

    def fetch(self, product_id: int, load: Load, /) -> Awaitable[Product]:
        """Read the product through the cache."""
        return self._product(product_id, load)

    async def store(self, product: Product, /) -> None:
        """Put a product there."""
        await self._cache.set(self._key(product.id), product, expire=self._ttl)

    async def forget(self, product_id: int, /) -> bool:
        """Delete the key."""
        await self._cache.delete(self._key(product_id))
        return True

    async def fetch_many(self, product_ids: Sequence[int], /) -> Sequence[Product]:
        """Read the products in one call."""
        return await self._cache.get_many(*(self._key(number) for number in product_ids))


class CashewsLockedShop(CashewsShop):
    """The same with `lock=True`, which protects across processes, hits included."""

    name = "cashews-locked"
    lock = True


class CashewsClientSideShop(CashewsShop):
    """The same with `client_side=True`: a copy in the process, dropped when Redis pushes.

    It listens for pushes as they came before redis-py 8, whose RESP3 brings it none: then its
    copies live until their TTL ends. `protocol=2` makes them follow writes again.
    """

    name = "cashews-client-side"
    setup: ClassVar[dict[str, Any]] = {"client_side": True, "protocol": 2}
    prefix = "cashews:"


class CashewsLocks:
    """`async with cache.lock(name, expire=10)`."""

    def __init__(self, url: str, *, tasks: int) -> None:
        """Take the address; its own pool stays, for with more of them waiters slow the holder."""
        del tasks
        self._url = url

    async def open(self) -> None:
        """Connect."""
        from cashews import Cache

        self._cache = Cache()
        self._cache.setup(self._url)
        await self._cache.init()

    async def aclose(self) -> None:
        """Disconnect."""
        await self._cache.close()

    def hold(self, name: str, /) -> AbstractAsyncContextManager[object]:
        """Hold the lock while a block runs."""
        return self._cache.lock(name, expire=_LEASE)


_SETTINGS = (
    "cache.setup(url), pickle; its pool of 10 connections, which blocks, raised to the number of "
    "tasks, 100 at most"
)
_CLIENT_SIDE = (
    "client_side=True (10,000 entries), protocol=2, without which redis-py 8 gives it no "
    "invalidations"
)

SUBJECTS = (
    Subject(
        name="cashews",
        summary="cashews: @cache(ttl, key); its lock; near: client_side=True",
        settings=(
            f"{_SETTINGS}; @cache(ttl, key); near: {_CLIENT_SIDE}; locks: its own pool, expire=10, "
            "asked again without a pause"
        ),
        roles={
            "shop": "CashewsShop",
            "near": "CashewsClientSideShop",
            "many": "CashewsShop",
            "lock": "CashewsLocks",
        },
        module="cashews",
        requires="cashews[redis]",
        versions=("cashews", "redis", "hiredis"),
        group="bench-rivals",
    ),
    Subject(
        name="cashews-locked",
        summary="cashews: @cache(ttl, key, lock=True)",
        settings=f"{_SETTINGS}; @cache(ttl, key, lock=True)",
        roles={"shop": "CashewsLockedShop"},
        module="cashews",
        requires="cashews[redis]",
        versions=("cashews", "redis", "hiredis"),
        group="bench-rivals",
    ),
    Subject(
        name="cashews-client-side",
        summary="cashews: @cache(ttl, key) with client_side=True",
        settings=f"{_SETTINGS}; {_CLIENT_SIDE}; @cache(ttl, key)",
        roles={"shop": "CashewsClientSideShop"},
        module="cashews",
        requires="cashews[redis]",
        versions=("cashews", "redis", "hiredis"),
        group="bench-rivals",
    ),
)
