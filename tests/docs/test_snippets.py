"""Every snippet of the documentation is a file that runs, and every file is shown somewhere."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import millpond
from millpond.testing import override
from tests.support.site import Visit
from tests.support.web import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SNIPPETS = DOCS / "snippets"
PAGES = [*(page for page in DOCS.rglob("*.md") if "_build" not in page.parts), ROOT / "README.md"]

KETTLE = {"name": "kettle", "price": 3900}
CHEAPER = {"name": "kettle", "price": 2900}


@pytest.fixture
def snippet() -> Iterator[Callable[[str], Any]]:
    """Import snippets by name, afresh."""
    imported: list[str] = []

    def load(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(f"snippet_{name}", SNIPPETS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where annotations are looked up
        imported.append(spec.name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in imported:
        del sys.modules[name]


# -- scripts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["first_cache", "hooks", "many", "near", "production", "stale", "tags", "writes"]
)
async def test_script_runs_on_a_real_server(
    snippet: Callable[[str], Any], name: str, url: str
) -> None:
    module = snippet(name)
    with override(module.client, url):
        await module.main()


@pytest.mark.parametrize("name", ["stale_fill", "outage"])
async def test_script_runs_as_it_is(snippet: Callable[[str], Any], name: str) -> None:
    await snippet(name).main()


def test_keys_are_what_the_page_shows(snippet: Callable[[str], Any]) -> None:
    snippet("keys")


async def test_client_around_a_redis_py_client_leaves_it_open(
    snippet: Callable[[str], Any], url: str
) -> None:
    await snippet("from_redis").main(url)


async def test_troubleshooting_quotes_what_mistakes_are_answered_with(
    snippet: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    await snippet("mistakes").main()
    said = capsys.readouterr().out.splitlines()
    page = (DOCS / "how-to" / "troubleshooting.md").read_text()
    quoted = re.findall(r"```text\n(.*?)\n```", page, re.DOTALL)
    assert len(quoted) > 10
    assert [quote for quote in quoted if quote not in said] == []


def test_pages_on_testing_show_tests_that_pass(tmp_path: Path) -> None:
    for source, name in [
        ("tutorial_shop", "shop"),
        ("tutorial_test", "test_shop"),
        ("testing_pytest", "test_users"),
    ]:
        shutil.copy(SNIPPETS / f"{source}.py", tmp_path / f"{name}.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(millpond.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout


# -- applications ----------------------------------------------------------------------------


async def read_write_read(http: httpx.AsyncClient, path: str = "/products/1") -> None:
    assert (await http.get(path)).json() == KETTLE
    assert (await http.get(path)).json() == KETTLE
    written = await http.put(path, json=CHEAPER)
    assert written.is_success
    assert (await http.get(path)).json() == CHEAPER


async def test_readmes_handlers_before_and_after(snippet: Callable[[str], Any], url: str) -> None:
    before, after = snippet("readme_before"), snippet("readme_after")
    before.redis = before.Redis.from_url(url)
    async with before.redis, serving(before.app) as http:
        await read_write_read(http, "/products/42")
        await before.redis.flushall()
    with override(after.client, url):
        async with serving(after.app) as http:
            await read_write_read(http, "/products/42")
    assert (before.database.reads, after.database.reads) == (2, 2)


async def test_tutorials_shop_before_it_has_a_cache(snippet: Callable[[str], Any]) -> None:
    async with serving(snippet("tutorial_plain").app) as http:
        assert (await http.get("/products/1")).json() == KETTLE
        assert (await http.get("/products/9")).status_code == 404


async def test_tutorials_crowd_costs_one_query(snippet: Callable[[str], Any]) -> None:
    async with serving(snippet("tutorial_shop").app) as http:
        await read_write_read(http)
        crowd = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SNIPPETS / "tutorial_crowd.py"),
            str(http.base_url),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await crowd.communicate()
        assert said.startswith(b"100 answers in ")
        assert (await http.get("/products/9")).status_code == 404
        counted = (await http.get("/statistics")).json()
    assert counted["loads"] == 2 + 1 + 1  # before and after the write, the crowd, the missing one


async def test_installed_client_is_open_in_the_lifespan(
    snippet: Callable[[str], Any], url: str
) -> None:
    module = snippet("fastapi_install")
    with override(module.client, url):
        async with serving(module.app) as http:
            assert (await http.get("/rates")).json() == {"euro": 1.0, "pound": 1.17}
    assert module.rates.statistics().loads == 1


async def test_injected_cache_can_be_replaced(snippet: Callable[[str], Any], url: str) -> None:
    module = snippet("fastapi_inject")
    with override(module.client, url):
        async with serving(module.app) as http:
            assert (await http.get("/users/1")).json() == {"name": "user 1"}
            module.use_the_stand_in()
            assert (await http.get("/users/1")).json() == {"name": "scripted 1"}


async def test_status_hints_become_statuses(snippet: Callable[[str], Any], url: str) -> None:
    module = snippet("fastapi_errors")
    with override(module.client, url):
        async with serving(module.app) as http:
            assert (await http.get("/report")).json() == {"orders": 7}
    with override(module.client, "redis://127.0.0.1:1/0"):
        async with serving(module.app) as http:
            answer = await http.get("/report")
    assert answer.status_code == 503
    assert answer.json() == {"detail": "BackendUnavailable"}


async def test_aiohttp_application_reads_and_writes(
    snippet: Callable[[str], Any], url: str
) -> None:
    web: Any = pytest.importorskip("aiohttp.web")
    module = snippet("aiohttp_app")
    with override(module.client, url):
        runner = web.AppRunner(module.make_app())
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            base = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=base, trust_env=False) as http:
                await read_write_read(http)
                assert (await http.get("/products/9")).status_code == 404
        finally:
            await runner.cleanup()


async def test_sqlalchemy_sessions_stay_fresh_both_ways(
    snippet: Callable[[str], Any],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("aiosqlite")
    monkeypatch.chdir(tmp_path)
    module = snippet("sessions_sqlalchemy")
    with override(module.client, url):
        async with serving(module.app) as http:
            assert (await http.get("/products/1")).status_code == 404
            assert (await http.put("/products/1", json=KETTLE)).is_success
            await read_write_read(http)
            assert (await http.put("/products/1/price", params={"price": 10})).is_success
            assert (await http.get("/products/1")).json() == {"name": "kettle", "price": 10}
            assert (await http.put("/products/1/name", params={"name": "urn"})).is_success
            assert await module.products.get(1) == module.Product(name="urn", price=10)
            assert (await http.get("/products/1")).json() == {"name": "urn", "price": 10}


async def test_cached_functions_of_the_page(snippet: Callable[[str], Any], url: str) -> None:
    module = snippet("decorator")
    with override(module.client, url):
        async with serving(module.app) as http:
            await read_write_read(http)
            assert (await http.get("/products/9")).status_code == 404
            for user in ("1", "2", "1"):
                answer = await http.get("/welcome", headers={"x-user": user})
                assert answer.json() == f"welcome, visitor {user}"
            await module.one_key_in_every_way()
    assert module.texts.statistics().loads == 2 + 2


async def test_modes_of_the_page(snippet: Callable[[str], Any], url: str) -> None:
    module = snippet("cache_modes")
    await module.test_price_without_redis()
    with override(module.client, url):
        async with serving(module.app) as http:
            first = (await http.get("/prices/1")).json()
            assert (await http.get("/prices/1")).json() == first
            fresh = (await http.get("/prices/1", headers={"Cache-Control": "no-cache"})).json()
            assert fresh > first
            assert (await module.compare(1))[0] == first < (await module.compare(1))[1]
            assert await module.one_cache_only(1) != first != await module.one_call_only(1)
            assert (await http.get("/prices/1")).json() == first


async def test_headers_of_the_page(snippet: Callable[[str], Any], url: str) -> None:
    module = snippet("http_age")
    with override(module.client, url):
        async with serving(module.app) as http:
            for _ in range(2):
                answer = await http.get("/rates")
                assert answer.json() == {"euro": 1.0}
                assert 0 <= int(answer.headers["age"]) < 20
                kept = int(answer.headers["cache-control"].removeprefix("max-age="))
                assert 59 <= kept < 80


async def test_pages_of_the_shop_are_kept_and_deleted(
    snippet: Callable[[str], Any], url: str
) -> None:
    module = snippet("response_cache")
    shop = {"Host": "shop.example"}
    with override(module.client, url):
        async with serving(module.app) as http:
            for path in ("/products/42", "/products?page=1"):
                assert "age" not in (await http.get(path, headers=shop)).headers
                assert "age" in (await http.get(path, headers=shop)).headers
            assert (await http.put("/products/42?price=600", headers=shop)).status_code == 200
            answer = await http.get("/products/42", headers=shop)
            assert answer.json() == {"id": 42, "price": 600}
            assert "age" not in (await http.get("/products?page=1", headers=shop)).headers
            assert "age" not in (await http.get("/products/42")).headers


async def test_pages_of_an_application_that_asks_for_it_are_kept(
    snippet: Callable[[str], Any], url: str
) -> None:
    module = snippet("response_cache_asgi")
    language = (b"accept-language", b"de")
    with override(module.client, url):
        async with module.client:
            for _ in range(2):
                visit = await Visit(module.app, "/", language, (b"cookie", b"a=b"))
                assert visit.body == b"de"
    assert module.pages.statistics().hits == 1


# -- the pages -------------------------------------------------------------------------------


def test_every_snippet_is_shown_on_a_page() -> None:
    shown = {
        name
        for page in PAGES
        for name in re.findall(r"\{literalinclude\} \S*snippets/(\S+)", page.read_text())
    }
    scripts = {"mistakes.py"}  # quoted, line by line
    assert {path.name for path in SNIPPETS.glob("*.*")} - scripts == shown


def test_no_page_has_code_that_is_no_file() -> None:
    typed = {
        page.relative_to(ROOT).as_posix()
        for page in PAGES
        if re.search(r"```(python|py|sql|lua)\n", page.read_text())
    }
    assert typed == {"README.md"}


def test_readme_shows_the_snippets_word_for_word() -> None:
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    files = [(SNIPPETS / f"readme_{name}.py").read_text() for name in ("before", "after")]
    regions = [text.split("# -- handler\n")[1].split("# -- end")[0] for text in files]
    assert [block.strip() for block in shown] == [region.strip() for region in regions]


def test_readme_links_to_files_and_headings_that_are_there() -> None:
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    for link in links:
        path, _, heading = link.partition("#")
        target = ROOT / path
        assert target.is_file(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert heading in {title.lower().replace(" ", "-") for title in titles}, link


def test_readme_has_a_place_for_the_generated_benchmarks() -> None:
    text = (ROOT / "README.md").read_text()
    assert re.search(r"<!-- benchmarks:begin -->\n.+?<!-- benchmarks:end -->", text, re.DOTALL)
