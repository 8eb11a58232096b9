"""millpond, as its own documentation has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from fastapi import FastAPI, Request

from millpond import (
    Cache,
    CachePolicy,
    Client,
    Held,
    Limiter,
    LimitExceeded,
    Locks,
    LockTimeout,
    NearCache,
    SlidingWindow,
    TokenBucket,
)
from millpond.ext.fastapi import ResponseCache, ResponseCacheMiddleware
from tests.peers.adapters.asking import ask
from tests.peers.contract import Answer, Quota

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millpond import Policy
    from millpond.lock.hold import Hold
    from tests.peers.contract import Key, Load, Page

__all__ = ["Bucket", "Caching", "Locking", "Near", "Responding", "Window"]


class _Opened:
    def __init__(self, url: str) -> None:
        self._client = Client.from_url(url, prefix="peers")

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.aclose()


class Caching(_Opened):
    """`get_or_set` and `delete`."""

    def __init__(self, url: str) -> None:
        """Make a cache of anything JSON can say."""
        super().__init__(url)
        self._cache: Cache[Any] = Cache(self._client, "items", ttl=60)

    async def get_or_compute(self, key: Key, load: Load) -> Any:
        """Read or load."""
        return await self._cache.get_or_set(key, load)

    async def delete(self, key: Key) -> None:
        """Delete."""
        await self._cache.delete(key)


class Responding(_Opened):
    """A route behind `ResponseCacheMiddleware`."""

    def __init__(self, url: str) -> None:
        """Make the application."""
        super().__init__(url)
        self._app = FastAPI()
        self._app.add_middleware(
            ResponseCacheMiddleware,
            cache=ResponseCache(self._client, "pages", ttl=60),
            paths=["/pages/{name}"],
        )

        @self._app.get("/pages/{name}")
        async def page(name: str, request: Request) -> str:
            return self._page(request.headers)

    async def get(self, path: str, headers: Mapping[str, str], page: Page) -> str:
        """GET."""
        self._page = page
        return (await ask(self._app, path, headers)).decode()


class Near(_Opened):
    """`get` and `set` of a cache with a near cache."""

    def __init__(self, url: str) -> None:
        """Make a cache of text."""
        super().__init__(url)
        policy = CachePolicy(near=NearCache())
        self._cache: Cache[str] = Cache(self._client, "near", type=str, ttl=60, policy=policy)

    async def get(self, key: Key) -> str | None:
        """Read."""
        return await self._cache.get(key, None)

    async def set(self, key: Key, value: str) -> None:
        """Store."""
        await self._cache.set(key, value)


class Locking(_Opened):
    """`hold`."""

    not_acquired: ClassVar[tuple[type[BaseException], ...]] = (LockTimeout,)
    shares_objects = False

    def __init__(self, url: str) -> None:
        """Make the locks."""
        super().__init__(url)
        self._locks = Locks(self._client, "locks")

    def lock(self, name: str, *, lease: float, wait: float | None) -> Hold:
        """Return a block."""
        return self._locks.hold(name, lease=lease, wait=wait)

    def fence(self, held: Held) -> int:
        """Return the fence."""
        return held.fence


class Window(_Opened):
    """A sliding window."""

    shape: ClassVar[Literal["window", "fixed", "bucket"]] = "window"

    def policy(self, quota: Quota) -> Policy:
        """Return the policy."""
        return SlidingWindow(quota.limit, per=quota.per)

    async def meter(self, quota: Quota) -> _Meter:
        """Return a limiter."""
        return _Meter(Limiter(self._client, "limits", self.policy(quota)))


class Bucket(Window):
    """A token bucket."""

    shape: ClassVar[Literal["window", "fixed", "bucket"]] = "bucket"

    def policy(self, quota: Quota) -> Policy:
        """Return the policy."""
        return TokenBucket(quota.limit, per=quota.per, burst=quota.burst)


class _Meter:
    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def hit(self, key: str, cost: int = 1) -> Answer:
        decision = await self._limiter.hit(key, cost=cost)
        return Answer(decision.allowed, decision.retry_after)

    async def wait(self, key: str, timeout: float) -> bool:
        try:
            await self._limiter.acquire(key, timeout=timeout)
        except LimitExceeded:
            return False
        return True
