"""A cache of whole responses before a real HTTP server: what is kept, for whom, and until when."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from fastapi import BackgroundTasks, Cookie, FastAPI, Header, HTTPException, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from millpond import CachePolicy, Client, ConfigError, NearCache, cache_mode
from millpond.ext.fastapi import ResponseCache, ResponseCacheMiddleware, install, tag_response
from tests.support.site import Branch, Site, Visit
from tests.support.web import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    import httpx

URL = "https://shop.example"


@pytest.fixture
def own_client(url: str) -> Client:
    return Client.from_url(url, prefix="t", hooks=[])


@asynccontextmanager
async def visiting(app: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """Serve an application under the name of the shop."""
    async with serving(app) as http:
        http.headers["host"] = "shop.example"
        yield http


class Shop:
    """A FastAPI application with a page that says how often it was made."""

    def __init__(self, client: Client, *, paths: list[str] | None = None, **options: Any) -> None:
        self.app = FastAPI()
        install(self.app, client)
        options = {"ttl": 60, "hosts": ["shop.example"], **options}
        self.pages = ResponseCache(client, "page", **options)
        self.app.add_middleware(
            ResponseCacheMiddleware, cache=self.pages, paths=paths or ["/{path:path}"]
        )
        self.made = 0

        @self.app.get("/products/{product_id}")
        async def product(product_id: int) -> dict[str, int]:
            return {"id": product_id, "made": self.number()}

    def number(self) -> int:
        self.made += 1
        return self.made


async def test_hit_is_the_response_that_was_made_with_its_age(own_client: Client) -> None:
    shop = Shop(own_client)

    @shop.app.get("/own")
    async def own() -> Response:
        return Response(b"\0\xff", 200, {"X-Own": "1", "Link": "</a>"}, "application/x-own")

    async with visiting(shop.app) as http:
        for path in ("/products/7", "/own"):
            first, second = await http.get(path), await http.get(path)
            assert second.content == first.content
            kept = dict(second.headers)
            assert int(kept.pop("age")) in (0, 1)
            for headers in (kept, made := dict(first.headers)):
                headers.pop("date")
            assert kept == made
    assert shop.made == 1


async def test_conditional_requests_are_answered_from_the_page(own_client: Client) -> None:
    shop = Shop(own_client)
    monday = "Mon, 03 Nov 2025 10:00:00 GMT"

    @shop.app.get("/dated")
    async def dated(request: Request) -> Response:
        assert "if-none-match" not in request.headers
        assert "if-modified-since" not in request.headers
        headers = {"ETag": 'W/"7"', "Last-Modified": monday, "Cache-Control": "max-age=30"}
        return PlainTextResponse(f"made {shop.number()}", headers=headers)

    async with visiting(shop.app) as http:

        async def status(path: str, **headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = await http.get(path, headers=named)
            assert (answer.content == b"") == (answer.status_code == 304)
            if answer.status_code == 304:
                assert {"etag", "date"} <= set(answer.headers)
                assert "content-type" not in answer.headers
            return answer.status_code

        assert await status("/dated", if_none_match='"other"') == 200  # and it is made
        assert await status("/dated", if_none_match='"7"') == 304
        assert await status("/dated", if_none_match='"1", W/"7"') == 304
        assert await status("/dated", if_none_match="*") == 304
        assert await status("/dated", if_none_match='"8"') == 200
        assert await status("/dated", if_modified_since=monday) == 304
        assert await status("/dated", if_modified_since="Sun, 02 Nov 2025 10:00:00 GMT") == 200
        assert await status("/dated", if_modified_since="soon") == 200
        for far in (f"Mon, 03 Nov {10**20} 10:00:00 GMT", f"{monday[:-3]}+{10**18}"):
            assert await status("/dated", if_modified_since=far) == 200
        # What If-None-Match says is stronger.
        assert await status("/dated", if_none_match='"8"', if_modified_since=monday) == 200
        tag = (await http.get("/products/1")).headers["etag"]
        assert tag.startswith('"')
        assert await status("/products/1", if_none_match=tag) == 304
        # A delete is what ends it: the tag is of the bytes.
        assert await shop.pages.delete("/products/1")
        assert await status("/products/1", if_none_match=tag) == 200
    assert shop.made == 3


async def test_head_is_answered_from_the_page_of_get_and_makes_none(own_client: Client) -> None:
    shop = Shop(own_client)
    async with visiting(shop.app) as http:
        assert (await http.head("/products/1")).status_code == 405  # FastAPI's answer
        full = await http.get("/products/1")
        head = await http.head("/products/1")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == full.headers["content-length"]
    assert head.headers["etag"] == full.headers["etag"]


async def test_other_methods_paths_and_websockets_pass(own_client: Client) -> None:
    shop = Shop(own_client, paths=["/products/{product_id}"])

    @shop.app.post("/products/{product_id}")
    async def change(product_id: int, body: dict[str, int]) -> dict[str, int]:
        return body

    @shop.app.get("/other")
    async def other() -> int:
        return shop.number()

    async with visiting(shop.app) as http:
        assert (await http.post("/products/1", json={"a": 1})).json() == {"a": 1}
        assert [(await http.get("/other")).json() for _ in range(2)] == [1, 2]
    assert shop.pages.statistics().misses == 0


async def test_each_url_has_a_page_of_its_own(own_client: Client) -> None:
    shop = Shop(own_client)

    @shop.app.get("/a/b")
    @shop.app.get("/a:b")
    @shop.app.get("/caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    async def other() -> int:
        return shop.number()

    async with visiting(shop.app) as http:
        paths = ["/a/b", "/a:b", "/a/b?", "/a/b?x=1", "/a/b?x=1&x=2", "/a/b?x=2&x=1", "/a/b?x%3D1"]
        first = [(await http.get(path)).json() for path in paths]
        assert first == [1, 2, 1, 3, 4, 5, 6]
        assert [(await http.get(path)).json() for path in paths] == first
        assert (await http.get("/caf%C3%A9")).json() == 7
        assert (await http.get("/%63af%c3%a9")).json() == 7
        assert (await http.get("/a/b", headers={"host": "evil.example"})).json() == 8
        long = "/a/b?" + "y" * 3000
        assert (await http.get(long)).json() == 9
        assert (await http.get(long)).json() == 9
        assert (await http.get(long + "y")).json() == 10


async def test_requests_that_say_who_asks_go_past_the_cache(own_client: Client) -> None:
    shop = Shop(own_client)

    @shop.app.get("/me")
    async def me(authorization: str = Header(""), user: str = Cookie("")) -> str:
        return f"{authorization}{user} {shop.number()}"

    async with visiting(shop.app) as http:
        for name, value in (("Authorization", "ann"), ("Cookie", "user=ann"), ("X-API-Key", "a")):
            first = await http.get("/me", headers={name: value})
            again = await http.get("/me", headers={name: value})
            assert first.text != again.text
        assert (await http.get("/me")).text == '" 7"'
        assert (await http.get("/me", headers={"Cookie": "user=ann"})).text == '"ann 8"'
        assert (await http.get("/me")).text == '" 7"'


async def test_users_have_pages_of_their_own_where_the_key_says_so(own_client: Client) -> None:
    shop = Shop(own_client, vary=["Authorization"])

    @shop.app.get("/me")
    async def me(response: Response, authorization: str = Header("")) -> str:
        response.headers["vary"] = "Authorization"
        return f"{authorization} {shop.number()}"

    async with visiting(shop.app) as http:

        async def ask(user: str) -> str:
            return str((await http.get("/me", headers={"Authorization": user})).json())

        assert [await ask(user) for user in ("ann", "bob", "ann", "bob")] == [
            "ann 1",
            "bob 2",
            "ann 1",
            "bob 2",
        ]
        assert await shop.pages.delete("/me")  # every user's
        assert [await ask(user) for user in ("ann", "bob")] == ["ann 3", "bob 4"]


async def test_what_is_ignored_is_hidden_from_the_application(own_client: Client) -> None:
    shop = Shop(own_client, ignore=["cookie"], query=["page", "by"])

    @shop.app.get("/list")
    async def lists(request: Request, user: str = Cookie("nobody")) -> str:
        return f"{user} {request.url.query} {shop.number()}"

    async with visiting(shop.app) as http:

        async def ask(query: str) -> str:
            return str((await http.get(f"/list{query}", headers={"Cookie": "user=ann"})).json())

        assert await ask("?page=1&by=b&by=a&utm=x") == "nobody by=b&by=a&page=1 1"
        assert await ask("?by=b&utm=y&page=1&by=a") == "nobody by=b&by=a&page=1 1"
        assert await ask("?utm=x") == "nobody  2"
        assert await ask("") == "nobody  2"
        assert await shop.pages.delete("/list?utm=z&page=1&by=b&by=a")
        assert await ask("?page=1&by=b&by=a") == "nobody by=b&by=a&page=1 3"
        assert await ask("") == "nobody  2"


async def test_hosts_that_are_not_named_go_past_the_cache(url: str) -> None:
    site = Site()
    async with Branch(url, site, hosts=["shop.example"]) as branch:
        evil = (b"host", b"evil.example")
        assert (await branch.ask("/a")).body == b"run 1"
        assert (await branch.ask("/a")).body == b"run 1"
        assert (await branch.ask("/a", evil)).body == b"run 2"
        assert await branch.cache.delete("/a", "https://shop.example/b")
        assert (await branch.ask("/a")).body == b"run 3"


async def test_url_within_a_query_is_no_host(url: str) -> None:
    site = Site()
    async with Branch(url, site) as branch:
        for number in (1, 2):
            page = await branch.ask("/go", query=b"to=https://shop.example/a")
            assert page.body == b"run %d" % number
            assert await branch.cache.delete("/go?to=https://shop.example/a")


async def test_scheme_that_is_none_of_the_web_goes_past_the_cache(url: str) -> None:
    site = Site()

    async def behind_a_proxy(scope: Any, receive: Any, send: Any) -> None:
        await branch.app({**scope, "scheme": "ws"}, receive, send)

    async with Branch(url, site) as branch:
        for number in (1, 2):
            assert (await Visit(behind_a_proxy)).body == b"run %d" % number
        assert branch.cache.statistics().misses == 0


async def test_each_host_has_pages_of_its_own_where_none_is_named(url: str) -> None:
    site = Site()
    async with Branch(url, site, hosts=None) as branch:

        async def ask(host: bytes) -> bytes:
            return (await branch.ask("/a", (b"host", host))).body

        assert await ask(b"shop.example") == await ask(b"Shop.Example") == b"run 1"
        assert await ask(b"evil.example") == await ask(b"evil.example") == b"run 2"
        assert await ask(b"shop.example") == b"run 1"


async def test_variants_are_told_apart_by_vary_and_deleted_together(url: str) -> None:
    site = Site((b"vary", b"Accept-Language, accept-encoding"))
    async with Branch(url, site, vary=["accept-language", "accept-encoding"]) as branch:

        async def ask(language: bytes, codings: bytes) -> bytes:
            headers = ((b"accept-language", language), (b"accept-encoding", codings))
            return (await branch.ask("/", *headers)).body

        assert await ask(b"de", b"gzip, br") == b"run 1"
        assert await ask(b"de", b"br;q=0.5,gzip, x") == b"run 1"
        assert await ask(b"de", b"gzip, br;q=0") == b"run 2"
        assert await ask(b"en", b"gzip, br") == b"run 3"
        assert (await branch.ask("/")).body == b"run 4"
        assert await branch.cache.delete(f"{URL}/")
        assert await ask(b"de", b"gzip, br") == b"run 5"
        assert (await branch.ask("/")).body == b"run 6"


async def test_strange_wish_for_a_coding_is_no_way_to_have_others_given_it(
    own_client: Client,
) -> None:
    shop = Shop(own_client, vary=["accept-encoding"])
    behind = FastAPI()
    behind.add_middleware(GZipMiddleware, minimum_size=10)

    @behind.get("/long")
    async def long() -> str:
        return "x" * 1000

    shop.app.mount("/behind", behind)
    async with visiting(shop.app) as http:

        async def coding(wish: str) -> str | None:
            answer = await http.get("/behind/long", headers={"Accept-Encoding": wish})
            assert answer.json() == "x" * 1000
            return answer.headers.get("content-encoding")

        for strange in ("gzip;q=0", "x-gzip", "deflate"):  # for Starlette the first two are gzip
            assert await coding(strange) is None
            assert await coding("identity") is None
            assert await shop.pages.clear()
        assert await coding("br;q=0, gzip") == "gzip"
        assert await coding("gzip") == "gzip"


async def test_header_that_is_there_twice_is_another_than_one_with_both_values(url: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        users = [value for name, value in scope["headers"] if name == b"x-user"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"|".join(users)})

    async with Branch(url, app, vary=["x-user", "accept-encoding"]) as branch:

        async def ask(*users: bytes) -> bytes:
            return (await branch.ask("/", *[(b"x-user", user) for user in users])).body

        assert await ask(b"ann", b"bob") == b"ann|bob"
        assert await ask(b"ann, bob") == b"ann, bob"
        assert await ask(b"", b"") == b"|"
        assert await ask(b"") == b""
        assert await ask() == b""


async def test_response_that_varies_by_what_is_not_in_the_key_is_not_kept_and_says_the_fix(
    url: str,
) -> None:
    site = Site((b"vary", b"cookie"), (b"vary", b"x-theme"))
    async with Branch(url, site) as branch:
        assert (await branch.ask()).body == b"run 1"
        assert (await branch.ask()).body == b"run 2"
        assert branch.reasons() == [
            "it varies with x-theme, which is not in the key: vary=['x-theme']"
        ]


async def test_tags_of_the_cache_and_of_the_handler(own_client: Client) -> None:
    def of_path(scope: Any) -> list[Any]:
        return [("path", scope["path"])]

    shop = Shop(own_client, tags=of_path)

    @shop.app.get("/author/{author_id}")
    async def author(request: Request, author_id: int) -> int:
        tag_response(request, ("author", author_id), "authors")
        return shop.number()

    async with visiting(shop.app) as http:

        async def ask() -> list[int]:
            return [(await http.get(f"/author/{n}{q}")).json() for n in (1, 2) for q in ("", "?a")]

        assert await ask() == await ask() == [1, 2, 3, 4]
        assert await shop.pages.delete_tags(("author", 1))
        assert await ask() == [5, 6, 3, 4]
        assert await shop.pages.delete_tags(("path", "/author/2"))
        assert await ask() == [5, 6, 7, 8]
        assert await shop.pages.delete_tags("authors")
        assert await ask() == [9, 10, 11, 12]
        assert await shop.pages.clear()
        assert await ask() == [13, 14, 15, 16]


async def test_handler_may_name_tags_where_no_page_is_made(own_client: Client) -> None:
    scope: dict[str, Any] = {}
    tag_response(scope, "a")
    assert scope == {}


async def test_without_paths_a_response_has_to_ask_for_it(url: str) -> None:
    site = Site()
    async with Branch(url, site, paths=None, pass_ttl=0.01) as branch:
        for said, kept in (
            (b"", False),
            (b"max-age=60", False),
            (b"public", False),
            (b"public, max-age=60", True),
            (b"s-maxage=60", True),
            (b"s-maxage=0, public, max-age=60", False),
        ):
            site.headers = [(b"cache-control", said)]
            path = f"/{said.decode()}".replace(" ", "")
            first = await branch.ask(path)
            assert ((await branch.ask(path)).body == first.body) == kept, said


async def test_response_says_for_how_long_up_to_the_ttl(url: str) -> None:
    site = Site()
    async with Branch(url, site, ttl=100) as branch:
        for said, seconds in (
            (b"max-age=10", 10),
            (b"max-age=10, s-maxage=20", 20),
            (b"max-age=1000", 100),
            (b"public", 100),
        ):
            site.headers = [(b"cache-control", said)]
            path = f"/{seconds}{len(said)}"
            await branch.ask(path)
            left = await branch.cache.pages.ttl((path, "https/shop.example", ""))
            assert left is not None
            assert seconds - 1 < left <= seconds


async def test_headers_that_can_be_read_only_once_are_kept(url: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        private = [(b"cache-control", b"private")] if scope["path"] == "/private" else []
        headers = iter([*private, (b"x-own", b"1")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"page"})

    async with Branch(url, app) as branch:
        for path in ("/", "/", "/private"):
            visit = await branch.ask(path)
            assert (visit.body, visit.headers[b"x-own"]) == (b"page", b"1")


async def test_cache_behind_a_cache_leaves_the_page_to_the_one_in_front(url: str) -> None:
    site = Site()

    async def tagged(scope: Any, receive: Any, send: Any) -> None:
        tag_response(scope, "a")
        await site(scope, receive, send)

    async with Branch(url, tagged) as branch:
        other = ResponseCache(branch.client, "other", ttl=60)
        same = ResponseCacheMiddleware(branch.app, cache=branch.cache, paths=["/"])
        front = ResponseCacheMiddleware(branch.app, cache=other, paths=["/"])
        assert (await Visit(same)).body == b"run 1"
        assert await branch.cache.delete("/")
        assert (await Visit(front)).body == b"run 2"
        assert await other.delete_tags("a")  # which the handler named for the one in front
        assert (await Visit(front)).body == b"run 3"


async def test_functions_choose_a_cache_for_each_request(own_client: Client) -> None:
    app = FastAPI()
    install(app, own_client)
    short = ResponseCache(own_client, "short", ttl=5)
    long = ResponseCache(own_client, "long", ttl=500)
    made: list[str] = []

    def choose(scope: Any) -> ResponseCache | None:
        return {"/news": short, "/about": long}.get(scope["path"])

    app.add_middleware(ResponseCacheMiddleware, cache=choose)

    @app.get("/{page}")
    async def page(page: str) -> str:
        made.append(page)
        return page

    async with visiting(app) as http:
        for path in ("/news", "/about", "/me") * 2:
            await http.get(path)
    assert made == ["news", "about", "me", "me"]
    assert (short.statistics().hits, long.statistics().hits) == (1, 1)


async def test_reload_is_obeyed_where_it_is_asked_for(url: str) -> None:
    site = Site()
    no_cache = (b"cache-control", b"no-cache")
    async with Branch(url, site) as deaf, Branch(url, site, obey_reload=True) as branch:
        assert (await branch.ask()).body == b"run 1"
        assert (await deaf.ask("/", no_cache)).body == b"run 1"
        assert (await branch.ask("/", no_cache)).body == b"run 2"
        assert (await branch.ask()).body == b"run 2"


async def test_cache_that_is_bypassed_or_disabled_is_not_there(url: str) -> None:
    site = Site()
    closed = Client.from_url(url, hooks=[])
    cache = ResponseCache(closed, "page", ttl=60)
    app = ResponseCacheMiddleware(site, cache=cache, paths=["/"])
    async with Branch(url, site) as branch:
        assert (await branch.ask()).body == b"run 1"
        for only in ((), (branch.cache.pages,), (branch.client,)):
            runs = len(site.runs)
            with cache_mode("bypass", *only):
                assert (await branch.ask()).body == b"run %d" % (runs + 1)
        with cache_mode("bypass", cache.pages):
            assert (await branch.ask()).body == b"run 1"
        with cache_mode("refresh", branch.cache.pages):
            assert (await branch.ask()).body == b"run 5"
        assert (await branch.ask()).body == b"run 5"
        branch.app = app
        with cache_mode("disable"):
            assert (await branch.ask()).body == b"run 6"


async def test_streams_files_and_background_tasks_are_kept_whole(
    own_client: Client, tmp_path: Path
) -> None:
    shop = Shop(own_client)
    file = tmp_path / "file.txt"
    file.write_bytes(b"0123456789" * 20_000)
    told: list[str] = []

    @shop.app.get("/stream")
    async def stream() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"%d," % shop.number()
            yield b"two"

        return StreamingResponse(parts())

    @shop.app.get("/file")
    async def get_file() -> FileResponse:
        shop.number()
        return FileResponse(file)

    @shop.app.get("/tasks")
    async def tasks(background: BackgroundTasks) -> int:
        background.add_task(told.append, "done")
        return shop.number()

    async with visiting(shop.app) as http:
        for path in ("/stream", "/file", "/tasks"):
            first, again = await http.get(path), await http.get(path)
            assert (again.content, again.headers["age"]) == (first.content, "0")
            assert int(again.headers["content-length"]) == len(first.content)
        part = await http.get("/file", headers={"Range": "bytes=0-4"})
        assert (part.status_code, part.content) == (206, b"01234")
    assert shop.made == 4
    assert told == ["done"]


async def test_events_arrive_one_by_one(own_client: Client) -> None:
    shop = Shop(own_client)
    go = asyncio.Event()

    @shop.app.get("/events")
    async def events() -> StreamingResponse:
        async def parts() -> AsyncGenerator[bytes]:
            yield b"data: 1\n\n"
            await go.wait()
            yield b"data: 2\n\n"

        return StreamingResponse(parts(), media_type="text/event-stream")

    async with visiting(shop.app) as http, http.stream("GET", "/events") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "data: 1"
        go.set()
        assert [line async for line in lines if line] == ["data: 2"]


async def test_client_who_closes_its_connection_ends_a_stream(own_client: Client) -> None:
    shop = Shop(own_client)
    ended = asyncio.Event()

    @shop.app.get("/events")
    async def events() -> StreamingResponse:
        async def parts() -> AsyncGenerator[bytes]:
            try:
                yield b"data: 1\n\n"
                await asyncio.Event().wait()
            finally:
                ended.set()

        return StreamingResponse(parts(), media_type="text/event-stream")

    async with visiting(shop.app) as http:
        async with http.stream("GET", "/events") as stream:
            await anext(stream.aiter_bytes())
        async with asyncio.timeout(10):
            await ended.wait()


async def test_errors_of_handlers_are_answered_as_without_a_cache(own_client: Client) -> None:
    shop = Shop(own_client, statuses=[200, 404])

    @shop.app.get("/broken")
    async def broken() -> None:
        shop.number()
        raise LookupError("broken")

    @shop.app.get("/missing/{page}")
    async def missing(page: str) -> None:
        shop.number()
        raise HTTPException(410 if page == "gone" else 404, page)

    async with visiting(shop.app) as http:
        assert [(await http.get("/broken")).status_code for _ in range(2)] == [500, 500]
        assert [(await http.get("/missing/gone")).status_code for _ in range(2)] == [410, 410]
        assert shop.made == 4
        assert [(await http.get("/missing/a")).json() for _ in range(2)] == [{"detail": "a"}] * 2
    assert shop.made == 5


async def test_compression_stands_in_front(own_client: Client) -> None:
    shop = Shop(own_client)
    shop.app.add_middleware(GZipMiddleware, minimum_size=10)

    @shop.app.get("/long")
    async def long() -> str:
        return f"{shop.number()}" + "x" * 1000

    async with visiting(shop.app) as http:
        answers = [
            await http.get("/long", headers={"Accept-Encoding": coding})
            for coding in ("gzip", "identity", "gzip")
        ]
    assert [answer.headers.get("content-encoding") for answer in answers] == ["gzip", None, "gzip"]
    assert len({answer.text for answer in answers}) == 1


async def test_page_is_read_from_memory_with_a_near_cache(url: str) -> None:
    site = Site()
    near = CachePolicy(near=NearCache())
    async with Branch(url, site, policy=near) as branch, Branch(url, site) as other:
        await branch.ask()
        await branch.ask()
        before = branch.client.statistics().commands
        assert (await branch.ask()).body == b"run 1"
        assert branch.client.statistics().commands == before
        assert await other.cache.delete(f"{URL}/")
        async with asyncio.timeout(5):
            while (await branch.ask()).body == b"run 1":
                await asyncio.sleep(0)


async def test_foreign_bytes_under_the_key_are_a_miss(url: str) -> None:
    site = Site()
    async with Branch(url, site) as branch:
        key = branch.cache.pages.key(("/", "https/shop.example", ""))
        await branch.client.call("SET", key, b"not a page", "PX", 5000)
        assert (await branch.ask()).body == b"run 1"
        assert (await branch.ask()).body == b"run 1"


async def test_encoded_slash_goes_past_the_cache(own_client: Client) -> None:
    shop = Shop(own_client)

    @shop.app.get("/files/{name:path}")
    async def files(request: Request) -> str:
        return request.scope["raw_path"].decode()

    async with visiting(shop.app) as http:
        assert (await http.get("/files/a%2Fb")).json() == "/files/a%2Fb"
        assert (await http.get("/files/a/b")).json() == "/files/a/b"
        assert (await http.get("/files/a%2Fb")).json() == "/files/a%2Fb"


@pytest.mark.parametrize("vary", [(), ("accept-language",)])
async def test_longest_path_fits_into_a_key_whatever_the_prefix(
    url: str, vary: tuple[str, ...]
) -> None:
    site = Site()
    client = Client.from_url(url, prefix="p" * 249, hooks=[])
    pages = ResponseCache(client, "page", ttl=60, hosts=["shop.example"], vary=vary)
    app = ResponseCacheMiddleware(site, cache=pages, paths=["/{path:path}"])
    async with client:
        for length in range(150, 260, 5):
            path = "/" + "\N{GRINNING FACE}" * length
            first, second = await Visit(app, path), await Visit(app, path)
            assert first.body == second.body
            assert await pages.delete(path)
            assert (await Visit(app, path)).body != first.body


async def test_any_number_of_pages_with_variants_may_be_deleted_at_once(url: str) -> None:
    paths = [f"/{number}" for number in range(60)]
    async with Branch(url, Site(), vary=["accept-language"]) as branch:
        before = [(await branch.ask(path)).body for path in paths]
        assert await branch.cache.delete(*paths)
        after = [(await branch.ask(path)).body for path in paths]
        assert not set(before) & set(after)


async def test_websocket_passes_untouched(own_client: Client) -> None:
    seen: list[tuple[object, ...]] = []

    async def inner(*given: object) -> None:
        seen.append(given)

    async def nothing(*_: object) -> Any: ...

    cache = ResponseCache(own_client, "page", ttl=60)
    app = ResponseCacheMiddleware(inner, cache=cache, paths=["/"])
    for kind in ("websocket", "lifespan"):
        scope = {"type": kind}
        await app(scope, nothing, nothing)
        assert seen.pop() == (scope, nothing, nothing)


async def test_memory_will_do_for_tests() -> None:
    site = Site((b"vary", b"accept"))
    async with Branch("memory://", site, vary=["accept"]) as branch:
        assert {(await branch.ask()).body for _ in range(3)} == {b"run 1"}
        assert await branch.cache.delete(f"{URL}/")
        assert (await branch.ask()).body == b"run 2"


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ttl": 0}, "ttl"),
        ({"hosts": []}, "hosts takes Host headers"),
        ({"hosts": ["https://shop.example"]}, "hosts takes Host headers"),
        ({"hosts": ["*.example"]}, "hosts takes Host headers"),
        ({"vary": "cookie"}, "vary takes a list of names"),
        ({"query": [1]}, "query takes a list of names"),
        ({"vary": ["Cookie"], "ignore": ["cookie"]}, "'cookie' is in vary and in ignore"),
        ({"ignore": ["host"]}, "ignore is for headers such as 'cookie'"),
        ({"max_body": 0}, "max_body must be a number of bytes"),
        ({"statuses": [206]}, "statuses takes those of whole responses"),
        ({"statuses": []}, "statuses takes those of whole responses"),
        ({"pass_ttl": 0}, "pass_ttl"),
        ({"policy": CachePolicy(error_ttl=1)}, "leave it out of a ResponseCache"),
        ({"policy": CachePolicy(none_ttl=1)}, r"write ResponseCache\(pass_ttl"),
        ({"policy": CachePolicy(jitter=6)}, "pass_ttl=5 is not above jitter=6"),
        (
            {"policy": CachePolicy(near=NearCache()), "tags": ["a"]},
            "keeps no pages with tags",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(
    own_client: Client, options: dict[str, Any], match: str
) -> None:
    options = {"ttl": 60, **options}
    with pytest.raises(ConfigError, match=match):
        ResponseCache(own_client, "page", **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"cache": None}, r"takes cache=ResponseCache\(...\)"),
        ({"paths": "/"}, "paths takes a list"),
        ({"paths": []}, "paths takes a list"),
        ({"paths": ["products"]}, "a path begins with a slash"),
        ({"paths": ["/{a:float}"]}, "a parameter is str, path, int, uuid, not 'float'"),
    ],
)
def test_middleware_refuses_what_cannot_be(
    own_client: Client, options: dict[str, Any], match: str
) -> None:
    async def inner(*_: object) -> None: ...

    options = {"cache": ResponseCache(own_client, "page", ttl=60), **options}
    with pytest.raises(ConfigError, match=match):
        ResponseCacheMiddleware(inner, **options)


@pytest.mark.parametrize(
    ("url_of_page", "match"),
    [
        ("https://other.example/", r"those of \['shop.example'\] are kept"),
        ("products", "a page is named by its URL"),
        (42, "a page is named by its URL"),
    ],
)
async def test_what_is_no_url_is_not_deleted(
    own_client: Client, url_of_page: Any, match: str
) -> None:
    cache = ResponseCache(own_client, "page", ttl=60, hosts=["Shop.example"])
    with pytest.raises(ConfigError, match=match):
        await cache.delete(cast("str", url_of_page))


async def test_urls_are_not_deleted_where_pages_of_any_host_are_kept(own_client: Client) -> None:
    cache = ResponseCache(own_client, "page", ttl=60)
    for refused in (cache.delete, cache.expire):
        with pytest.raises(ConfigError, match="under any Host header"):
            await refused("https://shop.example/")


@pytest.mark.parametrize(
    ("paths", "path", "kept"),
    [
        (["/"], "/", True),
        (["/"], "/a", False),
        (["/a.b"], "/axb", False),
        (["/p/{id}"], "/p/1", True),
        (["/p/{id}"], "/p/1/2", False),
        (["/p/{id}"], "/p/", False),
        (["/p/{id:int}"], "/p/x", False),
        (["/p/{id:path}"], "/p/1/2", True),
        (["/a", "/p/{id}/x"], "/p/1/x", True),
        (["/p/{id}"], "/p/1\n", True),
    ],
)
async def test_paths_are_written_as_those_of_routes(
    url: str, paths: list[str], path: str, kept: bool
) -> None:
    site = Site()
    async with Branch(url, site, paths=paths) as branch:
        await branch.ask(path)
        assert ((await branch.ask(path)).body == b"run 1") == kept


def test_no_framework_is_needed() -> None:
    program = (
        "import sys; sys.modules['starlette'] = sys.modules['fastapi'] = None;"
        "import millpond.ext.asgi"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
