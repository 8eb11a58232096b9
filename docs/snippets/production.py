"""A client, a cache and the figures to watch, as a service would have them."""

import asyncio
import logging

import msgspec

from millpond import Cache, CachePolicy, Client

log = logging.getLogger("shop")


class Product(msgspec.Struct, frozen=True):
    name: str
    price: int


# -- settings
client = Client.from_url(
    "redis://localhost:6379/0",
    prefix="shop:production",
    command_timeout=0.5,  # seconds of silence after which Redis counts as hung
    connect_timeout=2.0,
    name="shop-web",  # shown by CLIENT LIST
)
products = Cache(
    client,
    "product",
    type=Product | None,
    ttl=300,
    policy=CachePolicy(
        jitter=30,  # entries stored together expire apart
        none_ttl=60,  # "no such product" is remembered for less long
        load_timeout=5,  # longer than the slowest healthy query
    ),
)
# -- end


# -- statistics
async def report(every: float) -> None:
    while True:
        await asyncio.sleep(every)
        counted, wire = products.statistics(), client.statistics()
        log.info(
            "products: %.1f %% hits, %d loads, %d unleased; redis %s, %d reconnects",
            100 * counted.hit_ratio,
            counted.loads,
            counted.unleased_loads,
            wire.state,
            wire.reconnects,
        )


# -- end


# -- delete
async def write_product(product_id: int, product: Product) -> None:
    await save(product_id, product)  # commits
    if not await products.delete(product_id):
        await remember_to_delete(products.key(product_id))


# -- end


rows: dict[int, Product] = {}
outbox: list[str] = []


async def save(product_id: int, product: Product) -> None:
    rows[product_id] = product


async def remember_to_delete(key: str) -> None:
    outbox.append(key)


async def main() -> None:
    async with client:
        await products.get_or_set(1, lambda: asyncio.sleep(0, Product("kettle", 3900)))
        await write_product(1, Product("kettle", 2900))
        assert not outbox
        await products.get_or_set(1, lambda: asyncio.sleep(0, Product("kettle", 2900)))
        reporting = asyncio.create_task(report(0.01))
        await asyncio.wait([reporting], timeout=0.05)
        reporting.cancel()


if __name__ == "__main__":
    asyncio.run(main())
