"""Values that are deleted by what they depend on."""

import asyncio

import msgspec

from millpond import MISSING, Cache, CachePolicy, Client, Loaded

client = Client.from_url("redis://localhost:6379/0", prefix="shop")


class Member(msgspec.Struct, frozen=True):
    id: int
    org_id: int
    plan: str


class User(msgspec.Struct, frozen=True):
    id: int
    org_id: int


class Database:
    """Stands in for yours."""

    def __init__(self) -> None:
        self.plans = {7: "free", 8: "paid"}
        self.orgs = {1: 7, 2: 7, 3: 8}
        self.reads = 0

    async def member(self, user_id: int) -> Member:
        self.reads += 1
        org_id = self.orgs[user_id]
        return Member(user_id, org_id, self.plans[org_id])

    async def change_plan(self, org_id: int, plan: str) -> None:
        self.plans[org_id] = plan


database = Database()

# -- named
members = Cache(client, "member", type=Member, ttl=300)


async def member_of(org_id: int, user_id: int) -> Member:
    return await members.get_or_set(
        user_id, lambda: database.member(user_id), tags=[("org", org_id)]
    )


async def change_plan(org_id: int, plan: str) -> None:
    await database.change_plan(org_id, plan)  # and commit
    await members.delete_tags(("org", org_id))  # every member of it, in one round trip


# -- end


# -- loaded
async def load(user_id: int) -> Loaded[Member]:
    member = await database.member(user_id)
    return Loaded(member, tags=[("org", member.org_id)])


async def member_by_id(user_id: int) -> Member:
    return await members.get_or_set(user_id, lambda: load(user_id))


# -- end


# -- cached
@members.cached("profile:{user.id}", tags=["org:{user.org_id}"])
async def profile(user: User) -> Member:
    return await database.member(user.id)


async def rename_org(admin: User) -> None:
    await members.delete_tags(*profile.tags(admin))  # which is ("org", admin.org_id)


# -- end


# -- expire
pages = Cache(client, "page", type=str, ttl=300, policy=CachePolicy(stale_while_revalidate=60))


async def new_layout() -> None:
    await pages.expire_tags("layout")  # nobody waits: each page is served once more, and made anew


# -- end


# -- clear
async def after_an_import() -> None:
    await members.clear()  # everything of this namespace, in one round trip


async def tidy_up() -> None:
    removed = await members.delete_matching("profile:*")  # costly: it walks through all keys
    print(f"{removed} entries")


# -- end


async def main() -> None:
    async with client:
        assert (await member_of(7, 1)).plan == "free"
        assert (await member_by_id(2)).plan == "free"
        user = User(3, org_id=8)
        assert (await profile(user)).plan == "paid"
        await change_plan(7, "paid")
        assert [await members.get(user_id) for user_id in (1, 2)] == [MISSING, MISSING]
        assert (await member_of(7, 1)).plan == "paid"
        assert (await profile(user)).plan == "paid"
        assert database.reads == 4
        await rename_org(user)
        assert await profile.get(user) is MISSING
        await pages.set("/", "old", tags=["layout"])
        await new_layout()
        assert await pages.get("/") == "old"
        await profile(user)
        await tidy_up()
        assert await profile.get(user) is MISSING
        await after_an_import()
        assert await members.get(1) is MISSING


if __name__ == "__main__":
    asyncio.run(main())
