"""What a shared cache may keep, by a response's head: RFC 9111, line by line."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from millpond.ext.asgi_page import Page, made, send_page
from millpond.ext.asgi_rules import Ruling, Terms, rule

TERMS = Terms(
    ttl=100.0,
    shortest=0.0,
    statuses=frozenset((200, 404)),
    told_apart=frozenset((b"cookie", b"accept-language")),
    max_body=1000,
    stale=False,
)


def ruled(
    *headers: tuple[bytes, bytes], status: int = 200, terms: Terms = TERMS, must_ask: bool = False
) -> Ruling:
    return rule(status, headers, terms, must_ask=must_ask)


def said(value: bytes, *, must_ask: bool = False) -> float:
    return ruled((b"cache-control", value), must_ask=must_ask).ttl


@pytest.mark.parametrize(
    ("value", "ttl"),
    [
        (b"", 100),
        (b"public", 100),
        (b"max-age=10", 10),
        (b"max-age=1000", 100),
        (b"MAX-AGE = 10", 10),
        (b'max-age="10"', 10),
        (b"max-age=10, s-maxage=20", 20),
        (b"s-maxage=20, max-age=0", 20),
        (b"max-age=30, max-age=10", 10),
        (b"max-age=10, max-age=30", 10),
        (b"s-maxage=0, max-age=10", 0),
        (b"max-age=0", 0),
        (b"max-age=-1", 0),
        (b"max-age=soon", 0),
        (b"max-age", 0),
        (b"max-age=" + b"9" * 30, 0),
        (b"no-store", 0),
        (b"private", 0),
        (b'private="x-user", max-age=10', 0),
        (b"private; max-age=10", 0),
        (b"max-age=10;no-store", 0),
        (b"max-age=10; public", 10),
        (b"no-cache, max-age=10", 0),
        (b'no-cache="set-cookie"', 0),
        (b"public, No-Store", 0),
        (b"must-revalidate, max-age=10", 10),
        (b",,=,max-age=5,", 5),
    ],
)
def test_cache_control_says_for_how_long(value: bytes, ttl: float) -> None:
    assert said(value) == ttl


def test_cache_control_in_two_lines_is_one() -> None:
    assert ruled((b"cache-control", b"max-age=10"), (b"Cache-Control", b"private")).ttl == 0


@pytest.mark.parametrize(
    ("value", "ttl"),
    [
        (b"", 0),
        (b"public", 0),
        (b"max-age=10", 0),
        (b"public, max-age=10", 10),
        (b"s-maxage=10", 10),
    ],
)
def test_what_must_ask_is_kept_only_if_it_does(value: bytes, ttl: float) -> None:
    assert said(value, must_ask=True) == ttl


def test_age_of_a_response_that_comes_from_a_cache_is_taken_off() -> None:
    ruling = ruled((b"cache-control", b"max-age=10"), (b"age", b"4"))
    assert (ruling.ttl, ruling.age) == (6, 4)
    assert ruled((b"cache-control", b"max-age=10"), (b"age", b"10")).ttl == 0


def test_expires_without_max_age_is_not_kept() -> None:
    assert ruled((b"expires", b"0")).ttl == 0
    assert ruled((b"expires", b"0"), (b"cache-control", b"max-age=10")).ttl == 10


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ((b"set-cookie", b"a=b"), False),
        ((b"Set-Cookie", b"a=b"), False),
        ((b"vary", b"*"), False),
        ((b"vary", b"Cookie, Accept-Language"), True),
        ((b"vary", b"Cookie,,"), True),
        ((b"vary", b"Cookie, X-Theme"), False),
        ((b"content-type", b"text/event-stream; charset=utf-8"), False),
        ((b"content-length", b"1000"), True),
        ((b"content-length", b"1001"), False),
    ],
)
def test_headers_keep_a_response_out(header: tuple[bytes, bytes], kept: bool) -> None:
    ruling = ruled(header)
    assert bool(ruling.ttl) == kept
    assert bool(ruling.reason) != kept


@pytest.mark.parametrize(
    ("status", "kept", "shared"),
    [(200, True, False), (404, True, False), (301, False, False), (500, False, True)],
)
def test_status_decides_who_is_given_it(status: int, kept: bool, shared: bool) -> None:
    ruling = ruled(status=status)
    assert (bool(ruling.ttl), ruling.shared) == (kept, shared)
    assert not ruled((b"set-cookie", b"a=b"), status=status).shared


def test_what_must_not_be_stale_is_not_kept_where_the_policy_would_serve_it() -> None:
    terms = msgspec.structs.replace(TERMS, stale=True)
    for word in (b"must-revalidate", b"proxy-revalidate"):
        assert ruled((b"cache-control", word), terms=terms).ttl == 0
    assert ruled((b"cache-control", b"max-age=10"), terms=terms).ttl == 10


def test_what_the_jitter_would_use_up_is_not_kept() -> None:
    terms = msgspec.structs.replace(TERMS, shortest=5.0)
    assert ruled((b"cache-control", b"max-age=5"), terms=terms).ttl == 0
    assert ruled((b"cache-control", b"max-age=6"), terms=terms).ttl == 6


# -- pages -----------------------------------------------------------------------------------------


def test_headers_of_a_connection_are_not_kept() -> None:
    page = made(
        200,
        [(b"Connection", b"close"), (b"Age", b"3"), (b"X-Own", b"1"), (b"transfer-encoding", b"x")],
        b"abc",
        age=3,
    )
    names = [name for name, _ in page.headers]
    assert names == [b"x-own", b"content-length", b"etag"]
    assert 2 < time.time() - page.born < 4


def test_etag_is_of_the_bytes_and_of_what_they_are() -> None:
    def etag(body: bytes, *headers: tuple[bytes, bytes]) -> bytes:
        return dict(made(200, headers, body, 0).headers)[b"etag"]

    html, text = (b"content-type", b"text/html"), (b"content-type", b"text/plain")
    assert etag(b"a", html) == etag(b"a", html, (b"x-other", b"1"))
    assert len({etag(b"a", html), etag(b"b", html), etag(b"a", text), etag(b"a")}) == 4
    assert etag(b"a", (b"ETag", b'W/"7"')) == b'W/"7"'


def test_no_content_has_no_length() -> None:
    assert b"content-length" not in dict(made(204, [], b"", 0).headers)


async def test_page_that_came_from_another_cache_says_how_old_it_is_at_once() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await send_page(made(200, [(b"age", b"4")], b"", 4), {}, send, fresh=True)
    await send_page(made(200, [], b"", 0), {}, send, fresh=True)
    ages = [dict(message["headers"]).get(b"age") for message in sent if "headers" in message]
    assert ages == [b"4", None]


async def test_a_clock_that_is_behind_makes_no_negative_age() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await send_page(Page(200, (), b"", time.time() + 50), {}, send)
    assert sent[0]["headers"] == [(b"age", b"0")]
