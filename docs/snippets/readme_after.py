"""The same handler with millpond."""

import asyncio

from fastapi import FastAPI
from pydantic import BaseModel

from millpond import Cache, Client
from millpond.ext.fastapi import install


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
database = Database()


# -- handler
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
products = Cache(client, "product", type=Product, ttl=300)
install(app, client)


@app.get("/products/{product_id}")
async def read_product(product_id: int) -> Product:
    return await products.get_or_set(product_id, lambda: database.product(product_id))


@app.put("/products/{product_id}")
async def write_product(product_id: int, product: Product) -> Product:
    await database.save(product_id, product)  # committed when this returns
    await products.delete(product_id)
    return product


# -- end
