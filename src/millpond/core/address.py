"""Where Redis is: a URL, read once and checked.

URL parsing is redis-py's. Its options are understood where they mean something here, and
warned about where they do not, so that a URL moved over from redis-py never changes silently.
"""

from __future__ import annotations

import logging
import ssl
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from redis.asyncio.connection import parse_url

from millpond.core.durations import seconds
from millpond.errors import ConfigError

__all__ = ["Address", "Parsed", "parse"]

_log = logging.getLogger("millpond")

_LATER = {"redis+sentinel": "Sentinel", "redis+cluster": "Cluster"}
_SCHEMES = "redis://, rediss://, unix://, memory:// and embedded://"
_ESCAPES = "special characters in a password are percent-encoded, such as %2F for a slash"
_TLS = frozenset(
    [
        "ssl_keyfile",
        "ssl_certfile",
        "ssl_cert_reqs",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_ca_data",
        "ssl_check_hostname",
        "ssl_password",
    ]
)


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One server and how to log in to it; shown without the password."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None  # a unix socket, instead of host and port
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: dict[str, Any] | None = None  # redis-py's ssl_* options; None: plain

    def __str__(self) -> str:
        """Show host and port, or the socket's path."""
        return self.path or f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        """Show what str shows: a password never reaches a log."""
        return f"Address({self})"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Build the TLS context, or None for a plain connection.

        Raises:
            ConfigError: A certificate file cannot be read.
        """
        if self.tls is None:
            return None
        options = self.tls
        try:
            context = ssl.create_default_context(
                cafile=options.get("ssl_ca_certs"),
                capath=options.get("ssl_ca_path"),
                cadata=options.get("ssl_ca_data"),
            )
            if options.get("ssl_certfile"):
                context.load_cert_chain(
                    options["ssl_certfile"],
                    options.get("ssl_keyfile"),
                    options.get("ssl_password"),
                )
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"TLS for {self}: a certificate file: {error}") from error
        wanted = str(options.get("ssl_cert_reqs", "required")).lower()
        if wanted == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif str(options.get("ssl_check_hostname", "true")).lower() in {"false", "0", "no"}:
            context.check_hostname = False
        return context


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """A URL's meaning: an address or a private server, and options found in its query."""

    kind: str  # "redis", "memory", "embedded"
    address: Address | None = None
    memory_name: str = ""
    command_timeout: float | None = None
    connect_timeout: float | None = None
    name: str | None = None


def parse(url: str) -> Parsed:
    """Read a URL.

    Raises:
        ConfigError: An unknown scheme, a bad port or database, an option that cannot be.
    """
    given = cast("object", url)
    if not isinstance(given, str) or "://" not in given:
        quotable = isinstance(given, str) and "@" not in given
        shown = repr(given) if quotable else f"this {type(given).__name__}"
        raise ConfigError(
            f"{shown} is no URL; write for example redis://localhost:6379/0 (known: {_SCHEMES})"
        )
    scheme = url.split("://", 1)[0].lower()
    if scheme == "memory":
        return Parsed(kind="memory", memory_name=url.split("://", 1)[1].strip("/"))
    if scheme == "embedded":
        return Parsed(kind="embedded")
    if scheme in _LATER:
        raise ConfigError(
            f"{_LATER[scheme]} is not supported yet; give the primary's own URL, redis://host:port"
        )
    if scheme not in {"redis", "rediss", "unix"}:
        raise ConfigError(f"unknown scheme {scheme!r}:// in a Redis URL; known: {_SCHEMES}")
    return _server(url, scheme)


def _server(url: str, scheme: str) -> Parsed:
    _check(url, scheme)
    try:
        found: dict[str, Any] = dict(parse_url(url))
    except ValueError as error:
        raise ConfigError(f"the Redis URL cannot be read: {error}") from error
    found.pop("connection_class", None)
    db = found.pop("db", 0)
    tls = {key: found.pop(key) for key in list(found) if key in _TLS}
    address = Address(
        host=found.pop("host", None) or "localhost",
        port=found.pop("port", None) or 6379,
        path=found.pop("path", None),
        db=_number(db),
        username=found.pop("username", None),
        password=found.pop("password", None),
        tls=tls if scheme == "rediss" else None,
    )
    if tls and scheme != "rediss":
        raise ConfigError("TLS options in the URL need the scheme rediss://")
    if scheme == "unix" and not address.path:
        raise ConfigError("a unix:// URL needs the socket's path: unix:///run/redis.sock")
    options = Parsed(
        kind="redis",
        address=address,
        command_timeout=_duration(found, "socket_timeout"),
        connect_timeout=_duration(found, "socket_connect_timeout"),
        name=found.pop("client_name", None),
    )
    found.pop("protocol", None)
    for option in sorted(found):
        _log.warning("the Redis URL's option %r means nothing to millpond and is ignored", option)
    return options


def _check(url: str, scheme: str) -> None:
    """Refuse what redis-py's parser lets pass.

    No message quotes the URL, nor does its cause: where a password contains an unescaped `/`, `#`
    or `?`, parts of it are taken for the port, the path or the query.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError(
            f"the Redis URL cannot be read; write redis://host:6379/0 ({_ESCAPES})"
        ) from None
    if scheme == "unix":
        if parts.hostname:
            raise ConfigError(
                "a unix:// URL has three slashes before the socket's path: unix:///run/redis.sock"
            )
        return
    try:
        port = parts.port
    except ValueError:
        raise ConfigError(
            f"the Redis URL's port is no number up to 65535; write redis://host:6379/0 ({_ESCAPES})"
        ) from None
    if port == 0:
        raise ConfigError("the Redis URL's port is 0; Redis usually listens on 6379")
    path = parts.path.strip("/")
    if path and not path.isdecimal():
        raise ConfigError(
            f"the Redis URL's path is the database's number: redis://host:6379/0 ({_ESCAPES})"
        )
    try:
        (parts.hostname or "").encode("idna")
    except UnicodeError as error:
        raise ConfigError(f"the Redis URL's host {parts.hostname!r} is no name: {error}") from error


def _number(db: Any) -> int:
    try:
        number = int(db or 0)
    except ValueError:
        number = -1
    if number < 0:
        raise ConfigError(f"the database must be a number from 0, not {db!r}")
    return number


def _duration(found: dict[str, Any], option: str) -> float | None:
    value = found.pop(option, None)
    return None if value is None else seconds(value, option)
