"""cashews: `@cache(..., lock=True)`, `client_side=True`, `cache.lock`, `slice_rate_limit`."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cashews import Cache, LockedError, RateLimitError

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

    not_acquired: ClassVar[tuple[type[BaseException], ...]] = (LockedError,)
    shares_objects = False

    def lock(self, name: str, *, lease: float, wait: float | None) -> _Lock:
        """Return a block."""
        return _Lock(self._cache, name, lease, wait)

    def fence(self, held: Any) -> int:
        """There is none."""
        raise NotApplicable("has no fencing token")


class _Lock:
    """It waits for ever or not at all; for a time, it is tried again until that is over.

    A timeout around entering would not do: on Python 3.11 redis-py, with a `socket_timeout` as
    cashews sets it, swallows cancellations now and then (`asyncio.wait_for` does).
    """

    def __init__(self, cache: Any, name: str, lease: float, wait: float | None) -> None:
        self._cache, self._name, self._lease, self._wait = cache, name, lease, wait

    async def __aenter__(self) -> Any:
        end = time.monotonic() + (self._wait or 0)
        while True:
            self._lock = self._cache.lock(self._name, expire=self._lease, wait=self._wait is None)
            try:
                return await self._lock.__aenter__()
            except LockedError:
                if time.monotonic() >= end:
                    raise
            await asyncio.sleep(0.02)

    async def __aexit__(self, *exc_info: object) -> Any:
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
