"""Tests of the shop: no Redis, no network."""

import asyncio
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from shop import app, client, products

from millpond.testing import override


@pytest.fixture
def http() -> Iterator[TestClient]:
    with override(client, "memory://"), TestClient(app) as http:
        yield http


def test_second_read_is_a_hit(http: TestClient) -> None:
    before = products.statistics()
    assert http.get("/products/1").json() == http.get("/products/1").json()
    after = products.statistics()
    assert after.loads - before.loads == 1
    assert after.hits - before.hits == 1


def test_read_after_a_write_is_fresh(http: TestClient) -> None:
    http.get("/products/1")
    cheaper = {"name": "kettle", "price": 2900}
    http.put("/products/1", json=cheaper)
    assert http.get("/products/1").json() == cheaper


async def fifty_at_once() -> list[object]:
    async def load() -> None:
        await asyncio.sleep(0.01)

    async with client:
        return await asyncio.gather(*(products.get_or_set(3, load) for _ in range(50)))


def test_callers_share_a_load() -> None:
    before = products.statistics().loads
    with override(client, "memory://"):
        assert asyncio.run(fifty_at_once()) == [None] * 50
    assert products.statistics().loads - before == 1
