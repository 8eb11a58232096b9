"""The shop before it has a cache: every request asks the database."""

import asyncio

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel


class Product(BaseModel):
    name: str
    price: int


class Database:
    """Stands in for yours: two rows, and a query that takes 200 ms."""

    def __init__(self) -> None:
        self._rows = {
            1: Product(name="kettle", price=3900),
            2: Product(name="teapot", price=5200),
        }

    async def read(self, product_id: int) -> Product | None:
        print(f"query for product {product_id}", flush=True)
        row = self._rows.get(product_id)
        await asyncio.sleep(0.2)
        return row

    async def write(self, product_id: int, product: Product) -> None:
        await asyncio.sleep(0.05)
        self._rows[product_id] = product  # here it is committed


database = Database()
app = FastAPI()


@app.get("/products/{product_id}")
async def read_product(product_id: int) -> Product:
    product = await database.read(product_id)
    if product is None:
        raise HTTPException(404, "no such product")
    return product
