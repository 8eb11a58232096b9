"""A client lives as long as the FastAPI application that it is installed in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.applications import Starlette

from millpond import Cache, Client, ClosedError, ConfigError
from millpond.events import Event, WireUp
from millpond.ext.fastapi import install
from millpond.testing import override
from tests.support.servers import Server
from tests.support.web import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


def make_client() -> Client:
    return Client.from_url("memory://", hooks=[])


def make_cache(client: Client) -> Cache[str]:
    return Cache(client, "name", type=str, ttl=60)


def state(client: Client) -> str:
    return client.statistics().state


class Life:
    """A lifespan that notes in which state the client is when it runs."""

    def __init__(self, client: Client, yielded: dict[str, Any] | None = None) -> None:
        self.log: list[str] = []
        self._client = client
        self._yielded = yielded

    @asynccontextmanager
    async def __call__(self, app: Any) -> AsyncGenerator[Any]:
        self.log.append(f"begin {state(self._client)}")
        yield self._yielded
        self.log.append(f"end {state(self._client)}")


async def test_client_is_open_while_the_application_runs_and_closed_after(url: str) -> None:
    client = Client.from_url(url, prefix="t")
    names = make_cache(client)
    app = FastAPI()
    install(app, client)

    async def load() -> str:
        return "kettle"

    @app.get("/")
    async def read() -> str:
        return await names.get_or_set(1, load)

    assert state(client) == "closed"
    async with serving(app) as http:
        assert (await http.get("/")).json() == "kettle"
        assert state(client) == "up"
    assert state(client) == "closed"


async def test_own_lifespan_runs_inside_the_clients() -> None:
    client = make_client()
    life = Life(client)
    app = FastAPI(lifespan=life)
    install(app, client)
    async with serving(app):
        assert life.log == ["begin up"]
    assert life.log == ["begin up", "end up"]
    assert state(client) == "closed"


async def test_lifespan_assigned_to_the_router_runs_inside_the_clients() -> None:
    client = make_client()
    life = Life(client)
    app = FastAPI()
    app.router.lifespan_context = life
    install(app, client)
    async with serving(app):
        pass
    assert life.log == ["begin up", "end up"]


async def test_startup_and_shutdown_handlers_run_inside_the_clients() -> None:
    client = make_client()
    log: list[str] = []
    app = FastAPI(on_startup=[lambda: log.append(state(client))])
    install(app, client)
    app.router.on_shutdown.append(lambda: log.append(state(client)))  # added after install
    async with serving(app):
        pass
    assert log == ["up", "up"]


async def test_routers_lifespan_runs_inside_whenever_it_is_included() -> None:
    client = make_client()
    before, after = Life(client), Life(client)
    app = FastAPI()
    app.include_router(APIRouter(lifespan=before))
    install(app, client)
    app.include_router(APIRouter(lifespan=after))
    async with serving(app):
        pass
    assert before.log == after.log == ["begin up", "end up"]


async def test_state_that_the_own_lifespan_yields_reaches_requests() -> None:
    client = make_client()
    app = FastAPI(lifespan=Life(client, {"motto": "calm"}))
    install(app, client)

    @app.get("/")
    async def read(request: Request) -> str:
        return request.state.motto

    async with serving(app) as http:
        assert (await http.get("/")).json() == "calm"


async def test_nothing_is_yielded_where_the_own_lifespan_yields_nothing() -> None:
    # A server without support for state refuses an application that yields any.
    client = make_client()
    app = FastAPI()
    install(app, client)
    async with app.router.lifespan_context(app) as yielded:
        assert yielded is None


async def test_several_clients_are_opened_and_closed_together() -> None:
    clients = [make_client(), make_client()]
    app = FastAPI()
    for client in clients:
        install(app, client)
    async with serving(app):
        assert [state(client) for client in clients] == ["up", "up"]
    assert [state(client) for client in clients] == ["closed", "closed"]


async def test_client_installed_twice_is_opened_once() -> None:
    client = make_client()
    app = FastAPI()
    install(app, client)
    app.include_router(APIRouter())  # which wraps the lifespan once more
    install(app, client)
    async with serving(app):
        assert state(client) == "up"
        install(app, client)  # even now
    assert state(client) == "closed"


async def test_installing_into_a_running_application_is_refused() -> None:
    app = FastAPI()
    async with serving(app):
        with pytest.raises(ConfigError, match="has been started"):
            install(app, make_client())


async def test_application_may_be_started_again() -> None:
    client = make_client()
    life = Life(client)
    app = FastAPI(lifespan=life)
    install(app, client)
    for _ in range(2):
        async with serving(app):
            assert state(client) == "up"
    assert life.log == ["begin up", "end up"] * 2


async def test_lifespan_may_be_left_by_another_task_than_entered_it() -> None:
    client = make_client()
    app = FastAPI()
    install(app, client)
    running = app.router.lifespan_context(app)
    await asyncio.create_task(running.__aenter__())  # pyright: ignore[reportArgumentType]
    assert state(client) == "up"
    await asyncio.create_task(running.__aexit__(None, None, None))  # pyright: ignore[reportArgumentType]
    assert state(client) == "closed"


@pytest.mark.parametrize("fails_at", ["start", "end"])
async def test_own_lifespan_that_fails_still_closes_the_client(fails_at: str) -> None:
    client = make_client()

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        if fails_at == "start":
            raise LookupError
        yield
        raise LookupError

    app = FastAPI(lifespan=life)
    install(app, client)
    with pytest.raises(LookupError):
        async with app.router.lifespan_context(app):
            assert fails_at == "end"
    assert state(client) == "closed"


async def test_application_starts_while_redis_is_down_and_caches_when_it_is_up(
    start_server: Callable[[Server], Server],
) -> None:
    up = asyncio.Event()

    def hear(event: Event) -> None:
        if isinstance(event, WireUp):
            up.set()

    server = Server()
    client = Client.from_url(server.url, hooks=[hear])
    names = make_cache(client)
    app = FastAPI()
    install(app, client)

    async def load() -> str:
        return "from the source"

    @app.get("/")
    async def read() -> str:
        return await names.get_or_set(1, load)

    async with serving(app) as http:
        assert (await http.get("/")).json() == "from the source"
        assert state(client) == "down"
        start_server(server)
        await up.wait()
        for _ in range(2):
            assert (await http.get("/")).json() == "from the source"
        assert names.statistics().hits == 1


async def test_without_install_the_error_names_it() -> None:
    with pytest.raises(ClosedError, match=r"millpond\.ext\.fastapi\.install\(app, client\)"):
        await make_cache(make_client()).get(1)


def test_what_is_no_application_is_refused() -> None:
    for other in (APIRouter(), make_client()):
        with pytest.raises(ConfigError, match=f"not {type(other).__name__}"):
            install(other, make_client())  # pyright: ignore[reportArgumentType]


async def test_starlette_application_alone_works_too() -> None:
    client = make_client()
    app = Starlette()
    install(app, client)
    async with serving(app):
        assert state(client) == "up"
    assert state(client) == "closed"


# Starlette warns that its test client will want httpx's successor.
@pytest.mark.filterwarnings("ignore:Using `httpx` with")
def test_test_client_starts_the_application_on_memory() -> None:
    import starlette.testclient  # here, since importing it warns

    client = Client.from_url("redis://127.0.0.1:1/0", hooks=[])
    names = make_cache(client)
    app = FastAPI()
    install(app, client)

    @app.put("/{name}")
    async def write(name: str) -> str | None:
        before = await names.get(1, None)
        await names.set(1, name)
        return before

    for _ in range(2):  # the second test finds nothing of the first
        # Its types come from httpx's successor, which need not be installed.
        with override(client), cast("Any", starlette.testclient.TestClient)(app) as http:
            assert http.put("/kettle").json() is None
            assert http.put("/teapot").json() == "kettle"
