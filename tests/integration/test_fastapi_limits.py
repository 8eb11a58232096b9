"""Limited routes of a FastAPI application: 429, headers, body, schema, addresses, tiers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from starlette.responses import PlainTextResponse

from millpond import Client, ConfigError
from millpond.errors import LimitExceeded
from millpond.ext.fastapi import (
    TooManyRequests,
    describe_limits,
    install,
    limit,
)
from millpond.limit.decision import Decision  # noqa: TC001  (FastAPI reads it)
from millpond.limit.limiter import Limiter
from millpond.limit.policies import SlidingWindow
from tests.support.web import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

QUOTA = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@pytest.fixture
def own_client(url: str) -> Client:
    return Client.from_url(url, prefix="t", hooks=[])


@pytest.fixture
def two(own_client: Client) -> Limiter:
    return Limiter(own_client, "api", SlidingWindow(2, per=60))


def make_app(client: Client) -> FastAPI:
    app = FastAPI()
    install(app, client)
    return app


@asynccontextmanager
async def asking(
    app: FastAPI, peer: tuple[str, int] | None = ("9.9.9.9", 5)
) -> AsyncGenerator[httpx.AsyncClient]:
    """Ask the application in process, from an address of the test's choice."""
    transport = httpx.ASGITransport(app, client=peer or ("", 0))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as http,
    ):
        yield http


async def test_denied_request_is_a_429_with_headers_and_a_problem_body(
    own_client: Client, two: Limiter
) -> None:
    app = make_app(own_client)
    ran: list[int] = []

    @app.get("/", dependencies=[Depends(limit(two, legacy_headers=True))])
    async def root() -> int:
        ran.append(1)
        return 1

    async with serving(app) as http:
        first, second, denied = [await http.get("/") for _ in range(3)]
    assert (first.status_code, second.status_code, denied.status_code) == (200, 200, 429)
    assert first.headers["RateLimit"] == '"window-60s";r=1;t=60'
    assert first.headers["RateLimit-Policy"] == '"window-60s";q=2;w=60'
    assert first.headers["X-RateLimit-Remaining"] == "1"
    assert "Retry-After" not in first.headers
    assert denied.headers["Retry-After"] == "60"
    assert denied.headers["RateLimit"] == '"window-60s";r=0;t=60'
    assert denied.headers["Content-Type"] == "application/problem+json"
    body = denied.json()
    assert 59 < body.pop("retry-after") <= 60
    assert body.pop("detail").startswith("Too many requests: try again in ")
    assert body == {
        "type": QUOTA,
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "violated-policies": ["window-60s"],
    }
    assert len(ran) == 2


async def test_limited_routes_show_429_in_the_schema_and_no_others(
    own_client: Client, two: Limiter
) -> None:
    app = make_app(own_client)
    router = APIRouter(prefix="/r", dependencies=[Depends(limit(two))])

    inner = Depends(limit(two))

    def nested(_: Any = inner) -> None: ...

    outer = Depends(nested)

    @router.get("/{item}")
    async def by_router(item: int) -> int:
        return item

    @app.post("/nested")
    async def by_nested(_: None = outer) -> int:
        return 1

    @app.get("/free")
    async def free() -> int:
        return 1

    @app.get("/own", dependencies=[Depends(limit(two))], responses={429: {"description": "mine"}})
    async def own() -> int:
        return 1

    app.include_router(router)
    paths: dict[str, Any] = {}
    for _ in range(2):
        paths = app.openapi()["paths"]
        assert "429" in paths["/r/{item}"]["get"]["responses"]
        assert "429" in paths["/nested"]["post"]["responses"]
        assert "429" not in paths["/free"]["get"]["responses"]
        assert paths["/own"]["get"]["responses"]["429"]["description"] == "mine"
    response = paths["/nested"]["post"]["responses"]["429"]
    assert set(response["headers"]) == {"Retry-After", "RateLimit", "RateLimit-Policy"}
    assert "application/problem+json" in response["content"]
    parameters = paths["/nested"]["post"].get("parameters", [])
    assert parameters == []


async def test_key_cost_and_exceptions_are_functions_of_the_request(
    own_client: Client, two: Limiter
) -> None:
    app = make_app(own_client)

    async def by_user(request: Request) -> str:
        return request.headers["x-user"]

    limited = Depends(
        limit(
            two,
            key=by_user,
            cost=lambda request: int(request.query_params.get("cost", 1)),
            skip_when=lambda request: request.headers["x-user"] == "admin",
        )
    )

    @app.get("/")
    async def root(decision: Decision | None = limited) -> int | None:
        return None if decision is None else decision.remaining

    async with asking(app) as http:

        async def get(user: str, **params: Any) -> httpx.Response:
            return await http.get("/", headers={"x-user": user}, params=params)

        assert (await get("ann", cost=2)).json() == 0
        assert (await get("ann")).status_code == 429
        assert (await get("bob")).json() == 1
        never = await get("bob", cost=3)
        assert never.status_code == 429
        assert "Retry-After" not in never.headers
        assert never.json()["retry-after"] is None
        for _ in range(4):
            skipped = await get("admin")
            assert skipped.json() is None
            assert "RateLimit" not in skipped.headers


async def test_tier_is_chosen_for_the_request(own_client: Client, two: Limiter) -> None:
    app = make_app(own_client)
    many = Limiter(own_client, "api", SlidingWindow(100, per=60))

    def tier(request: Request) -> Limiter:
        return many if request.headers.get("x-plan") == "paid" else two

    @app.get("/", dependencies=[Depends(limit(tier))])
    async def root() -> int:
        return 1

    async with asking(app) as http:
        codes = [(await http.get("/")).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        paid = await http.get("/", headers={"x-plan": "paid"})
        assert paid.headers["RateLimit"] == '"window-60s";r=97;t=60'


async def test_routes_count_together_unless_each_is_to_count_by_itself(
    own_client: Client, two: Limiter
) -> None:
    app = make_app(own_client)
    router = APIRouter(prefix="/r")
    alone = Depends(limit(Limiter(own_client, "routes", SlidingWindow(2, per=60)), per_route=True))
    shared = Depends(limit(two))

    for name in ("one", "two"):

        @router.get(f"/{name}/{{item}}", dependencies=[shared, alone])
        async def route(item: int) -> int:
            return item

    app.include_router(router, prefix="/v1")
    async with asking(app) as http:
        for path in ("/v1/r/one/1", "/v1/r/two/2"):
            assert (await http.get(path)).status_code == 200
        denied = await http.get("/v1/r/one/3")
        assert denied.status_code == 429
        assert denied.json()["violated-policies"] == ["window-60s"]
    async with own_client:
        keys = {key.decode() for key in await own_client.call("KEYS", "{t:routes:*")}
    assert keys == {
        "{t:routes:GET:/v1/r/one/%7Bitem%7D:9.9.9.9}:window-60s",
        "{t:routes:GET:/v1/r/two/%7Bitem%7D:9.9.9.9}:window-60s",
    }


async def test_limit_exceeded_of_a_handler_is_the_same_answer(
    own_client: Client, two: Limiter
) -> None:
    app = make_app(own_client)

    @app.get("/")
    async def root() -> int:
        await two.enforce("everybody", cost=2)
        return 1

    async with asking(app) as http:
        assert (await http.get("/")).status_code == 200
        denied = await http.get("/")
        assert denied.status_code == 429
        assert denied.json()["type"] == QUOTA
        assert denied.headers["Retry-After"] == "60"


async def test_applications_own_handler_is_left_in_place(own_client: Client, two: Limiter) -> None:
    app = FastAPI()

    @app.exception_handler(TooManyRequests)
    async def mine(request: Request, error: TooManyRequests) -> PlainTextResponse:
        return PlainTextResponse("slow down", 420, error.headers)

    install(app, own_client)
    describe_limits(app)

    @app.get("/", dependencies=[Depends(limit(two, cost=3))])
    async def root() -> int:
        return 1

    async with asking(app) as http:
        denied = await http.get("/")
        assert (denied.status_code, denied.text) == (420, "slow down")
    assert LimitExceeded in app.exception_handlers


async def test_without_install_a_denial_is_still_a_429_with_its_headers(
    client: Client,
) -> None:
    app = FastAPI()
    limiter = Limiter(client, "api", SlidingWindow(1, per=60))

    @app.get("/", dependencies=[Depends(limit(limiter))])
    async def root() -> int:
        return 1

    async with asking(app) as http:
        await http.get("/")
        denied = await http.get("/")
        assert denied.status_code == 429
        assert denied.headers["Retry-After"] == "60"
        assert denied.json()["detail"].startswith("Too many requests")


async def test_full_concurrency_limit_in_a_handler_is_a_429_with_a_problem_body(
    own_client: Client, two: Limiter
) -> None:
    app = make_app(own_client)

    @app.get("/")
    async def root() -> int:
        async with two.concurrency("everybody", 1), two.concurrency("everybody", 1):
            return 1

    async with asking(app) as http:
        denied = await http.get("/")
        assert denied.status_code == 429
        assert denied.headers["Retry-After"] == "10"
        assert denied.json()["violated-policies"] == ["concurrency"]
        assert denied.json()["detail"].startswith("Too many requests: try again in")


async def test_request_that_never_fits_is_told_so(own_client: Client, two: Limiter) -> None:
    app = make_app(own_client)

    @app.get("/", dependencies=[Depends(limit(two, cost=3))])
    async def root() -> int:
        return 1

    async with asking(app) as http:
        denied = await http.get("/")
        assert denied.json()["detail"] == "This request costs more than the limit ever allows."
        assert denied.json()["violated-policies"] == ["window-60s"]


async def test_blocked_client_is_told_that_nothing_is_left(
    own_client: Client, two: Limiter
) -> None:
    app = make_app(own_client)

    @app.get("/", dependencies=[Depends(limit(two, legacy_headers=True))])
    async def root() -> int:
        return 1

    async with asking(app) as http:
        await two.block("9.9.9.9", 300)
        for _ in range(2):
            denied = await http.get("/")
            assert denied.status_code == 429
            assert denied.json()["violated-policies"] == ["block"]
            assert denied.headers["RateLimit"] in {f'"window-60s";r=0;t={t}' for t in (300, 301)}
            assert denied.headers["X-RateLimit-Remaining"] == "0"


async def test_older_headers_of_several_limits_tell_of_the_tightest(
    own_client: Client, two: Limiter
) -> None:
    app = make_app(own_client)
    wide = Limiter(own_client, "wide", SlidingWindow(50, per=60, name="wide"))
    for path, order in (("/a", (two, wide)), ("/b", (wide, two))):

        @app.get(path, dependencies=[Depends(limit(one, legacy_headers=True)) for one in order])
        async def root() -> int:
            return 1

    async with asking(app) as http:
        for path in ("/a", "/b"):
            headers = (await http.get(path)).headers
            assert headers.get_list("X-RateLimit-Limit") == ["2"]
            assert len(headers.get_list("X-RateLimit-Remaining")) == 1
            assert len(headers.get_list("RateLimit")) == 2


async def test_limiter_may_be_looked_up_first(own_client: Client, two: Limiter) -> None:
    app = make_app(own_client)

    async def tier(request: Request) -> Limiter:
        return two

    @app.get("/", dependencies=[Depends(limit(tier))])
    async def root() -> int:
        return 1

    async with asking(app) as http:
        assert [(await http.get("/")).status_code for _ in range(3)] == [200, 200, 429]


async def test_websocket_is_limited_where_it_is_opened(own_client: Client, two: Limiter) -> None:
    """A limit of the whole application is asked for WebSockets, too."""
    app = FastAPI(dependencies=[Depends(limit(two, per_route=True))])
    install(app, own_client)

    @app.websocket("/ws/{room}")
    async def ws(websocket: WebSocket, room: str) -> None:
        await websocket.accept()
        await websocket.close()

    async def opened() -> list[Any]:
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/ws/1",
            "raw_path": b"/ws/1",
            "query_string": b"",
            "headers": [],
            "client": ("9.9.9.9", 5),
            "extensions": {"websocket.http.response": {}},
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return sent

    async with app.router.lifespan_context(app):
        for _ in range(2):
            assert [message["type"] for message in await opened()] == [
                "websocket.accept",
                "websocket.close",
            ]
        denied = (await opened())[0]
        assert (denied["type"], denied["status"]) == ("websocket.http.response.start", 429)
        assert (b"retry-after", b"60") in denied["headers"]
        assert await own_client.call(
            "EXISTS", two.key(("WEBSOCKET", "/ws/{room}", "9.9.9.9")) + ":window-60s"
        )


@pytest.mark.parametrize(
    "options",
    [{"cost": 0}, {"cost": -1}, {"cost": True}, {"cost": 1.5}, {"key": "ann"}, {"skip_when": True}],
)
def test_options_that_cannot_be_are_refused_where_the_route_is_declared(options: Any) -> None:
    limiter = Limiter(Client.from_url("memory://"), "api", SlidingWindow(1, per=60))
    with pytest.raises(ConfigError):
        limit(limiter, **options)


def test_limit_of_what_is_no_limiter_is_refused() -> None:
    wrong: Any = SlidingWindow(1, per=60)
    with pytest.raises(ConfigError, match="takes a Limiter"):
        limit(wrong)


@pytest.fixture(autouse=True)
async def _closed(own_client: Client) -> AsyncIterator[None]:
    yield
    await own_client.aclose()
