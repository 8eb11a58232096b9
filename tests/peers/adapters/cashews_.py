"""cashews: `@cache(..., lock=True)`, `client_side=True`, `cache.lock`, `slice_rate_limit`."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cashews import Cache, RateLimitError

from tests.peers.adapters.loading import LOADER, load_current
from tests.peers.contract import Answer, NotApplicable, Quota

if TYPE_CHECKING:
    from tests.peers.contract import Key, Load

__all__ = ["Caching", "ClientSideCaching", "Limiting", "Locking", "Near", "NearOnResp2"]


class _Opened:
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._cache = Cache()
        self._cache.setup(self._url, secret="my_secret", **self.options)
        await self._cache.init()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._cache.close()


class Caching(_Opened):
    """The simple strategy, with a lock."""

    async def __aenter__(self) -> Self:
        """Connect, and decorate."""
        await super().__aenter__()

        @self._cache(ttl="1m", key="item:{key}", lock=True)
        async def fetch(key: str) -> Any:
            return await load_current()

        @self._cache(ttl="1m", key="pair:{first}:{second}", lock=True)
        async def fetch_pair(first: str, second: str) -> Any:
            return await load_current()

        self._fetch, self._fetch_pair = fetch, fetch_pair
        return self

    async def get_or_compute(self, key: Key, load: Load) -> Any:
        """Call the decorated function."""
        LOADER.set(load)
        return await (self._fetch(key) if isinstance(key, str) else self._fetch_pair(*key))

    async def delete(self, key: Key) -> None:
        """Delete by the template's key."""
        name = f"item:{key}" if isinstance(key, str) else f"pair:{key[0]}:{key[1]}"
        await self._cache.delete(name)


class ClientSideCaching(Caching):
    """With copies in the process."""

    options: ClassVar[dict[str, Any]] = {"client_side": True, "protocol": 2}


class Near(_Opened):
    """Copies in the process."""

    options: ClassVar[dict[str, Any]] = {"client_side": True}

    async def get(self, key: str) -> str | None:
        """Read."""
        return await self._cache.get(key)

    async def set(self, key: str, value: str) -> None:
        """Store."""
        await self._cache.set(key, value, expire="1m")


class NearOnResp2(Near):
    """The same with the protocol that redis-py spoke before 8."""

    options: ClassVar[dict[str, Any]] = {"client_side": True, "protocol": 2}


class Locking(_Opened):
    """`cache.lock`."""

    not_acquired: ClassVar[tuple[type[BaseException], ...]] = (TimeoutError,)
    shares_objects = False

    def lock(self, name: str, *, lease: float, wait: float) -> _Lock:
        """Return a block."""
        return _Lock(self._cache.lock(name, expire=lease), wait)

    def fence(self, held: Any) -> int:
        """There is none."""
        raise NotApplicable("has no fencing token")


class _Lock:
    def __init__(self, lock: Any, wait: float) -> None:
        self._lock, self._wait = lock, wait

    async def __aenter__(self) -> Any:
        async with asyncio.timeout(self._wait or 0.2):
            return await self._lock.__aenter__()

    async def __aexit__(self, *exc_info: Any) -> Any:
        return await self._lock.__aexit__(*exc_info)


class Limiting(_Opened):
    """`slice_rate_limit`."""

    shape = "window"

    async def meter(self, quota: Quota) -> _Meter:
        """Decorate a function."""

        @self._cache.slice_rate_limit(limit=quota.limit, period=quota.per, key="limit:{key}")
        async def call(key: str) -> None:
            pass

        return _Meter(call)


class _Meter:
    def __init__(self, call: Any) -> None:
        self._call = call

    async def hit(self, key: str, cost: int = 1) -> Answer:
        if cost != 1:
            raise NotApplicable("knows no costs")
        try:
            await self._call(key)
        except RateLimitError:
            return Answer(False)
        return Answer(True)

    async def wait(self, key: str, timeout: float) -> bool:
        raise NotApplicable("does not wait")
