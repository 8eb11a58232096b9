"""A web server of its own, with pages that are made only when it is told: to be killed.

python -m tests.support.page_process URL LEASE_TTL

Says its port, and each run of the application as it begins; a line of input lets all runs go, those
to come as well. The page says which process made it, and `/misses` how many have asked in vain.
"""

from __future__ import annotations

import asyncio
import os
import sys

from fastapi import FastAPI

from millpond import CachePolicy, Client
from millpond.ext.fastapi import ResponseCache, ResponseCacheMiddleware, install
from tests.support.web import serving


async def main(url: str, lease_ttl: float) -> None:
    """Serve until the input ends."""
    client = Client.from_url(url, prefix="t", hooks=[])
    policy = CachePolicy(lease_ttl=lease_ttl)
    # Both processes are one site, whatever their ports.
    pages = ResponseCache(client, "page", ttl=60, hosts=["shop.example"], policy=policy)
    app = FastAPI()
    install(app, client)
    app.add_middleware(ResponseCacheMiddleware, cache=pages, paths=["/page"])
    gate = asyncio.Event()

    @app.get("/page")
    async def page() -> int:
        print("run", flush=True)
        await gate.wait()
        return os.getpid()

    @app.get("/misses")
    async def misses() -> int:
        return pages.statistics().misses

    async with serving(app) as http:
        print(http.base_url.port, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            gate.set()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
