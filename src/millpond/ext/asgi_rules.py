"""What RFC 9111 lets a shared cache keep, and for how long: pure, of a response's head alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["Ruling", "Terms", "rule"]

_SERVER_ERROR = 500


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a cache asks of a response.

    Attributes:
        ttl: Seconds that it is kept at most, and if it does not say how long.
        shortest: Seconds; what may be kept no longer than this is not kept.
        statuses: Those that are kept.
        told_apart: Request headers that `Vary` may name.
        max_body: Bytes.
        stale: Whether what is kept may be served when it is no longer fresh.
    """

    ttl: float
    shortest: float
    statuses: frozenset[int]
    told_apart: frozenset[bytes]
    max_body: int
    stale: bool


class Ruling(msgspec.Struct, frozen=True):
    """What becomes of a response.

    Attributes:
        ttl: Seconds to keep it for; 0: it is not kept.
        age: Seconds that it says it is old.
        reason: Why it is not kept.
        shared: Whether it may be given to others who asked for the same, though it is not kept:
            an error of the server, of which nothing else says that it is somebody's own.
        size: Bytes of the body that it announces; -1: it does not.
    """

    ttl: float
    age: int = 0
    reason: str = ""
    shared: bool = False
    size: int = -1


def rule(
    status: int, headers: Iterable[Sequence[bytes]], terms: Terms, *, must_ask: bool
) -> Ruling:
    """Say what becomes of a response, of which the head is known.

    Args:
        status: Its status.
        headers: As the application sent them.
        terms: The cache's.
        must_ask: Whether it is kept only if it asks for that itself: `s-maxage`, or `public` with
            `max-age`.
    """
    told: dict[bytes, bytes] = {}
    for name, value in headers:
        known = name.lower()
        told[known] = told[known] + b"," + value if known in told else value
    said = _directives(told.get(b"cache-control", b""))
    age = _seconds(told.get(b"age"), 0)
    size = _seconds(told.get(b"content-length"), -1)
    own = _own(told, said, terms.told_apart)
    if not own and size > terms.max_body:
        own = f"its body of {size} bytes is more than max_body={terms.max_body}"
    if own:
        return Ruling(0, age, own)
    if status not in terms.statuses:
        failed = status >= _SERVER_ERROR
        return Ruling(0, age, f"its status is {status}", shared=failed, size=size)
    reason, ttl = _lifetime(told, said, age, terms, must_ask=must_ask)
    return Ruling(ttl, age, reason, size=size)


def _own(told: dict[bytes, bytes], said: dict[bytes, bytes], told_apart: Collection[bytes]) -> str:
    """Say why a response is for nobody but who asked, if it is."""
    if b"set-cookie" in told:
        return "it sets a cookie"
    for word in (b"no-store", b"private", b"no-cache"):
        if word in said:
            return f"Cache-Control says {word.decode()}"
    if told.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
        return "it is a stream of events"
    for name in told.get(b"vary", b"").lower().split(b","):
        varies = name.strip()
        if varies == b"*":
            return "it varies with everything (Vary: *)"
        if varies and varies not in told_apart:
            header = varies.decode("latin-1")
            return f"it varies with {header}, which is not in the key: vary=[{header!r}]"
    return ""


def _lifetime(
    told: dict[bytes, bytes],
    said: dict[bytes, bytes],
    age: int,
    terms: Terms,
    *,
    must_ask: bool,
) -> tuple[str, float]:
    """Return seconds, or why it is not to be kept."""
    if terms.stale and (b"must-revalidate" in said or b"proxy-revalidate" in said):
        return "it must not be served stale, and the cache's policy would", 0
    own = said.get(b"s-maxage", said.get(b"max-age"))
    if must_ask and not (b"s-maxage" in said or (b"max-age" in said and b"public" in said)):
        return "it does not say that it may be kept: Cache-Control: s-maxage=60", 0
    if own is None:
        if b"expires" in told:
            return "it says Expires and no max-age", 0
        return "", terms.ttl
    ttl = min(terms.ttl, float(_seconds(own, 0) - age))
    if ttl <= terms.shortest:
        return f"it is fresh for {max(ttl, 0):g} s", 0
    return "", ttl


def _directives(value: bytes) -> dict[bytes, bytes]:
    """Take apart a `Cache-Control`; of one that is said twice the smaller number counts.

    Semicolons are wrong there, and common: `private; max-age=60` is meant to be private.
    """
    said: dict[bytes, bytes] = {}
    for part in value.lower().replace(b";", b",").split(b",") if value else ():
        word, _, argument = part.partition(b"=")
        word, argument = word.strip(), argument.strip().strip(b'"')
        if word and (word not in said or _seconds(argument, 0) < _seconds(said[word], 0)):
            said[word] = argument
    return said


def _seconds(value: bytes | None, default: int) -> int:
    """Read a number; what is none is 0, so that nothing is kept for being unreadable."""
    if value is None:
        return default
    digits = value.strip()
    return int(digits) if digits.isdigit() and len(digits) < 19 else 0
