"""Async functions whose results are kept: called, deleted, bypassed, and used in FastAPI."""

from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

from millpond import Cache, Client
from millpond.ext.fastapi import install


class Product(BaseModel):
    name: str
    price: int


class Database:
    """Stands in for yours."""

    def __init__(self) -> None:
        self.reads = 0
        self._rows = {1: Product(name="kettle", price=3900)}

    async def product(self, product_id: int) -> Product | None:
        self.reads += 1
        return self._rows.get(product_id)

    async def save(self, product_id: int, product: Product) -> None:
        self._rows[product_id] = product


database = Database()

# -- function
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
products: Cache[Product | None] = Cache(client, "product", type=Product | None, ttl=300)


@products.cached("{product_id}")
async def get_product(product_id: int) -> Product | None:
    return await database.product(product_id)


# -- end

# -- handlers
app = FastAPI()
install(app, client)


@app.get("/products/{product_id}")
async def read(product: Annotated[Product | None, Depends(get_product)]) -> Product:
    if product is None:
        raise HTTPException(404)
    return product


@app.put("/products/{product_id}")
async def write(product_id: int, product: Product) -> Product:
    await database.save(product_id, product)  # and commit
    await get_product.delete(product_id)
    return product


# -- end


# -- several
texts = Cache(client, "text", type=str, ttl=60)


@texts.cached("greeting:{locale}:{name}", ttl=3600)
async def greeting(name: str, locale: str = "en") -> str:
    return f"{name} ({locale})"


# -- end


# -- method
class Catalogue:
    def __init__(self, region: str) -> None:
        self.region = region

    @texts.cached("title:{self.region}:{item}")
    async def title(self, item: int) -> str:
        return f"item {item} in {self.region}"


# -- end


# -- who
class Visitor(BaseModel):
    id: int
    name: str


async def visitor(x_user: Annotated[int, Header()]) -> Visitor:
    return Visitor(id=x_user, name=f"visitor {x_user}")


@app.get("/welcome")
@texts.cached("welcome:{visitor.id}")
async def welcome(visitor: Annotated[Visitor, Depends(visitor)]) -> str:
    return f"welcome, {visitor.name}"


# -- end


# -- helpers
async def one_key_in_every_way() -> None:
    await get_product(1)  # get_or_set
    await get_product.get(1)  # what is stored, or MISSING; never calls the function
    await get_product.refresh(1)  # calls the function now, and stores what it returns
    await get_product.bypass(1)  # calls the function; reads and stores nothing
    await get_product.set(Product(name="kettle", price=2900), 1)  # the value, then the arguments
    await get_product.delete(1)
    assert get_product.key(1) == products.key(1) == "shop:product:1"

    await greeting("Ada", locale="de")
    await greeting.delete("Ada", "de")  # the same call, so the same key
    assert greeting.key("Ada", "de") == "shop:text:greeting:de:Ada"

    eu = Catalogue("eu")
    await eu.title(7)
    await eu.title.delete(7)


# -- end
