"""Three ways of keeping a cache in step with what is written beside it."""

import asyncio

from millpond import Cache, CachePolicy, Client

client = Client.from_url("redis://localhost:6379/0", prefix="bank")
policy = CachePolicy(write_timeout=30)
balances = Cache(client, "balance", type=int, ttl=300, policy=policy)

database = {"ann": 100, "bob": 0}


async def load(name: str) -> int:
    return database[name]


# -- delete
async def pay_in(name: str, amount: int) -> None:
    database[name] += amount  # commits
    await balances.delete(name)


# -- end


# -- writing
async def close(name: str) -> None:
    async with balances.writing(name):
        database[name] = 0  # commits, inside the block


# -- end


# -- through
async def transfer(payer: str, payee: str, amount: int) -> None:
    async with balances.writing(payer, payee) as write:
        database[payer] -= amount
        database[payee] += amount  # one transaction, committed inside the block
        write.set(payer, database[payer])
        write.set(payee, database[payee])


# -- end


async def main() -> None:
    async with client:
        await pay_in("ann", 20)
        assert await balances.get_or_set("ann", lambda: load("ann")) == 120
        await transfer("ann", "bob", 50)
        assert await balances.get("ann") == 70
        assert await balances.get("bob") == 50
        await close("ann")
        assert await balances.get_or_set("ann", lambda: load("ann")) == 0
        await balances.delete("ann", "bob")


if __name__ == "__main__":
    asyncio.run(main())
