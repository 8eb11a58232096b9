"""Handlers get caches as dependencies; and what the documentation says of FastAPI's own."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI

from millpond import Cache, Client
from millpond.ext.fastapi import inject, install
from tests.support.web import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def make_cache(client: Client) -> Cache[str]:
    return Cache(client, "name", type=str, ttl=60)


# At module level, as an application has them: FastAPI resolves annotations among globals.
own_client = Client.from_url("memory://", hooks=[])
own_names = make_cache(own_client)
Names = Annotated[Cache[str], Depends(inject(own_names))]


async def test_handler_gets_the_cache_itself_and_tests_can_replace_it() -> None:
    others: Cache[str] = Cache(own_client, "other", type=str, ttl=60)
    app = FastAPI()
    install(app, own_client)

    @app.get("/")
    async def read(names: Names) -> str:
        return names.key(1)

    async with serving(app) as http:
        assert (await http.get("/")).json() == "name:1"
        app.dependency_overrides[inject(own_names)] = inject(others)
        assert (await http.get("/")).json() == "other:1"
        app.dependency_overrides.clear()
        assert (await http.get("/")).json() == "name:1"


def test_same_cache_gives_the_same_dependency_and_another_another() -> None:
    client = Client.from_url("memory://", hooks=[])
    names, same_names = make_cache(client), make_cache(client)
    held = inject(names)
    assert inject(names) is held
    assert inject(same_names) is not held


def test_dependency_runs_on_the_event_loop_and_not_in_a_thread() -> None:
    assert inspect.iscoroutinefunction(inject(Client.from_url("memory://", hooks=[])))


def test_dependency_holds_its_cache_and_nothing_else_does() -> None:
    names = make_cache(Client.from_url("memory://", hooks=[]))
    gone = weakref.ref(names)
    held = inject(names)
    del names
    gc.collect()
    assert gone() is not None
    del held
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("missing", "advice"),
    [("fastapi", "pip install 'millpond[fastapi]'"), ("starlette", "pip install starlette")],
)
def test_import_without_the_framework_names_the_pip_command(missing: str, advice: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import millpond.ext.{missing}"
    run = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert run.stderr.rstrip().splitlines()[-1].startswith("ImportError: ")
    assert advice in run.stderr


@pytest.mark.parametrize(
    ("scope", "order"),
    [
        ("request", ["handler", "response sent", "background task", "dependency ends"]),
        ("function", ["handler", "dependency ends", "response sent", "background task"]),
    ],
)
async def test_yield_dependency_ends_after_the_handler_in_either_scope(
    scope: Any, order: list[str]
) -> None:
    log: list[str] = []
    app = FastAPI()

    async def session() -> AsyncGenerator[None]:
        yield
        log.append("dependency ends")

    @app.get("/")
    async def handle(background: BackgroundTasks, _: None = Depends(session, scope=scope)) -> None:
        background.add_task(log.append, "background task")
        log.append("handler")

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                log.append("response sent")

        await app(scope, receive, sending)

    async with serving(noting) as http:
        await http.get("/")
    assert log == order
