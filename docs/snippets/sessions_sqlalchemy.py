"""A cache beside SQLAlchemy sessions: loaders open their own, writers commit, then delete."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from millpond import Cache, Client
from millpond.ext.fastapi import install


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int]


class Product(BaseModel):
    name: str
    price: int


# -- loader
engine = create_async_engine("sqlite+aiosqlite:///shop.db")
sessions = async_sessionmaker(engine)
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
products = Cache(client, "product", type=Product | None, ttl=300)


async def load_product(product_id: int) -> Product | None:
    async with sessions() as session:  # the load's own: begun here, on the primary
        row = await session.get(Row, product_id)
        return None if row is None else Product(name=row.name, price=row.price)


# -- end


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
install(app, client)


@app.get("/products/{product_id}")
async def read_product(product_id: int) -> Product:
    product = await products.get_or_set(product_id, lambda: load_product(product_id))
    if product is None:
        raise HTTPException(404, "no such product")
    return product


# -- commit
async def session() -> AsyncGenerator[AsyncSession]:
    async with sessions() as session:
        yield session  # closes after the handler, and commits nothing


@app.put("/products/{product_id}")
async def write_product(
    product_id: int, product: Product, session: Annotated[AsyncSession, Depends(session)]
) -> Product:
    await session.merge(Row(id=product_id, **product.model_dump()))
    await session.commit()
    await products.delete(product_id)
    return product


# -- end


# -- writing
@app.put("/products/{product_id}/name")
async def rename(
    product_id: int, name: str, session: Annotated[AsyncSession, Depends(session)]
) -> Product:
    async with products.writing(product_id) as write:
        row = await session.get_one(Row, product_id)
        row.name = name
        product = Product(name=row.name, price=row.price)
        await session.commit()  # inside the block
        write.set(product)
    return product


# -- end


# -- unit
class UnitOfWork:
    """A session, and the keys to be deleted once it has committed."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.written: list[int] = []


async def unit_of_work() -> AsyncGenerator[UnitOfWork]:
    async with sessions() as session:
        unit = UnitOfWork(session)
        yield unit
        await session.commit()
    await products.delete(*unit.written)


@app.put("/products/{product_id}/price")
async def change_price(
    product_id: int,
    price: int,
    unit: Annotated[UnitOfWork, Depends(unit_of_work, scope="function")],
) -> None:
    row = await unit.session.get_one(Row, product_id)
    row.price = price
    unit.written.append(product_id)


# -- end
