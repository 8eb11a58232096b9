"""What an application sees while Redis is gone: nobody listens on this port."""

import asyncio

from millpond import Cache, Client, Event

told: list[Event] = []
client = Client.from_url("redis://127.0.0.1:1/0", prefix="shop", hooks=[told.append])
users = Cache(client, "user", type=str, ttl=300)


# -- outage
async def load() -> str:
    return "ada"


async def main() -> None:
    async with client:  # a warning, not an error: the application starts
        assert await users.get_or_set(42, load) == "ada"  # from the source, and not stored
        assert not await users.get(42)  # MISSING
        assert await users.set(42, "ada") is False
        assert await users.delete(42) is False  # unconfirmed: see the page on errors
        assert client.statistics().state == "down"
    print([type(event).__name__ for event in told])


# -- end

if __name__ == "__main__":
    asyncio.run(main())
