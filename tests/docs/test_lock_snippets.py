"""The snippets of the pages on locks run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from millpond.testing import override
from tests.support.web import serving

SNIPPETS = Path(__file__).parents[2] / "docs" / "snippets"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"snippet_{name}", SNIPPETS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_late_payment_is_refused_by_its_fence(url: str) -> None:
    module = load("lock_order")
    with override(module.client, url):
        assert await module.main() == ["the first payer was told: gone", "second"]


async def test_last_kettle_is_sold_once(url: str) -> None:
    module = load("lock_fastapi")
    with override(module.client, url):
        async with serving(module.app) as http:
            assert (await http.post("/orders/kettle")).json() == {"left": 0}
            assert (await http.post("/orders/kettle")).status_code == 409
