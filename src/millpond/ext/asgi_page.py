"""A response as it is kept, and how it is sent: two messages, before anybody has routed anything.

What must stay true: *a page says the same to everybody*. It holds no `Set-Cookie`, nothing about a
connection, and no age; the age is told anew with every hit, by the clock of who sends it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ASGIApp", "Message", "Page", "Receive", "Scope", "Send", "made", "send_page"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_OK = 200
_NO_CONTENT = 204
_NOT_MODIFIED = 304
# Of one connection (RFC 9110, 7.6.1), or told anew with every hit.
_NOT_KEPT = frozenset(
    (
        b"age",
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# What a 304 repeats (RFC 9110, 15.4.5); the rest is in the copy that it confirms.
_CONFIRMED = frozenset(
    (b"cache-control", b"content-location", b"date", b"etag", b"expires", b"vary")
)
_MADE_OF = frozenset((b"content-type", b"content-encoding", b"content-language"))


class Page(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A whole response: what a hit reads, and nothing that has to be made of it.

    Attributes:
        status: The status.
        headers: Names in lower case, with `content-length` and `etag`.
        body: The body.
        born: When it was made, in seconds since the epoch, by the clock of who made it.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    born: float


def made(status: int, headers: Iterable[Sequence[bytes]], body: bytes, age: int) -> Page:
    """Make a page of what an application has sent.

    Without an `ETag` of its own it gets a strong one, of its bytes and what they are: the same in
    every process, and another after any change.

    Args:
        status: The status.
        headers: As the application sent them.
        body: All of it.
        age: Seconds that it says it is old already.
    """
    kept = [(name.lower(), value) for name, value in headers if name.lower() not in _NOT_KEPT]
    names = {name for name, _ in kept}
    if b"content-length" not in names and status != _NO_CONTENT:
        kept.append((b"content-length", b"%d" % len(body)))
    if b"etag" not in names:
        digest = blake2b(body, digest_size=16)
        for name, value in kept:
            if name in _MADE_OF:
                digest.update(b"\0" + name + b"\0" + value)
        kept.append((b"etag", b'"%s"' % digest.hexdigest().encode()))
    return Page(status, tuple(kept), body, time.time() - age)


async def send_page(
    page: Page, asked: Mapping[bytes, bytes], send: Send, *, fresh: bool = False, head: bool = False
) -> None:
    """Send a page, or 304 to who has it already.

    Args:
        page: The page.
        asked: The request's conditions, by name.
        send: Where to.
        fresh: Whether it was made for this very request, and has no age but what it came with.
        head: Whether to leave out the body.
    """
    headers: list[tuple[bytes, bytes]] = [*page.headers]
    status, body = page.status, b"" if head else page.body
    if asked and status == _OK and _has_it(page, asked):
        status, body = _NOT_MODIFIED, b""
        headers = [pair for pair in headers if pair[0] in _CONFIRMED]
    age = max(0, int(time.time() - page.born))
    if age or not fresh:
        headers.append((b"age", b"%d" % age))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _has_it(page: Page, asked: Mapping[bytes, bytes]) -> bool:
    """Tell whether the request's conditions say that its sender has this page (RFC 9110, 13.2)."""
    tags = asked.get(b"if-none-match")
    if tags is not None:
        own = _header(page, b"etag").removeprefix(b"W/")
        return tags.strip() == b"*" or own in [
            tag.strip().removeprefix(b"W/") for tag in tags.split(b",")
        ]
    since = asked.get(b"if-modified-since")
    modified = _header(page, b"last-modified")
    if since is None or not modified:
        return False
    try:
        return parsedate_to_datetime(modified.decode()) <= parsedate_to_datetime(since.decode())
    except (ValueError, TypeError, OverflowError):  # no date; or only one of them has a zone
        return False


def _header(page: Page, name: bytes) -> bytes:
    return next((value for known, value in page.headers if known == name), b"")
