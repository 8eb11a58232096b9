"""millpond in aiohttp: the client is a cleanup context."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from millpond import Cache, Client


class Product(msgspec.Struct, frozen=True):
    name: str
    price: int


ROWS = {1: Product("kettle", 3900)}


async def load_product(product_id: int) -> Product | None:
    await asyncio.sleep(0.01)
    return ROWS.get(product_id)


# -- app
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
products = Cache(client, "product", type=Product | None, ttl=300)


async def redis(_: web.Application) -> AsyncIterator[None]:
    async with client:
        yield


async def read_product(request: web.Request) -> web.Response:
    product_id = int(request.match_info["product_id"])
    product = await products.get_or_set(product_id, lambda: load_product(product_id))
    if product is None:
        raise web.HTTPNotFound
    return web.json_response(body=msgspec.json.encode(product))


async def write_product(request: web.Request) -> web.Response:
    product_id = int(request.match_info["product_id"])
    ROWS[product_id] = msgspec.json.decode(await request.read(), type=Product)  # committed
    await products.delete(product_id)
    return web.Response(status=204)


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(redis)
    app.router.add_get(r"/products/{product_id:\d+}", read_product)
    app.router.add_put(r"/products/{product_id:\d+}", write_product)
    return app


# -- end

if __name__ == "__main__":
    web.run_app(make_app())
