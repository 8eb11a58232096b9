"""Callers of one turn share a tracked read, until it leaves or another command comes behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from millpond import Cache, CachePolicy, Client, NearCache
from millpond.errors import BackendUnavailable
from tests.support.conversation import NULL, OK, ConversationBackend, bulk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from millpond.cache.near import Near

SECONDS_LEFT = b":60000\r\n"


class Talk:
    """A near cache, and the other end of its connection."""

    def __init__(self, client: Client, backend: ConversationBackend) -> None:
        cache = Cache(client, "n", ttl=60, type=int, policy=CachePolicy(near=NearCache()))
        self.client = client
        self.backend = backend
        self.near = cast("Near[int]", cache._near)  # pyright: ignore[reportPrivateUsage]

    def read(self, *names: str) -> list[asyncio.Future[bytes | None]]:
        return [self.near.read(name) for name in names]

    def sent(self) -> list[str]:
        return [each for each in self.backend.talk.sent() if each.startswith("GET")]

    def answer(self, *values: bytes) -> None:
        self.backend.talk.answer(*[OK + value + SECONDS_LEFT for value in values])


def results(callers: list[asyncio.Future[bytes | None]]) -> list[bytes | None]:
    """Return what was answered; nobody is waited for."""
    return [caller.result() for caller in callers]


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    backend = ConversationBackend()
    async with Client(backend, prefix="t", hooks=[]) as client:
        yield Talk(client, backend)


async def test_callers_of_one_turn_share_one_read_of_each_key(talk: Talk) -> None:
    callers = talk.read("a", "b", "a", "b", "a")
    assert talk.sent() == ["GET t:n:{}era", "GET a", "GET b"]
    talk.answer(NULL, bulk("1"), bulk("2"))
    assert results(callers) == [b"1", b"2", b"1", b"2", b"1"]


async def test_read_that_has_left_is_joined_by_nobody(talk: Talk) -> None:
    """What it found may be older than a delete that the second caller has seen acknowledged."""
    (first,) = talk.read("a")
    assert talk.sent() == ["GET t:n:{}era", "GET a"]
    (second,) = talk.read("a")
    assert talk.sent() == ["GET a"]
    talk.answer(NULL, bulk("old"), bulk("new"))
    assert results([first, second]) == [b"old", b"new"]


@pytest.mark.parametrize("command", [("SET", "a", "new"), ("PING",)])
async def test_read_with_a_command_behind_it_is_joined_by_nobody(
    talk: Talk, command: tuple[str, ...]
) -> None:
    first = talk.read("a", "a")
    talk.client.call(*command)
    second = talk.read("a", "a")
    assert talk.sent() == ["GET t:n:{}era", "GET a", "GET a"]
    talk.answer(NULL, bulk("old"))
    talk.backend.talk.answer(OK)
    talk.answer(bulk("new"))
    assert results(first + second) == [b"old", b"old", b"new", b"new"]


async def test_read_that_waits_for_room_is_joined_by_nobody() -> None:
    """A command between two that wait would not be seen."""
    backend = ConversationBackend(limit=1)
    async with Client(backend, prefix="t", hooks=[]) as client:
        talk = Talk(client, backend)
        callers = talk.read("a")
        client.call("SET", "a", "new")
        callers += talk.read("a")
        assert talk.sent() == ["GET t:n:{}era"]
        talk.answer(NULL)
        assert talk.sent() == ["GET a"]
        talk.answer(bulk("old"))
        assert talk.backend.talk.sent() == ["SET a new"]
        talk.backend.talk.answer(OK)
        assert talk.sent() == ["GET a"]
        talk.answer(bulk("new"))
        assert results(callers) == [b"old", b"new"]


async def test_caller_who_is_cancelled_takes_nothing_from_the_others(talk: Talk) -> None:
    first, second, third = talk.read("a", "a", "a")
    first.cancel()
    talk.sent()
    third.cancel()
    talk.answer(NULL, bulk("1"))
    assert results([second]) == [b"1"]
    assert first.cancelled()
    assert third.cancelled()


async def test_each_caller_of_a_shared_read_has_an_error_of_its_own(talk: Talk) -> None:
    callers = talk.read("a", "a")
    talk.backend.talk.fail()
    one, two = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(one, BackendUnavailable)
    assert isinstance(two, BackendUnavailable)
    assert one is not two


async def test_era_is_read_once_until_that_is_answered_or_pushed(talk: Talk) -> None:
    talk.read("a", "b")
    assert talk.sent() == ["GET t:n:{}era", "GET a", "GET b"]
    talk.read("c")
    assert talk.sent() == ["GET c"]
    talk.backend.push(b"t:n:{}era")  # what was asked for may be of before
    talk.read("d")
    assert talk.sent() == ["GET t:n:{}era", "GET d"]
