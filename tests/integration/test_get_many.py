"""`get_many`: what is there, by the caller's own keys, in one round trip."""

from __future__ import annotations

import uuid
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from millpond import MISSING, BackendUnavailable, CachePolicy, ConfigError, ReplyError, cache_mode
from millpond.core.entry import new_generation, pack_error, pack_lease, pack_mark
from millpond.events import EntryUnreadable
from tests.support.fleet import Member

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.mark.both_loops
async def test_what_is_there_is_found_in_the_order_of_the_question(
    flavoured_server: Server,
) -> None:
    async with Member[int](flavoured_server.url) as one:
        await one.cache.set_many({1: 10, 2: 20, 3: 30})
        found = await one.cache.get_many([3, 9, 1, 2])
        assert list(found.items()) == [(3, 30), (1, 10), (2, 20)]
        statistics = one.cache.statistics()
        assert (statistics.hits, statistics.misses) == (3, 1)


async def test_in_memory_it_is_the_same() -> None:
    async with Member[int]("memory://") as one:
        await one.cache.set_many({1: 10, 2: 20})
        assert await one.cache.get_many(range(4)) == {1: 10, 2: 20}


async def test_thousands_are_asked_for_in_batches_of_five_hundred(one: Member[int]) -> None:
    await one.cache.set_many({n: n for n in range(0, 1201, 2)})
    before = one.client.statistics().commands
    assert await one.cache.get_many(range(1201)) == {n: n for n in range(0, 1201, 2)}
    assert one.client.statistics().commands == before + 3 * 2  # MGET, and the era


async def test_no_keys_ask_for_nothing(one: Member[int]) -> None:
    before = one.client.statistics().commands
    assert await one.cache.get_many([]) == {}
    assert one.client.statistics().commands == before


async def test_every_spelling_of_a_key_finds_its_value_under_the_key_it_was_asked_with(
    url: str,
) -> None:
    class Which(Enum):
        FIRST = "1"

    async with Member[list[int]](url, type=list[int]) as one:
        await one.cache.set_many({1: [1], ("a", 2): [2]})
        found: dict[Any, list[int]] = await one.cache.get_many([1, "1", Which.FIRST, 1, ("a", "2")])
        assert found == {1: [1], "1": [1], Which.FIRST: [1], ("a", "2"): [2]}
        assert [type(key) for key in found] == [int, str, Which, tuple]
        found[1].append(5)
        assert found["1"] == [1]  # nobody changes what another was given
        assert one.cache.statistics().hits == 4


async def test_none_is_a_value(url: str) -> None:
    async with Member[int | None](url, type=int | None) as one:
        await one.cache.set_many({1: None, 2: 2})
        assert await one.cache.get_many([1, 2, 3]) == {1: None, 2: 2}


async def test_leases_errors_writes_and_foreign_bytes_are_no_values_and_spoil_nothing(
    url: str,
) -> None:
    class Row(msgspec.Struct):
        id: int

    async with Member[Row](url, type=Row, version=3) as one:
        await one.cache.set_many({n: Row(n) for n in range(8)})
        fingerprint = one.cache._store.fingerprint  # pyright: ignore[reportPrivateUsage]
        generation = new_generation()
        whole: bytes = await one.client.call("GET", one.cache.key(0))
        under: dict[int, bytes] = {
            1: pack_lease(generation, 3, fingerprint),
            2: pack_mark(b"8 bytes!", 3, fingerprint),
            3: pack_error(
                generation, 3, fingerprint, "E", created_ms=1, load_ms=1, for_waiters=False
            ),
            4: b"foreign",
            5: whole[:-1] + b"\xc1",
        }
        for key, raw in under.items():
            await one.client.call("SET", one.cache.key(key), raw, "PX", 60_000)
        await one.client.call("DEL", one.cache.key(6))
        await one.client.call("HSET", one.cache.key(6), "another", "program's")
        await one.client.call("PEXPIRE", one.cache.key(6), 60_000)
        assert await one.cache.get_many(range(8)) == {0: Row(0), 7: Row(7)}
        assert [event.key for event in one.told(EntryUnreadable)] == ["t:n:4", "t:n:5"]


@pytest.mark.parametrize("mode", ["bypass", "disable"])
async def test_past_the_cache_there_is_nothing(one: Member[int], mode: Any) -> None:
    await one.cache.set(1, 1)
    with cache_mode(mode):
        assert await one.cache.get_many([1]) == {}
    with cache_mode("refresh"):
        assert await one.cache.get_many([1]) == {1: 1}


async def test_without_redis_there_is_nothing_or_an_error_as_the_policy_wants() -> None:
    async with Member[int](NOWHERE) as one:
        assert await one.cache.get_many(range(1000)) == {}
        assert one.cache.statistics().misses == 1000
    async with Member[int](NOWHERE, policy=CachePolicy(on_unavailable="raise")) as one:
        with pytest.raises(BackendUnavailable):
            await one.cache.get_many([1])


async def test_missing_permission_is_an_error_that_names_the_rule(server: Server) -> None:
    rights = ("on", ">secret", "~*", "-@all", "+get", "+ping", "+client", "+info")
    server.execute("ACL", "SETUSER", "reader", *rights)
    try:
        url = server.tcp_url.replace("redis://", "redis://reader:secret@")
        async with Member[int](url) as one:
            assert await one.cache.get(1) is MISSING
            with pytest.raises(ReplyError, match=r"NOPERM.*\+mget"):
                await one.cache.get_many([1])
    finally:
        server.execute("ACL", "DELUSER", "reader")


@pytest.mark.parametrize("keys", ["42", b"42", "", bytearray(b"1")], ids=repr)
async def test_one_key_instead_of_a_list_is_refused_with_the_fix(
    one: Member[int], keys: Any
) -> None:
    with pytest.raises(ConfigError, match=r"get_many\(\) takes several keys.*put it into a list"):
        await one.cache.get_many(keys)


@pytest.mark.parametrize("keys", [42, None, uuid.UUID(int=1)], ids=repr)
async def test_what_is_no_list_is_refused(one: Member[int], keys: Any) -> None:
    with pytest.raises(ConfigError, match=r"get_many\(\) takes a list of keys"):
        await one.cache.get_many(keys)


@pytest.mark.parametrize("bad", [1.5, None, True, [1], ("a", [1]), b"1"], ids=repr)
async def test_key_among_many_that_cannot_be_one_is_refused(one: Member[int], bad: Any) -> None:
    with pytest.raises(ConfigError, match="a key part must not be"):
        await one.cache.get_many([1, bad])
