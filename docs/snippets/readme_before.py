"""A handler with the cache that most of us have written, on redis-py."""

import asyncio

from fastapi import FastAPI
from pydantic import BaseModel
from redis.asyncio import Redis


class Product(BaseModel):
    name: str
    price: int


class Database:
    """Stands in for yours."""

    def __init__(self) -> None:
        self.rows = {42: Product(name="kettle", price=3900)}
        self.reads = 0

    async def product(self, product_id: int) -> Product:
        self.reads += 1
        await asyncio.sleep(0.02)
        return self.rows[product_id]

    async def save(self, product_id: int, product: Product) -> None:
        self.rows[product_id] = product


app = FastAPI()
redis = Redis.from_url("redis://localhost:6379/0")
database = Database()


# -- handler
@app.get("/products/{product_id}")
async def read_product(product_id: int) -> Product:
    raw = await redis.get(f"shop:product:{product_id}")
    if raw is not None:
        return Product.model_validate_json(raw)
    product = await database.product(product_id)
    await redis.set(f"shop:product:{product_id}", product.model_dump_json(), ex=300)
    return product


@app.put("/products/{product_id}")
async def write_product(product_id: int, product: Product) -> Product:
    await database.save(product_id, product)
    await redis.delete(f"shop:product:{product_id}")
    return product


# -- end
