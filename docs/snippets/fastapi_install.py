"""A client that lives as long as the application, beside a lifespan of your own."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
from fastapi import FastAPI

from millpond import Cache, Client
from millpond.ext.fastapi import install


class Rates(msgspec.Struct, frozen=True):
    euro: float
    pound: float


async def fetch_rates() -> Rates:
    return Rates(1.0, 1.17)


# -- install
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
rates = Cache(client, "rates", type=Rates, ttl=3600)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    await rates.get_or_set("today", fetch_rates)  # the client is open already
    yield  # and it is open until the code below has run


app = FastAPI(lifespan=lifespan)
install(app, client)
# -- end


@app.get("/rates")
async def read_rates() -> dict[str, float]:
    today = await rates.get_or_set("today", fetch_rates)
    return msgspec.to_builtins(today)
