"""`ResponseCache`: whole responses under keys of their URLs, and how they are deleted.

It is a `Cache` whose values are pages, or None for a URL whose response could not be kept: whoever
finds that does not wait for others, for there is nothing to be shared (`asgi_run.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from millpond.cache.cache import Cache
from millpond.cache.policy import CachePolicy
from millpond.core.durations import seconds
from millpond.core.keys import Keyspace
from millpond.errors import ConfigError
from millpond.ext.asgi_keys import PageKeys
from millpond.ext.asgi_page import Page
from millpond.ext.asgi_rules import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import timedelta

    from millpond.cache.statistics import CacheStatistics
    from millpond.core.client import Client
    from millpond.core.keys import Key
    from millpond.ext.asgi_page import Scope

__all__ = ["ResponseCache"]

_LARGEST_BODY = 32 * 2**20
_MOST_PASSING = 1024


class ResponseCache:
    """Whole responses, kept by URL: give it to `ResponseCacheMiddleware`.

    **Fresh after a write**: no request that arrives after `delete(url)` returned True is answered
    with an older page, in any process, under the conditions of `Cache`. What browsers and proxies
    have kept is out of reach: say `Cache-Control: s-maxage=60, max-age=0` where that matters.

    **One run**: while the application makes a page, others in all processes who ask for the same
    wait for it. Where its response is not to be shared, nobody waits for anybody.

    May be made at import, before the client is open.

    Attributes:
        pages: The cache that has them, such as for `cache_mode("bypass", pages.pages)`.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        ttl: float | timedelta,
        hosts: Collection[str] | None = None,
        query: Collection[str] | None = None,
        vary: Collection[str] = (),
        ignore: Collection[str] = (),
        statuses: Collection[int] = (200,),
        tags: Collection[Key] | Callable[[Scope], Collection[Key]] = (),
        max_body: int = 2**20,
        pass_ttl: float | timedelta = 5.0,
        obey_reload: bool = False,
        version: int = 0,
        policy: CachePolicy | None = None,
    ) -> None:
        """Describe the cache; no I/O.

        Args:
            client: The way to Redis.
            namespace: The second part of every key.
            ttl: Seconds or timedelta that a page is kept at most, and that it is kept if it does
                not say. A response says less by `Cache-Control: s-maxage=10`, or `max-age`.
            hosts: The `Host` headers whose pages are kept, with their ports where they have some;
                requests for others go past the cache. Default None: every host's, each apart; then
                pages are deleted by tags, and `delete` refuses.
            query: The query parameters that pages depend on; others are taken out of the query
                string. Default None: the whole query string, byte by byte.
            vary: Request headers that pages depend on, and that `Vary` may name. With `"cookie"` or
                `"authorization"` each user has pages of his own. Costs a hit one more read.
            ignore: Request headers that pages do not depend on: they are taken away before the
                application sees a request, which lets those with `"cookie"` be served.
            statuses: Of responses that are kept. Default: 200.
            tags: What every page is to be deleted by, or a function of the ASGI scope that says it;
                besides `tag_response`. Each costs a hit one more read.
            max_body: Bytes; larger bodies are not kept, and no more of them is held back. Default
                1 MiB.
            pass_ttl: Seconds or timedelta for which nobody waits for others at a URL whose response
                could not be kept. Default 5 s.
            obey_reload: Whether a request with `Cache-Control: no-cache`, as browsers send it when
                told to reload, has the page made anew. Default False: anybody could, at any rate.
            version: Raise it when pages that are stored must not be served any more.
            policy: The choices that have defaults.

        Raises:
            ConfigError: An option that cannot be, or contradicts another.
        """
        policy = policy or CachePolicy()
        self.keys = PageKeys(
            Keyspace(client.prefix, namespace),
            hosts=hosts,
            query=query,
            vary=vary,
            ignore=ignore,
            tags=tags,
            obey_reload=obey_reload,
        )
        self.max_body = max_body
        self.pass_ttl = seconds(pass_ttl, "pass_ttl")
        jitter = seconds(policy.jitter, "jitter") if policy.jitter else 0.0
        self.terms = Terms(
            ttl=seconds(ttl, "ttl"),
            shortest=jitter,
            statuses=frozenset(statuses),
            told_apart=self.keys.told_apart,
            max_body=max_body,
            stale=bool(policy.stale_while_revalidate or policy.stale_if_error),
        )
        self._check(policy)
        if policy.near is not None and (tags or vary):
            raise ConfigError(
                "CachePolicy(near=...) keeps no pages with tags, and with vary or tags all have "
                "some; leave it out"
            )
        self.pages: Cache[Page | None] = Cache(
            client,
            namespace,
            ttl=ttl,
            type=cast("type[Page | None]", Page | None),
            version=version,
            policy=policy,
        )
        self.passing: dict[tuple[str, ...], float] = {}

    def _check(self, policy: CachePolicy) -> None:
        if type(self.max_body) is not int or not 0 < self.max_body <= _LARGEST_BODY:
            raise ConfigError(
                f"max_body must be a number of bytes up to {_LARGEST_BODY}, not {self.max_body!r}"
            )
        statuses = self.terms.statuses
        if not statuses or not all(map(_is_whole, statuses)):
            raise ConfigError(
                "statuses takes those of whole responses, such as [200, 404], not "
                f"{list(statuses)!r}"
            )
        if policy.error_ttl:
            raise ConfigError(
                "CachePolicy(error_ttl=...) would remember errors, and an error is the "
                "application's to answer; leave it out of a ResponseCache"
            )
        if policy.none_ttl is not None:
            raise ConfigError("write ResponseCache(pass_ttl=...), not CachePolicy(none_ttl=...)")
        if self.pass_ttl <= self.terms.shortest:
            raise ConfigError(
                f"pass_ttl={self.pass_ttl:g} is not above jitter={policy.jitter}; raise it"
            )

    # -- what cannot be kept --------------------------------------------------------------------

    def passes(self, key: tuple[str, ...], now: float) -> bool:
        """Tell whether what this process last made for a key could not be kept."""
        until = self.passing.get(key)
        if until is None:
            return False
        if now < until:
            return True
        del self.passing[key]
        return False

    def let_pass(self, key: tuple[str, ...], now: float) -> None:
        """Have nobody of this process wait at a key for a while."""
        if len(self.passing) >= _MOST_PASSING:
            del self.passing[next(iter(self.passing))]
        self.passing[key] = now + self.pass_ttl

    # -- invalidating ---------------------------------------------------------------------------

    async def delete(self, *urls: str) -> bool:
        """Remove the pages of these URLs in all their variants, and revoke those being made.

        Commit before you call it. A URL with another query string is another page: tag what is to
        be deleted together.

        Args:
            urls: `"/products/42"`, of all `hosts` that were named; with one of them for that one
                alone: `"https://shop.example/products/42"`. Pages of both schemes go.

        Returns:
            Whether Redis acknowledged, as `Cache.delete`.

        Raises:
            ConfigError: No URL, or not of a host that was named; or none was, so that pages might
                stay under one that nobody thought of.
            InvalidationPending: As `Cache.delete`.

        Redis:
            As `Cache.delete`; with `vary` as `Cache.delete_tags`.
        """
        keys = self.keys.named(urls)
        self.passing.clear()
        if self.keys.vary:
            return await self.pages.delete_tags(*map(self.keys.tag, keys))
        return await self.pages.delete(*keys)

    async def expire(self, *urls: str) -> bool:
        """Make the pages of these URLs stale now; where the policy keeps none, remove them.

        Args:
            urls: As for `delete`.

        Returns:
            Whether Redis acknowledged, as `Cache.expire`.

        Raises:
            ConfigError: As `delete`.
            InvalidationPending: As `Cache.expire`.

        Redis:
            As `Cache.expire`; with `vary` as `Cache.expire_tags`.
        """
        keys = self.keys.named(urls)
        if self.keys.vary:
            return await self.pages.expire_tags(*map(self.keys.tag, keys))
        return await self.pages.expire(*keys)

    async def delete_tags(self, *tags: Key) -> bool:
        """Remove every page that has one of these tags; see `Cache.delete_tags`."""
        self.passing.clear()
        return await self.pages.delete_tags(*tags)

    async def expire_tags(self, *tags: Key) -> bool:
        """Make every page that has one of these tags stale now; see `Cache.expire_tags`."""
        return await self.pages.expire_tags(*tags)

    async def clear(self) -> bool:
        """Remove every page; see `Cache.clear`."""
        self.passing.clear()
        return await self.pages.clear()

    @property
    def client(self) -> Client:
        """The way to Redis."""
        return self.pages.client

    def statistics(self) -> CacheStatistics:
        """Counters of this process since the cache was made; a load is a run of the application."""
        return self.pages.statistics()


def _is_whole(status: object) -> bool:
    return type(status) is int and 200 <= status < 600 and status not in (206, 304)
