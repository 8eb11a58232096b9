"""`web`: a FastAPI handler with one cached read, against the same handler without.

Real uvicorn in one process, 64 connections from another. The handler and what it returns are the
same for all; only the read differs. `bare` is the handler with the product at hand.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, cast

from benchmarks import serving, shelf, subjects
from benchmarks.source import Product, sample
from benchmarks.throughput import Loop, Sample

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.channel import Channel, Order
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "a FastAPI handler with one cached read, against the bare handler"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = (
    "bare",
    "recipe",
    "cashews",
    "aiocache",
    "fastapi-redis-sdk",
    "fastapi-cache2",
    "millpond",
)
QUICK: tuple[str, ...] = ("bare", "recipe", "fastapi-cache2", "millpond")

_TASKS = 64
_TTL = 3600.0


async def run(session: Session, plan: Plan) -> list[Result]:
    """Let each subject fill its cache, then compare requests per second."""
    await shelf.stock(session, "web", NEEDS, plan.subjects)
    return await serving.compare(session, "web", NEEDS, plan)


async def work(order: Order, channel: Channel) -> None:
    """Fill the subject's cache, serve, or call."""
    loop = order.read(Loop)
    if loop.prepare:
        async with shelf.opened(order, loop.tasks) as shop:
            await shelf.fill(shop, loop.tasks, serving.PRODUCTS)
        channel.send(Sample())
        return
    path = "/products/{}"
    await serving.work(order.index, loop, channel, lambda: _application(order), path)


def _application(order: Order) -> Any:
    from fastapi import FastAPI  # noqa: PLC0415 - the server's process alone has it

    made = subjects.make(order.adapter, order.url, tasks=_TASKS, ttl=_TTL)
    shop = cast("subjects.Shop", made)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await shop.open()
        yield
        await shop.aclose()

    async def load() -> Product:
        return sample(7)

    async def read_product(product_id: int) -> dict[str, Any]:
        product = await shop.fetch(product_id, load)
        return {"id": product.id, "name": product.name, "price_cents": product.price_cents}

    async def read_bare(product_id: int) -> dict[str, Any]:
        product = sample(product_id)
        return {"id": product.id, "name": product.name, "price_cents": product.price_cents}

    app = FastAPI(lifespan=lifespan)
    handler = read_bare if order.subject == "bare" else read_product
    app.get("/products/{product_id}")(handler)
    return app
