"""The payment of the page on idempotency, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from millpond.testing import override
from tests.docs.test_lock_snippets import load
from tests.support.fleet import until
from tests.support.servers import Server
from tests.support.web import serving

ORDER = {"account": "ada", "cents": 1250}


async def send(http: Any, key: str | None, **order: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await http.post("/payments", json=ORDER | order, headers=headers)


async def test_a_payment_that_is_sent_again_is_made_once(url: str) -> None:
    module = load("idempotency_fastapi")
    with override(module.client, url):
        async with serving(module.app) as http:
            first, again = await send(http, "k1"), await send(http, "k1")
            assert first.status_code == again.status_code == 201
            assert first.json() == again.json() == {"number": 1, "cents": 1250}
            assert module.charged == {"ada": 1250}

            assert (await send(http, "k2")).json()["number"] == 2
            assert (await send(http, "k1", account="grace")).json()["number"] == 3
            assert module.charged == {"ada": 2500, "grace": 1250}

            assert (await send(http, "k1", cents=99)).status_code == 422
            assert (await send(http, None)).status_code == 422  # FastAPI's own
            assert module.charged["ada"] == 2500


async def test_requests_at_once_are_told_to_come_back(url: str) -> None:
    module = load("idempotency_fastapi")
    charge, gate, begun = module.charge, asyncio.Event(), 0

    async def slow(*args: Any) -> Any:
        nonlocal begun
        begun += 1
        await gate.wait()
        return await charge(*args)

    module.charge = slow
    with override(module.client, url):
        async with serving(module.app) as http:
            first = asyncio.create_task(send(http, "k1"))
            await until(lambda: begun)
            early = await send(http, "k1")
            assert early.status_code == 409
            assert early.headers["Retry-After"] == "1"
            gate.set()
            assert (await first).json() == (await send(http, "k1")).json()
            assert begun == 1


async def test_refused_payment_may_be_tried_again(url: str) -> None:
    module = load("idempotency_fastapi")
    with override(module.client, url):
        async with serving(module.app) as http:
            assert (await send(http, "k1", cents=2_000_000)).status_code == 402
            assert (await send(http, "k1", cents=2_000_000)).status_code == 402
            assert module.charged == {}


async def test_nothing_is_charged_without_redis() -> None:
    module = load("idempotency_fastapi")
    with Server() as server, override(module.client, server.url):
        async with serving(module.app) as http:
            assert (await send(http, "k0")).status_code == 201
            server.kill()
            assert (await send(http, "k1")).status_code == 503
            assert module.charged == {"ada": 1250}
