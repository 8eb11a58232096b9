"""`ResponseCache`: whole responses under keys of their URLs.

What must stay true: *two requests share a page only if the application cannot tell them apart by
anything that a page may depend on*. So everything about a request is one of these:

- in the key: scheme and host, the path, the query string, and the headers of `vary`;
- taken away before the application sees it: other query parameters, where `query` names those that
  count, and the headers of `ignore`. What the application does not see, no page depends on;
- a reason to keep out of the cache: `Cookie` and `Authorization`, unless they are in one of the two
  above; a body; a range; a precondition of a write; an encoded slash, which only `raw_path` tells
  from a plain one;
- or a header that the response must name in `Vary`, which then keeps it out, if it is not in `vary`.

A path is one key in all its spellings (`/caf%C3%A9`, `/café`), for `delete` must meet every page of
it. Values of headers are not in the key itself but in a digest, for they may be secret.

Variants by `vary` cannot be told from a URL, so such pages carry a tag of their URL, by which
`delete` meets them all; it costs a hit one more read. Pages without `vary` are deleted by their key.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlencode

import msgspec

from millpond.cache.cache import Cache
from millpond.cache.policy import CachePolicy
from millpond.core.durations import seconds
from millpond.core.keys import Keyspace
from millpond.errors import ConfigError
from millpond.ext.asgi_page import Page
from millpond.ext.asgi_rules import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import timedelta

    from millpond.cache.statistics import CacheStatistics
    from millpond.core.client import Client
    from millpond.core.keys import Key
    from millpond.ext.asgi_page import Scope

__all__ = ["Asked", "ResponseCache"]

_IDENTITY = frozenset((b"authorization", b"cookie"))
_PAST = frozenset(  # requests with one of these are the application's
    (b"expect", b"if-match", b"if-range", b"if-unmodified-since", b"range", b"transfer-encoding")
)
_CONDITIONS = frozenset((b"if-none-match", b"if-modified-since"))
_LARGEST_BODY = 32 * 2**20
_MOST_PASSING = 1024


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request that may be answered by a page.

    Attributes:
        key: Of the page.
        conditions: Headers that a hit may answer with 304, by name.
        tags: What the page is to be deleted by.
        reload: Whether the client wants it made anew.
    """

    key: tuple[str, ...]
    conditions: Mapping[bytes, bytes]
    tags: Collection[Key]
    reload: bool


class ResponseCache:
    """Whole responses, kept by URL: give it to `ResponseCacheMiddleware`.

    **Fresh after a write**: no request that arrives after `delete(url)` returned True is answered
    with an older page, in any process, under the conditions of `Cache`. What browsers and proxies
    have kept is out of reach: say `Cache-Control: s-maxage=60, max-age=0` where that matters.

    **One run**: while the application makes a page, others in all processes who ask for the same
    wait for it.

    May be made at import, before the client is open.
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
                `delete` needs the host in its URL.
            query: The query parameters that pages depend on; others are taken out of the query
                string. Default None: the whole query string, byte by byte.
            vary: Request headers that pages depend on, and that `Vary` may name. With `"cookie"` or
                `"authorization"` each user has pages of his own.
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
        self.vary = _names(vary, "vary")
        self.ignore = _names(ignore, "ignore")
        self.obey_reload = obey_reload
        self.max_body = max_body
        self.pass_ttl = seconds(pass_ttl, "pass_ttl")
        self._hosts = _hosts(hosts)
        self._query = None if query is None else frozenset(_listed(query, "query"))
        self._tags = tags
        self.passing: dict[tuple[str, ...], float] = {}
        self._check(policy)
        identity = _IDENTITY.difference(self.vary, self.ignore)
        self._refused = _PAST | identity
        self._read = self._refused | _CONDITIONS | {b"host", b"content-length", *self.vary}
        if obey_reload:
            self._read |= {b"cache-control"}
        self._keyspace = Keyspace(client.prefix, namespace)
        self.pages: Cache[Page | None] = Cache(
            client,
            namespace,
            ttl=ttl,
            type=cast("type[Page | None]", Page | None),
            version=version,
            policy=policy,
        )
        self.terms = Terms(
            ttl=seconds(ttl, "ttl"),
            shortest=_zero_or_seconds(policy.jitter),
            statuses=frozenset(statuses),
            keyed=frozenset((*self.vary, *self.ignore, b"host")),
            max_body=max_body,
            stale=bool(policy.stale_while_revalidate or policy.stale_if_error),
        )

    # -- requests -------------------------------------------------------------------------------

    def asked(self, scope: Scope) -> Asked | None:
        """Say which page a GET or HEAD asks for; None: none that may be kept."""
        read, refused = self._read, self._refused
        told: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in read:
                if name in refused or (name == b"content-length" and value != b"0"):
                    return None
                told[name] = told[name] + b", " + value if name in told else value
        host = told.get(b"host", b"").decode("latin-1").lower()
        if self._hosts is not None and host not in self._hosts:
            return None
        raw: bytes = scope.get("raw_path") or b""
        if b"%" in raw and b"%2f" in raw.lower():
            return None
        query: bytes = scope.get("query_string") or b""
        if query and self._query is not None:
            query = self._kept_of(query)
        where = f"{scope.get('scheme') or 'http'}/{host}"
        key = self._key(scope["path"], where, query.decode("latin-1"))
        tags: Collection[Key] = self._tags(scope) if callable(self._tags) else self._tags
        if self.vary:
            tags = (*tags, ("url", *key))
            key = (*key, self._variant(told))
        return Asked(
            key,
            {name: told[name] for name in _CONDITIONS if name in told} if told else told,
            tags,
            self.obey_reload and b"no-cache" in told.get(b"cache-control", b"").lower(),
        )

    def seen(self, scope: Scope, *, alone: bool) -> Scope:
        """Return a request as the application is to see it.

        Args:
            scope: As it came.
            alone: Whether the response is for its sender alone; otherwise its conditions are taken
                away too, for a 304 is no page.
        """
        taken = self.ignore if alone else self.ignore | _CONDITIONS
        query: bytes = scope.get("query_string") or b""
        kept = self._kept_of(query) if query and self._query is not None else query
        headers = [pair for pair in scope["headers"] if pair[0] not in taken]
        return {**scope, "headers": headers, "query_string": kept}

    def passes(self, key: tuple[str, ...], now: float) -> bool:
        """Tell whether what was last made under a key, in this process, could not be kept."""
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

    # -- keys -----------------------------------------------------------------------------------

    def _key(self, path: str, where: str, query: str) -> tuple[str, ...]:
        """Return the key of a URL: three parts; a digest of them alone where they are too long."""
        if len(path) + len(query) + len(where) > _LONGEST or not path.isascii():
            try:
                self._keyspace(("url", path, where, query, "0" * 32))
            except ConfigError:  # too long, or a surrogate, which UTF-8 cannot carry
                parts = (path, where, query)
                return (_digest(part.encode("utf-8", "surrogatepass") for part in parts),)
        return path, where, query

    def _variant(self, told: Mapping[bytes, bytes]) -> str:
        return _digest(told.get(name, b"\0") for name in sorted(self.vary))

    def _kept_of(self, query: bytes) -> bytes:
        """Return the parameters that count, sorted by name; several of one name in their order."""
        names = cast("frozenset[str]", self._query)
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace"
        )
        counting = sorted([pair for pair in pairs if pair[0] in names], key=lambda pair: pair[0])
        return urlencode(counting).encode()

    def _named(self, urls: Collection[str]) -> list[tuple[str, ...]]:
        """Return the keys, but for variants, of URLs, under every scheme and host."""
        keys: list[tuple[str, ...]] = []
        for url in urls:
            host, path, query = self._taken_apart(url)
            hosts = (host,) if host is not None else self._hosts
            if hosts is None:
                raise ConfigError(
                    f"{url!r} names no host, and this cache has pages of any: "
                    f"'https://shop.example{url}', or ResponseCache(hosts=['shop.example'])"
                )
            keys += [self._key(path, f"{s}/{h}", query) for h in hosts for s in ("http", "https")]
        return keys

    def _taken_apart(self, url: object) -> tuple[str | None, str, str]:
        """Return host, path and query of a URL as a request for it has them."""
        host, rest = None, url
        if isinstance(url, str) and "://" in url:
            host, slash, rest = url.partition("://")[2].partition("/")
            host, rest = host.lower(), slash + rest if slash else "/"
        if not isinstance(rest, str) or not rest.startswith("/"):
            raise ConfigError(
                f"a page is named by its URL, such as '/products/42?page=2' or "
                f"'https://shop.example/products/42', not {url!r}"
            )
        path, _, query = rest.partition("#")[0].partition("?")
        told = query.encode()
        if told and self._query is not None:
            told = self._kept_of(told)
        return host, unquote(path), told.decode("latin-1")

    # -- invalidating ---------------------------------------------------------------------------

    async def delete(self, *urls: str) -> bool:
        """Remove the pages of these URLs in all their variants, and revoke those being made.

        Commit before you call it. A URL with another query string is another page: tag what is to
        be deleted together.

        Args:
            urls: `"/products/42"`, or with the host, where `hosts` were not named:
                `"https://shop.example/products/42"`. Pages of both schemes go.

        Returns:
            Whether Redis acknowledged, as `Cache.delete`.

        Raises:
            ConfigError: No URL, or one without a host where there must be one.
            InvalidationPending: As `Cache.delete`.

        Redis:
            As `Cache.delete`; with `vary` as `Cache.delete_tags`.
        """
        keys = self._named(urls)
        self.passing.clear()
        if self.vary:
            return await self.pages.delete_tags(*[("url", *key) for key in keys])
        return await self.pages.delete(*keys)

    async def expire(self, *urls: str) -> bool:
        """Make pages stale now: as `delete`, where the policy keeps none.

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
        keys = self._named(urls)
        if self.vary:
            return await self.pages.expire_tags(*[("url", *key) for key in keys])
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

    # -- checking -------------------------------------------------------------------------------

    def _check(self, policy: CachePolicy) -> None:
        both = self.vary & self.ignore
        if both:
            name = next(iter(both)).decode()
            raise ConfigError(f"{name!r} is in vary and in ignore: pages depend on it, or do not")
        if self.ignore & {b"host", *_CONDITIONS, *_PAST}:
            raise ConfigError("ignore is for headers such as 'cookie', that no page depends on")
        if type(self.max_body) is not int or not 0 < self.max_body <= _LARGEST_BODY:
            raise ConfigError(
                f"max_body must be a number of bytes up to {_LARGEST_BODY}, not {self.max_body!r}"
            )
        if policy.error_ttl:
            raise ConfigError(
                "CachePolicy(error_ttl=...) would remember errors, and an error is the "
                "application's to answer; leave it out of a ResponseCache"
            )
        if policy.none_ttl is not None:
            raise ConfigError("write ResponseCache(pass_ttl=...), not CachePolicy(none_ttl=...)")
        if self.pass_ttl <= _zero_or_seconds(policy.jitter):
            raise ConfigError(f"pass_ttl={self.pass_ttl:g} is not above jitter={policy.jitter}")
        if policy.near is not None and (self.vary or self._tags):
            raise ConfigError(
                "CachePolicy(near=...) keeps no pages with tags, and with vary or tags all have "
                "some; leave it out"
            )


_LONGEST = 250  # characters that fit whatever is escaped in them: beyond it, try


def _digest(parts: Any) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()


def _zero_or_seconds(value: Any) -> float:
    return seconds(value, "jitter") if value else 0.0


def _listed(names: Any, option: str) -> list[str]:
    if isinstance(names, str | bytes) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{option} takes a list of names: {option}=['page'], not {names!r}")
    return list(names)


def _names(names: Collection[str], option: str) -> frozenset[bytes]:
    return frozenset(name.lower().encode("latin-1") for name in _listed(names, option))


def _hosts(hosts: Collection[str] | None) -> frozenset[str] | None:
    if hosts is None:
        return None
    listed = _listed(hosts, "hosts")
    if not listed or any("/" in host for host in listed):
        raise ConfigError(f"hosts takes Host headers, such as ['shop.example'], not {hosts!r}")
    return frozenset(host.lower() for host in listed)
