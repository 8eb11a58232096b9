"""Products behind a cache.

uvicorn products.app:app --app-dir docs/examples
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Path

from millpond import Cache, CachePolicy, Client
from millpond.ext.fastapi import inject, install

from .database import Database, Product

client = Client.from_url(os.environ.get("MILLPOND_URL", "embedded://"), prefix="shop")
database = Database(os.environ.get("PRODUCTS_DB", "products.db"))
products: Cache[Product | None] = Cache(
    client,
    "product",
    type=Product | None,  # None: there is no such product, and that is worth remembering
    ttl=300,
    policy=CachePolicy(none_ttl=30),
)

Products = Annotated[Cache[Product | None], Depends(inject(products))]
ProductId = Annotated[int, Path(ge=1, lt=2**63)]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """Make the table; the client is open around this."""
    database.create()
    yield


app = FastAPI(title="Products", lifespan=lifespan)
install(app, client)


@app.get("/products/{product_id}")
async def read_product(product_id: ProductId, products: Products) -> Product:
    """Read through the cache: one load, however many ask."""
    product = await products.get_or_set(product_id, lambda: database.read(product_id))
    if product is None:
        raise HTTPException(404, "no such product")
    return product


@app.put("/products/{product_id}")
async def write_product(product_id: ProductId, product: Product, products: Products) -> Product:
    """Commit, then delete: whoever reads after this returned gets this product, or a later one.

    With Redis out of reach `delete` returns False, and the product is written all the same. The
    delete is sent again once Redis is back; until then other processes may still find the old one.
    """
    async with database.transaction() as transaction:
        await transaction.write(product_id, product)
    # Here the transaction is committed. Before this line, a reader would load the old row and
    # store it behind the delete.
    await products.delete(product_id)
    return product
