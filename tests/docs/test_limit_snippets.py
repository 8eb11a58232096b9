"""The snippets on rate limits run, and show what their pages say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import millpond
from millpond import errors
from millpond.limit import decision, limiter, policies, together
from millpond.testing import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond import Client

SNIPPETS = Path(__file__).parents[2] / "docs" / "snippets"


@pytest.fixture
def snippet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Import snippets by name, afresh."""
    modules: list[Any] = [decision, limiter, policies, together, errors]
    for module in modules:
        for name in module.__all__:
            monkeypatch.setattr(millpond, name, getattr(module, name), raising=False)
    imported: list[str] = []

    def load(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(f"snippet_{name}", SNIPPETS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        imported.append(spec.name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in imported:
        del sys.modules[name]


async def test_calls_of_the_page_run_on_a_real_server(
    snippet: Callable[[str], Any], url: str
) -> None:
    module = snippet("limits")
    with override(module.client, url):
        await module.main()
    statistics = module.api.statistics()
    assert (statistics.denied, statistics.refunds) == (1, 1)


async def test_application_limits_by_tier_address_and_route(
    snippet: Callable[[str], Any], url: str
) -> None:
    module = snippet("fastapi_limits")
    app = module.app
    with override(module.client, url):
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
        ):
            tries = [
                await http.post("/login", headers={"x-forwarded-for": f"{n}.0.0.1, 192.0.2.1"})
                for n in range(6)
            ]
            assert [t.status_code for t in tries] == [200] * 5 + [429]
            assert tries[0].json() == {"tries left": 4}
            paid = await http.post(
                "/login", headers={"x-forwarded-for": "192.0.2.2", "x-plan": "paid"}
            )
            assert '"window-60s";q=1000;w=60' in paid.headers.get_list("RateLimit-Policy")
            health = await http.get("/health")
            assert "RateLimit" not in health.headers
    assert "429" in app.openapi()["paths"]["/login"]["post"]["responses"]


async def test_ring_takes_six_bytes_a_hit_and_a_hundred(
    snippet: Callable[[str], Any], client: Client
) -> None:
    for hits, sizes in await snippet("limit_memory").main(client):
        reserved = hits if hits <= 64 else 1000 if hits > 512 else 128
        assert sizes["ring"] <= 6 * reserved + 300  # what allocators add differs
        if hits > 1:  # a single hit takes what the allocator rounds a string up to
            assert sizes["ring"] < sizes["zset"]
