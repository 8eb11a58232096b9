"""Values served past their time, on purpose."""

import asyncio

import msgspec

from millpond import NOT_MODIFIED, Cache, CachePolicy, Client, Loaded, NotModified

client = Client.from_url("redis://localhost:6379/0", prefix="shop")


class Rates(msgspec.Struct, frozen=True):
    day: int
    euro: float


class Bank:
    """A service across the ocean."""

    def __init__(self) -> None:
        self.down = False
        self.today = Rates(day=1, euro=1.0)
        self.bodies = 0

    async def fetch(self, unless_day: int = 0) -> Rates | None:
        if self.down:
            raise ConnectionError("the bank does not answer")
        if self.today.day == unless_day:
            return None  # 304 Not Modified
        self.bodies += 1
        return self.today


bank = Bank()

# -- policy
rates = Cache(
    client,
    "rates",
    type=Rates,
    ttl=60,
    policy=CachePolicy(
        stale_while_revalidate=30,  # for half a minute more nobody waits for the bank
        stale_if_error=3600,  # and for an hour nobody sees that it is down
        stale_retry=5,  # asking it once in five seconds, all processes together
        stale_after=0.5,  # nor how slow it is
    ),
)
# -- end


# -- loader
async def load() -> Rates | Loaded[Rates]:
    today = await bank.fetch()
    assert today is not None
    if today.euro == 0:  # not published yet
        return Loaded(today, ttl=5)
    return today


async def ask_again(old: Rates) -> Rates | NotModified:
    newer = await bank.fetch(unless_day=old.day)
    return NOT_MODIFIED if newer is None else newer


async def current() -> Rates:
    return await rates.get_or_set("euro", load, revalidate=ask_again)


# -- end


# -- expire
async def publish(today: Rates) -> None:
    bank.today = today
    await rates.expire("euro")  # the next reader need not wait


# -- end


async def at_rest() -> None:
    while rates.statistics().flights:
        await asyncio.sleep(0.001)


async def main() -> None:
    async with client:
        first = await current()
        await rates.expire("euro")
        assert await current() == first
        await at_rest()
        assert bank.bodies == 1  # it was asked again, and had nothing new
        await publish(Rates(day=2, euro=1.1))
        assert await current() == first
        await at_rest()
        assert (await current()).day == 2
        bank.down = True
        await publish(Rates(day=3, euro=1.2))
        for _ in range(100):
            assert (await current()).day == 2
        await at_rest()
        assert rates.statistics().kept == 1
        await rates.delete("euro")


if __name__ == "__main__":
    asyncio.run(main())
