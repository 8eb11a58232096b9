"""Rate limits without a framework: every call once."""

import asyncio

from millpond import (
    Client,
    FixedWindow,
    Limiter,
    LimitExceeded,
    SlidingWindow,
    TokenBucket,
    hit_all,
)

# -- limiter
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
api = Limiter(
    client,
    "api",
    SlidingWindow(100, per=60),  # never more than 100 in any 60 seconds
    TokenBucket(5, per=1, burst=20),  # and no faster than this
)
# -- tiers
paid = Limiter(client, "api", SlidingWindow(1000, per=60), TokenBucket(50, per=1, burst=200))
# -- others
by_address = Limiter(client, "address", SlidingWindow(1000, per=3600))
mails = Limiter(client, "mail", FixedWindow(500, per=86_400))


async def main() -> None:
    async with client:
        # -- hit
        decision = await api.hit("user:42", cost=2)
        if not decision:
            print("again in", decision.retry_after, "seconds:", decision.headers())
        print(decision.remaining, "left; all of it in", decision.reset_after, "seconds")
        # -- enforce
        try:
            await api.enforce("user:42", cost=500)
        except LimitExceeded as error:
            print(error.retry_after)  # None: a cost above the limit is never admitted
        # -- upgrade
        assert (await paid.hit("user:42")).allowed  # what was counted stays counted
        # -- refund
        decision = await api.hit("user:42", cost=3)
        assert await api.refund(decision)  # the work was not done after all
        # -- others-used
        peeked = await api.peek("user:42")  # counts nothing
        part = await mails.hit_up_to("newsletter", 800)  # as many as there are
        both = await hit_all((by_address, "192.0.2.1"), (api, "user:42"))  # all or none
        await api.acquire("user:42", timeout=5)  # waits until there is room
        await api.block("user:13", 3600)  # nothing for an hour
        await api.reset("user:13")  # as if nothing had been
        # -- inside
        async with api.concurrency("user:42", 3):  # so many at once
            ...
        # -- end
        print(peeked, part.granted, both, api.statistics())


if __name__ == "__main__":
    asyncio.run(main())
