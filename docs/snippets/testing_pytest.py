"""Ways to test what uses a cache."""

import asyncio
from collections.abc import Iterator

import pytest

from millpond import Cache, Client
from millpond.testing import override

# As an application has them, at module level and for a real server.
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
users = Cache(client, "user", type=str, ttl=300)


async def name_of(user_id: int) -> str:
    return await users.get_or_set(user_id, lambda: load(user_id))


async def load(user_id: int) -> str:
    return f"user {user_id}"


# -- fixture
@pytest.fixture(autouse=True)
def in_memory() -> Iterator[None]:
    with override(client, "memory://"):
        yield


def test_name_is_remembered() -> None:
    async def scenario() -> None:
        async with client:
            assert await name_of(1) == "user 1"
            assert await users.get(1) == "user 1"

    asyncio.run(scenario())


# -- end


# -- decorated
@override(client, "memory://")
async def scenario() -> None:
    async with client:
        await users.set(1, "ada")
        assert await name_of(1) == "ada"


def test_stored_name_wins() -> None:
    asyncio.run(scenario())


# -- end


# -- real
def test_on_a_real_server() -> None:
    async def scenario() -> None:
        async with client:
            assert await users.set(1, "ada", ttl=0.05)
            assert await client.call("PTTL", users.key(1)) <= 50

    with override(client, "embedded://"):
        asyncio.run(scenario())


# -- end


# -- outage
def test_handlers_go_on_without_redis() -> None:
    async def scenario() -> None:
        async with client:
            assert await name_of(1) == "user 1"
            assert not await users.delete(1)  # unconfirmed

    with override(client, "redis://127.0.0.1:1/0"):  # nobody listens there
        asyncio.run(scenario())


# -- end
