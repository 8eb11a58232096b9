"""Caches led past: for one call, for a block, for a request, for a test."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Annotated

from fastapi import Depends, FastAPI, Header

from millpond import Cache, Client, cache_mode
from millpond.ext.fastapi import install

client = Client.from_url("redis://localhost:6379/0", prefix="shop")
prices = Cache(client, "price", type=int, ttl=300)
ticks = count(1001)


@prices.cached("{item}")
async def get_price(item: int) -> int:
    return item * next(ticks)


# -- scope
async def compare(item: int) -> tuple[int, int]:
    cached = await get_price(item)
    with cache_mode("bypass"):  # every cache, in all that this block calls
        return cached, await get_price(item)


async def one_cache_only(item: int) -> int:
    with cache_mode("bypass", prices):  # or cache_mode("bypass", client)
        return await get_price(item)


async def one_call_only(item: int) -> int:
    return await get_price.bypass(item)  # as prices.get_or_set(..., mode="bypass")


# -- end


# -- request
async def no_cache(cache_control: Annotated[str, Header()] = "") -> AsyncIterator[None]:
    """Let those who may ask for it read past the cache."""
    with cache_mode("bypass" if "no-cache" in cache_control else "normal"):
        yield


app = FastAPI(dependencies=[Depends(no_cache)])
install(app, client)


@app.get("/prices/{item}")
async def read_price(price: Annotated[int, Depends(get_price)]) -> int:
    return price


# -- end


# -- test
async def test_price_without_redis() -> None:
    with cache_mode("disable"):  # the client is not even open
        assert await get_price(7) > 7000
        assert await get_price.delete(7)


# -- end
