"""The same application with a write that goes stale. Not to be copied: see `app.py`.

uvicorn products.late_commit:app --app-dir docs/examples
"""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, FastAPI

from millpond.ext.fastapi import install

from .app import ProductId, Products, client, database, lifespan, read_product
from .database import Product, Transaction

app = FastAPI(title="Products, committed too late", lifespan=lifespan)
install(app, client)
app.get("/products/{product_id}")(read_product)


async def session() -> AsyncGenerator[Transaction]:
    """Give the handler a transaction: committed after the handler, when FastAPI comes back."""
    async with database.transaction() as transaction:
        yield transaction


@app.put("/products/{product_id}")
async def write_product(
    product_id: ProductId,
    product: Product,
    transaction: Annotated[Transaction, Depends(session)],
    products: Products,
) -> Product:
    """Delete, then (in `session`) commit: a reader in between stores the old row for its TTL."""
    await transaction.write(product_id, product)
    await products.delete(product_id)
    return product


@app.put("/function-scope/products/{product_id}")
async def write_in_function_scope(
    product_id: ProductId,
    product: Product,
    transaction: Annotated[Transaction, Depends(session, scope="function")],
    products: Products,
) -> Product:
    """The same mistake: now it is committed before the response, but still after the delete."""
    return await write_product(product_id, product, transaction, products)
