"""A hundred requests at once, and how many queries they cost."""

import asyncio
import sys
import time

import httpx

SHOP = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"


async def main() -> None:
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=SHOP, limits=limits, timeout=10) as http:
        begun = time.perf_counter()
        answers = await asyncio.gather(*(http.get("/products/2") for _ in range(100)))
        took = time.perf_counter() - begun
        print(f"{sum(answer.status_code == 200 for answer in answers)} answers in {took:.1f} s")


asyncio.run(main())
