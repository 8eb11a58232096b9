"""`millpond.testing.override` runs what a module has made on another Redis, and puts it back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond import Cache, Client, ClosedError, ConfigError
from millpond.testing import override

if TYPE_CHECKING:
    from collections.abc import Iterator

# As an application has them: at module level, for a server that no test may reach.
client = Client.from_url("redis://127.0.0.1:1/0", prefix="shop", hooks=[])
users: Cache[str] = Cache(client, "user", type=str, ttl=60)


async def load() -> str:
    return "loaded"


async def test_module_level_cache_runs_in_memory_and_its_own_server_is_never_contacted() -> None:
    own = client.backend
    with override(client, "memory://") as same:
        assert same is client
        async with client:
            assert await users.get_or_set(1, load) == "loaded"
            assert await client.call("EXISTS", users.key(1)) == 1
            assert users.key(1) == "shop:user:1"
    assert client.backend is own
    assert client.statistics().state == "closed"


async def test_own_server_is_used_again_afterwards(url: str) -> None:
    real = Client.from_url(url, prefix="t")
    names: Cache[str] = Cache(real, "name", type=str, ttl=60)
    async with real:
        await names.set(1, "real")
    with override(real):
        async with real:
            await names.set(1, "other")
    async with real:
        assert await names.get(1) == "real"


async def test_nothing_leaks_from_one_override_to_the_next() -> None:
    for _ in range(2):
        with override(client):
            async with client:
                assert not await users.get(1)
                await users.set(1, "mine")


async def test_keys_stay_while_the_client_is_closed_and_opened_within_one_override() -> None:
    with override(client):
        async with client:
            await users.set(1, "mine")
        async with client:
            assert await users.get(1) == "mine"


async def test_nested_override_hides_the_outer_one_until_it_ends() -> None:
    with override(client):
        async with client:
            await users.set(1, "outer")
        with override(client):
            async with client:
                assert not await users.get(1)
        async with client:
            assert await users.get(1) == "outer"


async def test_exception_inside_passes_and_the_backend_is_put_back() -> None:
    own = client.backend
    with pytest.raises(LookupError), override(client):
        async with client:
            raise LookupError
    assert client.backend is own


async def test_open_client_is_refused_and_goes_on() -> None:
    with override(client):
        async with client:
            await users.set(1, "kept")
            with pytest.raises(ConfigError, match="override it before it is entered"):
                override(client).__enter__()
            assert await users.get(1) == "kept"


async def test_client_left_open_is_named_and_a_second_end_puts_back() -> None:
    own = client.backend
    overriding = override(client)
    overriding.__enter__()
    await client.__aenter__()
    with pytest.raises(ConfigError, match="still open where its override ends"):
        overriding.__exit__(None, None, None)
    await client.aclose()
    overriding.__exit__(None, None, None)
    assert client.backend is own


async def test_url_that_cannot_be_used_leaves_the_client_as_it_was() -> None:
    own = client.backend
    with pytest.raises(ConfigError, match="unknown scheme"), override(client, "http://redis"):
        pass
    assert client.backend is own
    with pytest.raises(ClosedError):
        await users.get(1)


@override(client)
async def test_decorated_coroutine_runs_inside() -> None:
    async with client:
        assert not await users.get(1)
        await users.set(1, "mine")


def test_decorated_function_starts_empty_at_each_call() -> None:
    @override(client)
    def remember(name: str) -> str | None:
        async def main() -> str | None:
            async with client:
                found = await users.get(1, None)
                await users.set(1, name)
                return found

        return asyncio.run(main())

    assert remember("a") is None
    assert remember("b") is None
    assert remember.__name__ == "remember"


def test_generator_cannot_be_decorated() -> None:
    def fixture() -> Iterator[None]:
        yield

    with pytest.raises(ConfigError, match="fixture is a generator"):
        override(client)(fixture)


async def test_real_private_server_may_stand_in_too() -> None:
    with override(client, "embedded://"):
        async with client:
            assert await users.get_or_set(1, load) == "loaded"
            assert client.statistics().state == "up"
