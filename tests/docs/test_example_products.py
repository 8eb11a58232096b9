"""The example application does what its comments say, and its late variant goes stale."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.servers import Server
from tests.support.web import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

KETTLE = {"name": "kettle", "price": 3900}
CHEAPER = {"name": "kettle", "price": 2900}


@pytest.fixture
def example(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> Iterator[Callable[[str], Any]]:
    """Import modules of the example afresh: they read the environment as they are imported."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    monkeypatch.setenv("PRODUCTS_DB", str(tmp_path / "products.db"))
    monkeypatch.setenv("MILLPOND_URL", url)
    yield lambda module: importlib.import_module(f"products.{module}")
    for name in [name for name in sys.modules if name.split(".")[0] == "products"]:
        del sys.modules[name]


async def get(http: httpx.AsyncClient, product_id: int = 1) -> Any:
    response = await http.get(f"/products/{product_id}")
    assert response.status_code == 200
    return response.json()


async def put(http: httpx.AsyncClient, product: dict[str, Any], at: str = "/products/1") -> None:
    response = await http.put(at, json=product)
    assert response.status_code == 200
    assert response.json() == product


# -- as it should be -------------------------------------------------------------------------


async def test_second_read_is_a_hit_and_a_read_after_a_write_is_fresh(
    example: Callable[[str], Any],
) -> None:
    application = example("app")
    async with serving(application.app) as http:
        assert await get(http) == KETTLE
        assert await get(http) == KETTLE
        counted = application.products.statistics()
        assert (counted.loads, counted.hits) == (1, 1)
        await put(http, CHEAPER)
        assert await get(http) == CHEAPER
        assert application.products.statistics().loads == 2


async def test_hundred_concurrent_reads_are_one_load(
    example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    application = example("app")
    arrived, everybody, count = 0, asyncio.Event(), 100
    read = application.database.read

    async def read_when_all_have_come(product_id: int) -> Any:
        await everybody.wait()
        return await read(product_id)

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        nonlocal arrived
        arrived += scope["type"] == "http"
        if arrived == count:
            everybody.set()
        await application.app(scope, receive, send)

    monkeypatch.setattr(application.database, "read", read_when_all_have_come)
    async with serving(counting) as http:
        assert await asyncio.gather(*(get(http) for _ in range(count))) == [KETTLE] * count
    assert application.products.statistics().loads == 1


async def test_write_is_committed_before_its_delete_is_sent(
    example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    application = example("app")
    delete, committed = application.products.delete, list[Any]()

    async def looking(product_id: int) -> bool:
        committed.append((await application.database.read(product_id)).model_dump())
        return await delete(product_id)

    monkeypatch.setattr(application.products, "delete", looking)
    async with serving(application.app) as http:
        await put(http, CHEAPER)
    assert committed == [CHEAPER]


async def test_missing_product_is_404_from_the_cache_until_it_is_written(
    example: Callable[[str], Any],
) -> None:
    application = example("app")
    async with serving(application.app) as http:
        for _ in range(2):
            assert (await http.get("/products/42")).status_code == 404
        assert application.products.statistics().loads == 1
        await put(http, KETTLE, "/products/42")
        assert await get(http, 42) == KETTLE


@pytest.mark.parametrize("bad", ["0", "-1", "x", str(2**63)])
async def test_id_that_cannot_be_one_is_422(example: Callable[[str], Any], bad: str) -> None:
    async with serving(example("app").app) as http:
        assert (await http.get(f"/products/{bad}")).status_code == 422


async def test_handlers_go_on_from_the_database_when_redis_is_gone(
    example: Callable[[str], Any],
    start_server: Callable[[Server], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis = start_server(Server())
    monkeypatch.setenv("MILLPOND_URL", redis.url)
    application = example("app")
    async with serving(application.app) as http:
        assert await get(http) == KETTLE
        redis.kill()
        assert await get(http) == KETTLE
        await put(http, CHEAPER)
        assert await get(http) == CHEAPER
        assert (await http.get("/products/42")).status_code == 404
        counted = application.products.statistics()
        assert counted.unleased_loads == 3
        assert counted.unconfirmed_deletes == 1


def test_documented_command_starts_it_on_a_private_server(tmp_path: Path) -> None:
    command = "-m uvicorn products.app:app --app-dir docs/examples --port 0 --no-access-log"
    inherited = {name: value for name, value in os.environ.items() if "MILLPOND" not in name}
    with subprocess.Popen(
        [sys.executable, *command.split()],
        cwd=EXAMPLES.parents[1],
        env=inherited | {"PRODUCTS_DB": str(tmp_path / "products.db")},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "Uvicorn running on" not in said:
                line = process.stderr.readline()
                assert line, f"it ended: {said}"
                said += line
            address = said.split("Uvicorn running on ")[1].split()[0]
            with httpx.Client(base_url=address, trust_env=False, timeout=20) as http:
                assert http.get("/products/1").json() == KETTLE
                assert http.put("/products/1", json=CHEAPER).json() == CHEAPER
                assert http.get("/products/1").json() == CHEAPER
        finally:
            process.terminate()
        said += process.stderr.read()
    assert "Application shutdown complete" in said
    assert "Traceback" not in said


# -- and as it should not --------------------------------------------------------------------


class Gate:
    """Stands in for the late application's session and holds its commit back."""

    def __init__(self, session: Callable[[], Any]) -> None:
        self.reached, self.opened, self.committed = (asyncio.Event() for _ in range(3))
        self._session = asynccontextmanager(session)

    async def __call__(self) -> AsyncGenerator[Any]:
        async with self._session() as transaction:
            yield transaction
            self.reached.set()
            await self.opened.wait()
        self.committed.set()


async def test_late_commit_goes_stale_after_its_response(example: Callable[[str], Any]) -> None:
    late = example("late_commit")
    gate = Gate(late.session)
    late.app.dependency_overrides[late.session] = gate.__call__
    async with serving(late.app) as http:
        assert await get(http) == KETTLE
        # 1. The handler writes, deletes and returns; the response is sent; nothing is committed.
        await put(http, CHEAPER)
        # 2. A reader misses, loads the row as it was, and stores it: no delete follows.
        assert await get(http) == KETTLE
        # 3. The session commits.
        gate.opened.set()
        await gate.committed.wait()
        # 4. The database has the new product; the cache gives the old one, for its whole TTL.
        assert (await late.database.read(1)).model_dump() == CHEAPER
        assert await get(http) == KETTLE
        assert await late.client.call("TTL", "shop:product:1") > 290


async def test_late_commit_goes_stale_in_function_scope_too(example: Callable[[str], Any]) -> None:
    late = example("late_commit")
    gate = Gate(late.session)
    late.app.dependency_overrides[late.session] = gate.__call__
    async with serving(late.app) as http:
        writing = asyncio.create_task(put(http, CHEAPER, "/function-scope/products/1"))
        await gate.reached.wait()
        assert await get(http) == KETTLE  # between the delete and the commit
        assert not writing.done()  # the response waits for the commit
        gate.opened.set()
        await writing
        assert await get(http) == KETTLE


async def test_committed_before_the_delete_the_same_reader_does_no_harm(
    example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A reader that loaded before the commit, and whose load ends after the delete: it returns
    # the old product, as it may, since it began before the write ended, and stores nothing.
    application = example("app")
    loaded, go_on = asyncio.Event(), asyncio.Event()
    read = application.database.read

    async def slow_read(product_id: int) -> Any:
        product = await read(product_id)
        loaded.set()
        await go_on.wait()
        return product

    monkeypatch.setattr(application.database, "read", slow_read)
    async with serving(application.app) as http:
        early = asyncio.create_task(get(http))
        await loaded.wait()
        await put(http, CHEAPER)
        go_on.set()
        assert await early == KETTLE
        assert application.products.statistics().refused_fills == 1
        assert await get(http) == CHEAPER
        assert await get(http) == CHEAPER
