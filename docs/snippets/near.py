"""A near cache: what is read again and again is answered by this process's own memory."""

import asyncio

import msgspec

from millpond import Cache, CachePolicy, Client, NearCache


class Country(msgspec.Struct, frozen=True):  # frozen: callers may share one object
    code: str
    name: str


client = Client.from_url("redis://localhost:6379/0", prefix="shop")
# -- cache
countries = Cache(
    client,
    "country",
    type=Country,
    ttl=3600,
    policy=CachePolicy(near=NearCache(max_entries=500, heartbeat=1.0)),
)
# -- end


async def load() -> Country:
    return Country("is", "Iceland")


async def main() -> None:
    async with client:
        for _ in range(3):
            await countries.get_or_set("is", load)
        print(countries.statistics().near_hits)  # 1: the second read made the copy


if __name__ == "__main__":
    asyncio.run(main())
