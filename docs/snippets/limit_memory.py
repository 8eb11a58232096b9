"""What one key costs in Redis: an exact window as a ring, as a sorted set, as a list."""

import asyncio
import uuid

from millpond import Client, Limiter, SlidingWindow


# -- memory
async def main(client: Client) -> list[tuple[int, dict[str, int]]]:
    limiter = Limiter(client, "ring", SlidingWindow(1000, per=3600))
    key, done = limiter.key("ann"), 0
    rows: list[tuple[int, dict[str, int]]] = []
    for hits in (1, 10, 100, 1000):
        for _ in range(hits - done):
            await limiter.hit("ann")
            stamp = str(1_700_000_000_000_000 + done)
            done += 1
            await client.pipeline(
                [
                    ("ZADD", f"{key}:zset", stamp, uuid.uuid4().hex),
                    ("LPUSH", f"{key}:list", stamp),
                    ("INCR", f"{key}:counter"),
                ]
            )
        names = {"ring": f"{key}:window-3600s"}
        names |= {kind: f"{key}:{kind}" for kind in ("zset", "list", "counter")}
        rows.append((hits, {k: await client.call("MEMORY", "USAGE", v) for k, v in names.items()}))
    await client.call("DEL", *(f"{key}:{kind}" for kind in ("zset", "list", "counter")))
    return rows


# -- end

if __name__ == "__main__":

    async def show() -> None:
        async with Client.from_url("embedded://") as client:
            for hits, sizes in await main(client):
                print(hits, sizes)

    asyncio.run(show())
