"""Many values at once: read, loaded with one query, warmed, and by a decorated function."""

import asyncio

import msgspec

from millpond import Cache, Client, LoadManyFailed


class User(msgspec.Struct):
    id: int
    name: str


class Database:
    """Stands in for yours."""

    def __init__(self) -> None:
        self.queries: list[list[int]] = []
        self._rows = {n: User(n, f"user {n}") for n in range(1, 1001)}

    async def users(self, ids: list[int]) -> list[User]:
        self.queries.append(ids)
        return [self._rows[n] for n in ids if n in self._rows]


database = Database()

# -- loader
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
users = Cache(client, "user", type=User, ttl=300)


async def load_users(ids: list[int]) -> dict[int, User]:
    return {user.id: user for user in await database.users(ids)}


# -- end


# -- function
@users.cached_many("{user_id}", over="user_ids")
async def get_users(user_ids: list[int]) -> dict[int, User]:
    return {user.id: user for user in await database.users(user_ids)}


# -- end


async def failing(ids: list[int]) -> dict[int, User | Exception]:
    found: dict[int, User | Exception] = {user.id: user for user in await database.users(ids)}
    return found | {12: LookupError("locked")}


async def main() -> None:
    async with client:
        # -- read
        found = await users.get_or_set_many([1, 2, 5000], load_users)
        print(sorted(found))  # [1, 2]: the loader has no 5000
        found = await users.get_many([2, 3])
        print(sorted(found))  # [2]: nobody has asked for 3 yet
        # -- end
        assert sorted(await users.get_many([1, 2, 3])) == [1, 2]
        assert database.queries == [[1, 2, 5000]]

        # -- failures
        try:
            await users.get_or_set_many([11, 12], failing)
        except LoadManyFailed as failed:
            print(failed.values)  # {11: User(...)}, which is stored, too
            print(failed.errors)  # {12: LookupError('locked')}
        # -- end

        # -- warm
        done = await users.warm(range(1, 1001), load_users, batch=250)
        print(done.present, done.loaded, done.failed)
        # -- end
        assert (done.present, done.loaded, done.stored) == (3, 997, 997)

        # -- called
        found = await get_users([1, 2, 3])
        await get_users.delete([1, 2])
        found = await get_users.get([1, 2, 3])  # what is stored: 3
        # -- end
        assert list(found) == [3]
        assert await get_users.refresh([1]) == {1: User(1, "user 1")}


if __name__ == "__main__":
    asyncio.run(main())
