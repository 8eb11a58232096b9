"""The oldest race of caching, step by step: as it is commonly written, then with millpond.

One reader, one writer; events put their steps into the order that hurts.
"""

import asyncio

from millpond import Cache, Client

client = Client.from_url("embedded://", prefix="demo")
cache = Cache(client, "row", type=str, ttl=300)


class Source:
    """One row, and a reader that can be held between its query and its return."""

    def __init__(self) -> None:
        self.value = "old"
        self.queried = asyncio.Event()
        self.go_on = asyncio.Event()

    async def read(self) -> str:
        value = self.value
        self.queried.set()
        await self.go_on.wait()
        return value


# -- naive
async def naive() -> str:
    source = Source()

    async def read() -> str:
        raw = await client.call("GET", "naive:1")
        if raw is not None:
            return raw.decode()
        value = await source.read()
        await client.call("SET", "naive:1", value, "EX", 300)
        return value

    reader = asyncio.create_task(read())
    await source.queried.wait()  # 1. the reader has missed, and queried: "old"
    source.value = "new"  # 2. the writer commits
    await client.call("DEL", "naive:1")  # 3. and deletes: there is nothing to delete
    source.go_on.set()
    await reader  # 4. the reader stores what it had: "old"
    return await read()  # 5. and for 300 s everybody is given "old"


# -- end


# -- millpond
async def with_millpond() -> str:
    source = Source()

    async def read() -> str:
        return await cache.get_or_set(1, source.read)

    reader = asyncio.create_task(read())
    await source.queried.wait()  # 1. the reader's lease is under the key; it has "old"
    source.value = "new"  # 2. the writer commits
    await cache.delete(1)  # 3. and deletes: that removes the lease
    source.go_on.set()
    await reader  # 4. the fill finds no lease, and stores nothing
    return await read()  # 5. a load of its own: "new"


# -- end


async def main() -> None:
    async with client:
        assert await naive() == "old"
        assert await with_millpond() == "new"
        print("stored behind a delete: the naive reader yes, millpond no")


if __name__ == "__main__":
    asyncio.run(main())
