"""millpond over a redis-py client that the application has already."""

import asyncio

from redis.asyncio import Redis

from millpond import Cache, Client


async def load() -> str:
    return "ada"


# -- from_redis
async def use(redis: Redis) -> None:
    async with Client.from_redis(redis, prefix="shop") as client:
        users = Cache(client, "user", type=str, ttl=300)
        assert await users.get_or_set(42, load) == "ada"
        assert await users.get(42) == "ada"
    await redis.ping()  # still open: it stays yours to close


# -- end


async def main(url: str = "redis://localhost:6379/0") -> None:
    async with Redis.from_url(url) as redis:
        await use(redis)


if __name__ == "__main__":
    asyncio.run(main())
