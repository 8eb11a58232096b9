"""Everything a cache can do, in one page."""

import asyncio

import msgspec

from millpond import MISSING, Cache, Client


# -- cache
class User(msgspec.Struct, frozen=True):
    name: str
    email: str | None = None


client = Client.from_url("redis://localhost:6379/0", prefix="shop")
users = Cache(client, "user", type=User, ttl=300)


async def load_user() -> User:
    return User("ada", "ada@example.org")


async def main() -> None:
    async with client:
        assert await users.get(42) is MISSING
        assert await users.get_or_set(42, load_user) == User("ada", "ada@example.org")
        assert await users.get(42) == User("ada", "ada@example.org")
        assert await users.delete(42, 43)  # acknowledged; absent keys are fine
        assert await users.set(42, User("grace"), ttl=60)  # the last writer wins
        assert users.key(42) == "shop:user:42"
        print(users.statistics())


# -- end

if __name__ == "__main__":
    asyncio.run(main())
