"""Which page a request asks for: keys made of requests, and of the URLs that pages are deleted by.

What must stay true: *two requests share a page only if the application cannot tell them apart by
anything that a page may depend on*. So everything about a request is one of these:

- in the key: scheme and host, the path, the query string, and the headers of `vary`;
- taken away before the application sees it: other query parameters, where `query` names those
  that count, the headers of `ignore`, and of an `Accept-Encoding` in `vary` all but the codings
  that are in the key. What the application does not see, no page depends on;
- a reason to keep out of the cache: `Cookie`, `Authorization` and `X-API-Key`, unless they are in
  one of the two above; a body; a range; a precondition of a write; an encoded slash, which only
  `raw_path` tells from a plain one;
- or a header that the response must name in `Vary`, which then keeps it out if it is not in `vary`.

A path is one key in all its spellings (`/caf%C3%A9`, `/café`), for `delete` must meet every page
of it. Values of headers are in the key as a digest, for they are long, and may be secret.

Variants by `vary` cannot be told from a URL, so such pages carry a tag of their URL, by which
`delete` meets them all; it costs a hit one more read.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlencode

import msgspec

from millpond.core.keys import LONGEST
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from millpond.core.keys import Key, Keyspace
    from millpond.ext.asgi_page import Scope

__all__ = ["Asked", "PageKeys"]

_IDENTITY = frozenset((b"authorization", b"cookie", b"x-api-key"))
_PAST = frozenset(  # requests with one of these are the application's
    (b"expect", b"if-match", b"if-range", b"if-unmodified-since", b"range", b"transfer-encoding")
)
_CONDITIONS = frozenset((b"if-none-match", b"if-modified-since"))
_ENCODING = b"accept-encoding"
_CODINGS = frozenset((b"br", b"gzip", b"zstd"))
_SCHEMES = ("http", "https")
_AROUND = 40  # bytes beside a URL's parts: what tells a tag from others, a variant, colons


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request that may be answered by a page.

    Attributes:
        key: Of the page.
        tags: What the page is to be deleted by.
        conditions: Headers that a hit may answer with 304, by name.
        reload: Whether the client wants it made anew, and is obeyed.
    """

    key: tuple[str, ...]
    tags: Collection[Key]
    conditions: Mapping[bytes, bytes]
    reload: bool


class PageKeys:
    """The keys of one `ResponseCache`.

    Attributes:
        vary: Request headers that are in the key.
        told_apart: All request headers by which two that share a page cannot differ, or which the
            application does not see.
    """

    def __init__(
        self,
        keyspace: Keyspace,
        *,
        hosts: Collection[str] | None,
        query: Collection[str] | None,
        vary: Collection[str],
        ignore: Collection[str],
        tags: Collection[Key] | Callable[[Scope], Collection[Key]],
        obey_reload: bool,
    ) -> None:
        """Take the options of `ResponseCache` that are about requests.

        Raises:
            ConfigError: One that cannot be, or contradicts another.
        """
        self._keyspace = keyspace
        # Characters that fit into a key whatever they are, for UTF-8 has at most 4 bytes.
        self._quick = (LONGEST - len(keyspace.head.encode()) - _AROUND) // 4
        self._hosts = None if hosts is None else _checked_hosts(hosts)
        self._query = None if query is None else frozenset(_listed(query, "query"))
        self.vary = _headers(vary, "vary")
        self._ignore = _headers(ignore, "ignore")
        self._tags = tags
        self._obey_reload = obey_reload
        for name in self.vary & self._ignore:
            raise ConfigError(
                f"{name.decode()!r} is in vary and in ignore: pages depend on it, or do not"
            )
        if self._ignore & {b"host", *_CONDITIONS, *_PAST}:
            raise ConfigError("ignore is for headers such as 'cookie', that no page depends on")
        self._refused = _PAST | _IDENTITY.difference(self.vary, self._ignore)
        # Who sends what is refused is never given a page, so that pages may well vary by it.
        self.told_apart = self.vary | self._ignore | self._refused | {b"host"}
        self._read = self.told_apart - self._ignore | _CONDITIONS | {b"content-length"}
        if obey_reload:
            self._read |= {b"cache-control"}

    # -- requests -------------------------------------------------------------------------------

    def asked(self, scope: Scope) -> Asked | None:
        """Say which page a GET or HEAD asks for; None: none that may be kept."""
        read, refused, vary = self._read, self._refused, self.vary
        told: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in read:
                if name in refused or (name == b"content-length" and value != b"0"):
                    return None
                if name not in told:
                    told[name] = value
                else:  # twice in the key is another than once with a comma
                    told[name] += (b"\n" if name in vary else b", ") + value
        host = told[b"host"].decode("latin-1").lower() if b"host" in told else ""
        if self._hosts is not None and host not in self._hosts:
            return None
        raw: bytes = scope.get("raw_path") or b""
        if b"%" in raw and b"%2f" in raw.lower():
            return None
        scheme = scope.get("scheme") or "http"
        if scheme not in _SCHEMES:  # some proxy's `X-Forwarded-Proto: ws`: `delete` would miss it
            return None
        query = self._counting(scope.get("query_string") or b"").decode("latin-1")
        key = self._key(scope["path"], f"{scheme}/{host}", query)
        tags: Collection[Key] = self._tags(scope) if callable(self._tags) else self._tags
        if self.vary:
            tags = (*tags, self.tag(key))
            key = (*key, self._variant(told))
        if len(told) < 2:  # the host, and nothing that needs another look
            return Asked(key, tags, _NOTHING, reload=False)
        return Asked(
            key,
            tags,
            {name: told[name] for name in _CONDITIONS if name in told},
            reload=self._obey_reload and b"no-cache" in told.get(b"cache-control", b"").lower(),
        )

    def seen(self, scope: Scope, *, alone: bool) -> Scope:
        """Return a request as the application is to see it.

        Args:
            scope: As it came.
            alone: Whether the response is for its sender alone; otherwise its conditions are taken
                away too, for a 304 is no page.
        """
        if alone and not self._ignore and self._query is None:
            return scope
        taken = self._ignore if alone else self._ignore | _CONDITIONS
        headers = [pair for pair in scope["headers"] if pair[0] not in taken]
        if not alone and _ENCODING in self.vary:
            headers = _reduced(headers)
        query = self._counting(scope.get("query_string") or b"")
        return {**scope, "headers": headers, "query_string": query}

    def _counting(self, query: bytes) -> bytes:
        """Return the parameters that count, sorted by name; several of one name in their order."""
        names = self._query
        if names is None or not query:
            return query
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace")
        return urlencode(sorted([p for p in pairs if p[0] in names], key=_name)).encode()

    def _variant(self, told: Mapping[bytes, bytes]) -> str:
        """Return a digest of what a request says of each header in `vary`."""
        return _digest(
            _codings(told.get(name, b"")) if name == _ENCODING else told.get(name, b"\0")
            for name in sorted(self.vary)
        )

    # -- keys and URLs --------------------------------------------------------------------------

    def _key(self, path: str, where: str, query: str) -> tuple[str, ...]:
        """Return the key of a URL: three parts; a digest of them alone where they are too long."""
        if len(path) + len(query) + len(where) > self._quick:  # it may not fit: try
            try:
                self._keyspace(("url", path, where, query, "0" * 32))
            except ConfigError:  # too long
                parts = (path, where, query)
                return (_digest(part.encode("utf-8", "surrogatepass") for part in parts),)
        return path, where, query

    def tag(self, key: tuple[str, ...]) -> tuple[str, ...]:
        """Return the tag of a URL's variants."""
        return ("url", *key)

    def named(self, urls: Iterable[str]) -> list[tuple[str, ...]]:
        """Return the keys, but for variants, of URLs, under both schemes and every host.

        Raises:
            ConfigError: No URL, or of a host that has no pages here; or the cache has pages of any
                host, so that one that nobody thought of would stay.
        """
        keys: list[tuple[str, ...]] = []
        for url in urls:
            host, path, query = self._taken_apart(url)
            if self._hosts is None:
                raise ConfigError(
                    f"{url!r} may have pages under any Host header that somebody sends; name those "
                    "that are kept: ResponseCache(hosts=['shop.example']), or delete by tags"
                )
            if host is not None and host not in self._hosts:
                raise ConfigError(
                    f"{url!r} has no pages here: those of {sorted(self._hosts)} are kept"
                )
            hosts = self._hosts if host is None else (host,)
            keys += [self._key(path, f"{s}/{h}", query) for h in hosts for s in _SCHEMES]
        return keys

    def _taken_apart(self, url: object) -> tuple[str | None, str, str]:
        """Return host, path and query of a URL as a request for it has them."""
        host, rest = None, url
        if isinstance(url, str) and not url.startswith("/") and "://" in url:
            host, slash, rest = url.partition("://")[2].partition("/")
            host, rest = host.lower(), "/" + rest if slash else "/"
        if not isinstance(rest, str) or not rest.startswith("/"):
            raise ConfigError(
                "a page is named by its URL, such as '/products/42?page=2' or "
                f"'https://shop.example/products/42', not {url!r}"
            )
        path, _, query = rest.partition("#")[0].partition("?")
        return host, unquote(path), self._counting(query.encode()).decode("latin-1")


_NOTHING: Mapping[bytes, bytes] = {}


def _name(pair: tuple[str, str]) -> str:
    return pair[0]


def _digest(parts: Iterable[bytes]) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()


def _codings(value: bytes) -> bytes:
    """Return which of the usual codings are accepted: of `Accept-Encoding` there are hundreds."""
    accepted: set[bytes] = set()
    for part in value.lower().replace(b"\n", b",").split(b","):
        coding, _, quality = part.replace(b" ", b"").partition(b";q=")
        if coding in _CODINGS and (not quality or quality.strip(b"0.")):
            accepted.add(coding)
    return b",".join(sorted(accepted))


def _reduced(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Say of `Accept-Encoding` what the key says, and nothing else.

    A strange one is read in more than one way: by `gzip;q=0` Starlette is asked for gzip, and those
    who accept none would be given what it made.
    """
    codings = _codings(b",".join(value for name, value in headers if name == _ENCODING))
    rest = [pair for pair in headers if pair[0] != _ENCODING]
    return [*rest, (_ENCODING, codings)] if codings else rest


def _listed(names: Any, option: str) -> list[str]:
    if isinstance(names, str | bytes) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{option} takes a list of names, such as ['page'], not {names!r}")
    return list(cast("Iterable[str]", names))


def _headers(names: Collection[str], option: str) -> frozenset[bytes]:
    return frozenset(name.lower().encode("latin-1") for name in _listed(names, option))


def _checked_hosts(hosts: Collection[str]) -> frozenset[str]:
    listed = _listed(hosts, "hosts")
    if not listed or any("/" in host or "*" in host for host in listed):
        raise ConfigError(f"hosts takes Host headers, such as ['shop.example'], not {hosts!r}")
    return frozenset(host.lower() for host in listed)
