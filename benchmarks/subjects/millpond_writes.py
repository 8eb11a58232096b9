"""Readers and writers on millpond, for the scenario `writes`."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from benchmarks.keys import KEY_PREFIX
from benchmarks.scenarios.writes import Share, WritesOptions
from benchmarks.source import Product, sample
from millpond import Cache, Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["write_and_read"]

_PRODUCTS = 500
_LOAD = 0.010  # seconds
_COMMIT = 0.005
_TTL = 60.0


async def write_and_read(url: str, options: WritesOptions, index: int) -> Share:
    """Warm up for a third of the time, then work and count."""
    client = Client.from_url(url, prefix=KEY_PREFIX)
    async with client:
        products = Cache(client, "writes", type=Product, ttl=_TTL)
        worker = _Worker(products, options, index)
        await worker.work(options.seconds / 3)
        worker.share = Share()
        await worker.work(options.seconds)
        await products.delete(*range(_PRODUCTS))
    return worker.share


class _Worker:
    """The tasks of one process."""

    def __init__(self, products: Cache[Product], options: WritesOptions, index: int) -> None:
        self._products = products
        self._options = options
        self._random = random.Random(index)
        self._write: Callable[[int], Awaitable[object]] = {
            "delete": self._delete,
            "writing": self._writing,
            "write-through": self._write_through,
        }[options.way]
        self.share = Share()

    async def work(self, seconds: float) -> None:
        """Read and write for a while."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._task(end) for _ in range(self._options.tasks)))

    async def _task(self, end: float) -> None:
        draw, share = self._random.random, self._options.share
        while (begun := time.monotonic()) < end:
            product_id = int(draw() * _PRODUCTS)
            if draw() < share:
                await self._write(product_id)
                self.share.writes += 1
                continue
            await self._products.get_or_set(product_id, lambda of=product_id: self._load(of))
            self.share.reads += 1
            if self.share.reads % 20 == 0:
                self.share.latencies_ms.append(round((time.monotonic() - begun) * 1e3, 3))

    async def _load(self, product_id: int) -> Product:
        self.share.loads += 1
        await asyncio.sleep(_LOAD)
        return sample(product_id)

    async def _delete(self, product_id: int) -> None:
        await asyncio.sleep(_COMMIT)
        await self._products.delete(product_id)

    async def _writing(self, product_id: int) -> None:
        async with self._products.writing(product_id):
            await asyncio.sleep(_COMMIT)

    async def _write_through(self, product_id: int) -> None:
        async with self._products.writing(product_id) as write:
            await asyncio.sleep(_COMMIT)
            write.set(sample(product_id))
