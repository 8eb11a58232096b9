"""Mistakes, and the exact words with which each is answered.

Prints one line for each; the page on troubleshooting quotes them, and a test compares the two.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from millpond import Cache, CachePolicy, Client, Event, MillpondError

told: list[Event] = []
client = Client.from_url("embedded://", prefix="shop", hooks=[told.append])


class User(msgspec.Struct):
    id: int


users = Cache(client, "user", type=User, ttl=300)
Mistake = Callable[[], Any]


async def load_user() -> User:
    return User(42)


@asynccontextmanager
async def redis(url: str) -> AsyncIterator[Client]:
    async with Client.from_url(url, hooks=[]) as other:
        yield other


async def closed_client() -> None:
    await Client.from_url("memory://").call("PING")


async def opened_twice() -> None:
    await client.__aenter__()


async def on_another_loop() -> None:
    await asyncio.to_thread(asyncio.run, users.get(42))


async def float_key() -> None:
    await users.get(0.1 + 0.2)  # type: ignore[arg-type]


async def none_key() -> None:
    await users.get(None)  # type: ignore[arg-type]


async def no_ttl() -> None:
    Cache(client, "user", type=User, ttl=0)


async def jitter_above_ttl() -> None:
    Cache(client, "user", type=User, ttl=10, policy=CachePolicy(jitter=60))


async def parameter_left_out() -> None:
    @users.cached("{user_id}")
    async def get_user(user_id: int, locale: str) -> User:
        return User(user_id if locale else 0)


async def pasted_template() -> None:
    users.cached("{user_id}-{locale}")


async def optional_in_template() -> None:
    @users.cached("{user_id}")
    async def get_user(user_id: int | None) -> User:
        return User(user_id or 0)


async def blocking_command() -> None:
    await client.call("BLPOP", "queue", 0)


async def pub_sub() -> None:
    await client.call("SUBSCRIBE", "news")


async def sentinel() -> None:
    Client.from_url("redis+sentinel://localhost:26379/main/0")


async def nobody_there() -> None:
    policy = CachePolicy(on_unavailable="raise")
    async with redis("redis://127.0.0.1:1/0") as other:
        await Cache(other, "user", type=User, ttl=300, policy=policy).get(42)


async def wrong_type() -> None:
    async def load() -> Any:
        return {"id": "forty-two"}

    await users.get_or_set(1, load)


async def own_key() -> None:
    async def load() -> User:
        return await users.get_or_set(2, load_user)

    await users.get_or_set(2, load)


async def slow_loader() -> None:
    async def load() -> User:
        await asyncio.sleep(60)
        return User(3)

    hasty = Cache(client, "user", type=User, ttl=300, policy=CachePolicy(load_timeout=0.05))
    await hasty.get_or_set(3, load)


async def failed_elsewhere() -> None:
    async def load() -> User:
        raise LookupError

    careful = Cache(client, "user", type=User, ttl=300, policy=CachePolicy(error_ttl=5))
    try:
        await careful.get_or_set(4, load)
    except LookupError:
        await careful.get_or_set(4, load_user)


MISTAKES: list[Mistake] = [
    closed_client,
    opened_twice,
    on_another_loop,
    float_key,
    none_key,
    no_ttl,
    jitter_above_ttl,
    parameter_left_out,
    pasted_template,
    optional_in_template,
    blocking_command,
    pub_sub,
    sentinel,
    nobody_there,
    wrong_type,
    own_key,
    slow_loader,
    failed_elsewhere,
]


async def main() -> None:
    async with client:
        for mistake in MISTAKES:
            try:
                await mistake()
            except MillpondError as error:
                print(f"{type(error).__name__}: {error}")
            else:
                raise AssertionError(f"{mistake.__name__} passed")
        await client.call("SET", users.key(5), "not an entry", "EX", 60)
        assert await users.get_or_set(5, load_user) == User(42)
        await client.pipeline([("LPUSH", users.key(6), "x"), ("EXPIRE", users.key(6), 60)])
        assert await users.get_or_set(6, load_user) == User(42)
    for event in told:
        print(event)


if __name__ == "__main__":
    asyncio.run(main())
