"""Every library under test: its adapter, its environment, and how it was set up.

A library appears once for each kind of thing that it has, and for limits once for each algorithm.
The settings are what its documentation recommends for the purpose; defaults are left alone.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.contract import Adapter

__all__ = ["KINDS", "Kind", "SUBJECTS", "Subject"]

Kind = Literal["cache", "response", "near", "lock", "limit"]
KINDS: tuple[Kind, ...] = ("cache", "response", "near", "lock", "limit")


@dataclass(frozen=True)
class Subject:
    """One library in one role.

    Attributes:
        kind: Whose cases it runs.
        label: What the table calls it.
        where: Its adapter, `module:class` under tests/peers/adapters.
        group: The dependency group that brings it; "" for what the project's own tests have.
        distributions: Whose versions are told.
        settings: How it was set up, as the table's page says it.
    """

    kind: Kind
    label: str
    where: str
    group: str
    distributions: tuple[str, ...]
    settings: str

    @property
    def name(self) -> str:
        """Its name on the command line: `cache/cashews`."""
        return f"{self.kind}/{self.label.replace(' ', '-')}"

    def adapter(self) -> Callable[[str], Adapter]:
        """Import the adapter's class."""
        module, _, name = self.where.partition(":")
        return getattr(importlib.import_module(f"tests.peers.adapters.{module}"), name)

    def versions(self) -> dict[str, str]:
        """Tell what is installed here."""
        found: dict[str, str] = {}
        for name in self.distributions:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = "from this checkout"
        return found


_REDIS = "redis"
_ALL = (
    # -- caches
    Subject(
        "cache",
        "millpond",
        "millpond_:Caching",
        "",
        ("millpond", _REDIS),
        "`Cache(client, 'peers', ttl=60).get_or_set(key, loader)`; every default",
    ),
    Subject(
        "cache",
        "recipe",
        "recipe:Caching",
        "",
        (_REDIS,),
        "`GET`; on a miss `SET lock NX EX 10`, load, `SET EX 60`, `DEL lock`; who has no lock "
        "sleeps 100 ms and starts over; JSON",
    ),
    Subject(
        "cache",
        "cashews",
        "cashews_:Caching",
        "rivals",
        ("cashews", _REDIS),
        "`@cache(ttl='1m', key='item:{key}', lock=True)`, `cache.setup(url, secret=...)`",
    ),
    Subject(
        "cache",
        "cashews client_side",
        "cashews_:ClientSideCaching",
        "rivals",
        ("cashews", _REDIS),
        "as cashews, with `client_side=True`, and with `protocol=2`: without that redis-py 8 gives "
        "it no invalidations (see the copies in the process)",
    ),
    Subject(
        "cache",
        "aiocache",
        "aiocache_:Caching",
        "rivals",
        ("aiocache", _REDIS),
        "`@cached_stampede(ttl=60, cache=Cache.REDIS)`, its default lease of 2 s and its default "
        "serializer",
    ),
    Subject(
        "cache",
        "fastapi-cache2",
        "fastapi_cache_:Caching",
        "rivals-redis4",
        ("fastapi-cache2", _REDIS),
        "`@cache(expire=60)` on a function, `RedisBackend`, the default coder and key builder",
    ),
    Subject(
        "cache",
        "fastapi-redis-sdk",
        "fastapi_redis_sdk:Caching",
        "rivals",
        ("fastapi-redis-sdk", _REDIS),
        "`Depends(cache(ttl=60))` on a GET route, `Depends(cache_evict(key_builder=...))` on the "
        "DELETE route of the same path; called as an ASGI application",
    ),
    # -- whole responses
    Subject(
        "response",
        "millpond",
        "millpond_:Responding",
        "",
        ("millpond", _REDIS),
        "`app.add_middleware(ResponseCacheMiddleware, cache=pages, paths=[...])`, "
        "`pages = ResponseCache(client, 'pages', ttl=60)`; every default",
    ),
    Subject(
        "response",
        "recipe",
        "recipe:Responding",
        "",
        (_REDIS,),
        "`GET` of the path; on a miss the route, and `SET EX 60`",
    ),
    Subject(
        "response",
        "fastapi-cache2",
        "fastapi_cache_:Responding",
        "rivals-redis4",
        ("fastapi-cache2", _REDIS),
        "`@cache(expire=60)` on a GET route, the default key builder, which has a route's "
        "parameters but for the `Request`",
    ),
    Subject(
        "response",
        "fastapi-redis-sdk",
        "fastapi_redis_sdk:Responding",
        "rivals",
        ("fastapi-redis-sdk", _REDIS),
        "`Depends(cache(ttl=60))` on a GET route, the default key builder: path and query",
    ),
    # -- copies in the process
    Subject(
        "near",
        "millpond",
        "millpond_:Near",
        "",
        ("millpond", _REDIS),
        "`Cache(client, 'near', type=str, ttl=60, policy=CachePolicy(near=NearCache()))`: "
        "`get` and `set`",
    ),
    Subject(
        "near",
        "cashews client_side",
        "cashews_:Near",
        "rivals",
        ("cashews", _REDIS),
        "`cache.setup(url, client_side=True)`, `cache.get` and `cache.set`",
    ),
    Subject(
        "near",
        "cashews client_side RESP2",
        "cashews_:NearOnResp2",
        "rivals",
        ("cashews", _REDIS),
        "the same with `protocol=2`, which was redis-py's default before 8",
    ),
    Subject(
        "near",
        "coredis",
        "coredis_:Near",
        "rivals",
        ("coredis",),
        "`coredis.Redis.from_url(url, cache=LRUCache())`, `get` and `set`",
    ),
    # -- locks
    Subject(
        "lock",
        "millpond",
        "millpond_:Locking",
        "",
        ("millpond", _REDIS),
        "`async with locks.hold(name, lease=..., wait=...)`",
    ),
    Subject(
        "lock",
        "recipe",
        "recipe:Locking",
        "",
        (_REDIS,),
        "`SET name 1 NX PX`, tried every 100 ms; `DEL name`",
    ),
    Subject(
        "lock",
        "redis-py",
        "redis_py:Locking",
        "rivals",
        (_REDIS,),
        "`async with Redis(host, port).lock(name, timeout=lease, blocking_timeout=wait)`",
    ),
    Subject(
        "lock",
        "pottery",
        "pottery_:Locking",
        "rivals",
        ("pottery", _REDIS),
        "`async with AIORedlock(key=..., masters={redis}, auto_release_time=lease, "
        "context_manager_timeout=wait)`, one master",
    ),
    Subject(
        "lock",
        "cashews",
        "cashews_:Locking",
        "rivals",
        ("cashews", _REDIS),
        "`async with cache.lock(name, expire=lease)`; it waits for ever or, with `wait=False`, not "
        "at all, so where a case waits for a time it is tried every 20 ms",
    ),
    Subject(
        "lock",
        "coredis",
        "coredis_:Locking",
        "rivals",
        ("coredis",),
        "`async with Lock(client, name, timeout=lease, blocking_timeout=wait)`",
    ),
    # -- limits
    Subject(
        "limit",
        "millpond window",
        "millpond_:Window",
        "",
        ("millpond", _REDIS),
        "`Limiter(client, 'peers', SlidingWindow(limit, per=...))`",
    ),
    Subject(
        "limit",
        "millpond bucket",
        "millpond_:Bucket",
        "",
        ("millpond", _REDIS),
        "`Limiter(client, 'peers', TokenBucket(limit, per=..., burst=...))`",
    ),
    Subject(
        "limit",
        "recipe",
        "recipe:Limiting",
        "",
        (_REDIS,),
        "`MULTI`, `ZREMRANGEBYSCORE`, `ZADD now now`, `ZCARD`, `EXPIRE`, `EXEC`",
    ),
    Subject(
        "limit",
        "limits moving",
        "limits_:Moving",
        "rivals-redis7",
        ("limits", _REDIS),
        "`MovingWindowRateLimiter(RedisStorage('async+redis://...', implementation='redispy'))`",
    ),
    Subject(
        "limit",
        "limits sliding",
        "limits_:Sliding",
        "rivals-redis7",
        ("limits", _REDIS),
        "`SlidingWindowCounterRateLimiter`, as above",
    ),
    Subject(
        "limit",
        "limits fixed",
        "limits_:Fixed",
        "rivals-redis7",
        ("limits", _REDIS),
        "`FixedWindowRateLimiter`, as above",
    ),
    Subject(
        "limit",
        "throttled sliding",
        "throttled_:Sliding",
        "rivals-redis7",
        ("throttled-py", _REDIS),
        "`Throttled(using='sliding_window', quota=..., store=RedisStore(server=url))`",
    ),
    Subject(
        "limit",
        "throttled token",
        "throttled_:Token",
        "rivals-redis7",
        ("throttled-py", _REDIS),
        "as above, `using='token_bucket'`",
    ),
    Subject(
        "limit",
        "throttled leaking",
        "throttled_:Leaking",
        "rivals-redis7",
        ("throttled-py", _REDIS),
        "as above, `using='leaking_bucket'`",
    ),
    Subject(
        "limit",
        "throttled gcra",
        "throttled_:Gcra",
        "rivals-redis7",
        ("throttled-py", _REDIS),
        "as above, `using='gcra'`",
    ),
    Subject(
        "limit",
        "pyrate window",
        "pyrate:Window",
        "rivals",
        ("pyrate-limiter", _REDIS),
        "`Limiter` over a `BucketFactory` with one async `RedisBucket` for each name, as its "
        "documentation routes users to buckets",
    ),
    Subject(
        "limit",
        "pyrate gcra",
        "pyrate:Gcra",
        "rivals",
        ("pyrate-limiter", _REDIS),
        "the same with `StateBucket` and `RedisStateStore`",
    ),
    Subject(
        "limit",
        "cashews",
        "cashews_:Limiting",
        "rivals",
        ("cashews", _REDIS),
        "`@cache.slice_rate_limit(limit=..., period=..., key='{key}')`",
    ),
    Subject(
        "limit",
        "fastapi-redis-sdk",
        "fastapi_redis_sdk:Limiting",
        "rivals",
        ("fastapi-redis-sdk", _REDIS),
        "`RateLimitBackend(redis).hit(identifier, limit=..., window=...)`",
    ),
)

SUBJECTS: dict[str, Subject] = {subject.name: subject for subject in _ALL}
