"""A limit in front of a whole application: what passes, what is told, what never gets in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from fastapi import Depends, FastAPI, Request
from starlette.responses import PlainTextResponse, StreamingResponse

from millpond import Client, ConfigError
from millpond.ext.fastapi import LimitMiddleware, install, limit
from millpond.limit.limiter import Limiter
from millpond.limit.policies import SlidingWindow
from tests.support.web import serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def own_client(url: str) -> Client:
    return Client.from_url(url, prefix="t", hooks=[])


def make_app(client: Client, **options: Any) -> tuple[FastAPI, Limiter]:
    app = FastAPI()
    install(app, client)
    limiter = Limiter(client, "api", SlidingWindow(3, per=60))
    app.add_middleware(LimitMiddleware, limiter=limiter, **options)
    return app, limiter


async def test_every_kind_of_answer_says_what_is_left_and_denials_never_get_in(
    own_client: Client,
) -> None:
    app, _ = make_app(own_client, legacy_headers=True)
    ran: list[int] = []

    @app.get("/own")
    async def own() -> PlainTextResponse:
        ran.append(1)
        return PlainTextResponse("own")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        def parts() -> Iterator[str]:
            yield from ("a", "b")

        return StreamingResponse(parts())

    async with serving(app) as http:
        answers = [await http.get(path) for path in ("/own", "/stream", "/none", "/own")]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 429]
    assert answers[1].text == "ab"
    assert [a.headers["RateLimit"] for a in answers] == [
        f'"window-60s";r={left};t=60' for left in (2, 1, 0, 0)
    ]
    assert {a.headers["RateLimit-Policy"] for a in answers} == {'"window-60s";q=3;w=60'}
    assert [a.headers["X-RateLimit-Remaining"] for a in answers] == ["2", "1", "0", "0"]
    assert answers[3].headers["Retry-After"] == "60"
    assert answers[3].headers["Content-Type"] == "application/problem+json"
    assert answers[3].json()["violated-policies"] == ["window-60s"]
    assert ran == [1]


async def test_skipped_requests_are_not_counted_and_functions_see_the_request(
    own_client: Client,
) -> None:
    def user(request: Request) -> str:
        return request.headers["x-user"]

    async def price(request: Request) -> int:
        return int(request.query_params.get("cost", 1))

    def is_health(request: Request) -> bool:
        return request.url.path == "/health"

    app, limiter = make_app(own_client, key=user, cost=price, skip_when=is_health)

    @app.get("/health")
    @app.get("/work")
    async def work() -> str:
        return "ok"

    async with serving(app) as http:
        health = await http.get("/health")
        assert (health.status_code, "RateLimit" in health.headers) == (200, False)
        dear = await http.get("/work?cost=2", headers={"x-user": "ann"})
        assert dear.headers["RateLimit"] == '"window-60s";r=1;t=60'
        assert (await limiter.peek("ann")).remaining == 1
        assert (await limiter.peek("bob")).remaining == 3


async def test_body_is_left_to_the_application(own_client: Client) -> None:
    app, _ = make_app(own_client)

    @app.post("/")
    async def echo(body: dict[str, int]) -> dict[str, int]:
        return body

    async with serving(app) as http:
        assert (await http.post("/", json={"a": 1})).json() == {"a": 1}


async def test_limit_of_a_route_adds_its_own_to_the_headers(own_client: Client) -> None:
    app, _ = make_app(own_client)
    route = Limiter(own_client, "route", SlidingWindow(2, per=10))

    @app.get("/", dependencies=[Depends(limit(route))])
    async def root() -> str:
        return "ok"

    async with serving(app) as http:
        answer = await http.get("/")
    assert sorted(answer.headers.get_list("RateLimit-Policy")) == [
        '"window-10s";q=2;w=10',
        '"window-60s";q=3;w=60',
    ]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_what_is_no_http_request_passes_untouched(own_client: Client, kind: str) -> None:
    limiter = Limiter(own_client, "api", SlidingWindow(3, per=60))
    seen: list[tuple[object, ...]] = []

    async def inner(*given: object) -> None:
        seen.append(given)

    async def receive() -> dict[str, str]:
        return {}

    async def send(_: object) -> None: ...

    scope = {"type": kind}
    await LimitMiddleware(inner, limiter=limiter)(scope, receive, send)
    assert seen == [(scope, receive, send)]
    assert limiter.statistics().calls == 0


def test_options_that_cannot_be_are_refused() -> None:
    async def inner(*_: object) -> None: ...

    with pytest.raises(ConfigError, match="takes a Limiter"):
        LimitMiddleware(inner, limiter=cast("Limiter", 3))
