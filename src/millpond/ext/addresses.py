"""Whom a request comes from, for limits: an address that its sender cannot choose.

`X-Forwarded-For` is a list to whose left end everybody may write what they like; each proxy adds,
at the right, the address that it saw. With a stated number of proxies of your own, the entry that
the outermost of them added is the one that counts, and nothing left of it is looked at.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection

__all__ = ["client_address"]

UNKNOWN = "unknown"
"""The key of requests that come over a Unix socket and through no trusted proxy."""


def client_address(
    *, trusted_hops: int = 0, ipv6_prefix: int = 64
) -> Callable[[HTTPConnection], str]:
    """Make a key function: the client's address.

    Args:
        trusted_hops: How many proxies of your own stand before the application, each of which
            appends to `X-Forwarded-For`. Default 0: the header is not looked at, and the address
            is the connection's. Too many, and a client can choose its address; too few, and all
            clients are one. Leave it at 0 behind `uvicorn --proxy-headers`, which has put the
            client's address in place already.
        ipv6_prefix: IPv6 addresses that share so many bits are one client. Default 64: what a
            household or a server is given, and could otherwise walk through.

    Returns:
        A function from the request to the key; `"unknown"` for a connection without an address.

    Raises:
        ConfigError: No such number.
    """
    if type(trusted_hops) is not int or not 0 <= trusted_hops <= 100:
        raise ConfigError(f"trusted_hops must be an int from 0 to 100, not {trusted_hops!r}")
    if type(ipv6_prefix) is not int or not 16 <= ipv6_prefix <= 128:
        raise ConfigError(f"ipv6_prefix must be an int from 16 to 128, not {ipv6_prefix!r}")

    def address(request: HTTPConnection) -> str:
        client = request.scope.get("client")  # `request.client` would make a named tuple of it
        peer = client[0] if client else ""
        if trusted_hops:
            given = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
            if len(given) >= trusted_hops:
                found = _client(given[-trusted_hops], ipv6_prefix)
                if found is not None:
                    return found
            # Fewer entries than proxies: it came some other way, and says what it likes.
        return _client(peer, ipv6_prefix) or peer or UNKNOWN

    return address


@lru_cache(maxsize=4096)  # reading an address takes longer than all the rest of a hit
def _client(text: str, prefix: int) -> str | None:
    """Read an address as proxies write it: also `1.2.3.4:5678`, `[::1]` and `[::1]:5678`."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif prefix < 128:
            return str(IPv6Network((found, prefix), strict=False))
    return str(found)
