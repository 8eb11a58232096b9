"""GETs of one key in one turn are one command, and never more than that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond.core.exchange import Exchange
from millpond.core.slots import Collector
from millpond.errors import ConfigError, ReplyError
from tests.support.conversation import OK, Conversation, bulk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.core.commands import Arg


@pytest.fixture
def talk() -> Iterator[Conversation]:
    loop = asyncio.new_event_loop()
    yield Conversation(loop)
    loop.close()


def test_gets_of_one_key_in_one_turn_are_one_command(talk: Conversation) -> None:
    answers = [talk.call("GET", key) for key in ("a", "b", "a", "a", "b")]
    assert talk.sent() == ["GET a", "GET b"]
    talk.answer(bulk("A"), bulk("B"))
    assert [answer.result() for answer in answers] == [b"A", b"B", b"A", b"A", b"B"]


def test_replies_after_a_shared_one_reach_their_own_commands(talk: Conversation) -> None:
    answers = [talk.call("GET", "a"), talk.call("GET", "a"), talk.call("ECHO", 1)]
    answers += [talk.call("GET", "b"), talk.call("ECHO", 2), talk.call("GET", "b")]
    assert talk.sent() == ["GET a", "ECHO 1", "GET b", "ECHO 2", "GET b"]
    talk.answer(*[bulk(reply) for reply in ("A", "1", "B", "2", "BB")])
    assert [answer.result() for answer in answers] == [b"A", b"A", b"1", b"B", b"2", b"BB"]


@pytest.mark.parametrize(
    "write",
    [("SET", "k", "v"), ("DEL", "k"), ("del", "k"), (b"UNLINK", "k"), ("FLUSHALL",), ("NEW", "k")],
)
def test_write_between_two_gets_ends_the_sharing(
    talk: Conversation, write: tuple[Arg, ...]
) -> None:
    before, _, after = talk.call("GET", "k"), talk.call(*write), talk.call("GET", "k")
    assert len(talk.sent()) == 3
    talk.answer(bulk("old"), OK, bulk("new"))
    assert (before.result(), after.result()) == (b"old", b"new")


def test_group_between_two_gets_ends_the_sharing_and_shares_no_get_of_its_own(
    talk: Conversation,
) -> None:
    replies: list[list[Any]] = []
    before = talk.call("GET", "k")
    commands: list[tuple[Arg, ...]] = [("CLIENT", "CACHING", "YES"), ("GET", "k"), ("PTTL", "k")]
    talk.group(commands, *(Collector(3, replies.append),) * 3)
    after = [talk.call("GET", "k"), talk.call("GET", "k")]
    assert talk.sent() == ["GET k", "CLIENT CACHING YES", "GET k", "PTTL k", "GET k"]
    talk.answer(bulk("1"), OK, bulk("2"), b":-1\r\n", bulk("3"))
    assert before.result() == b"1"
    assert replies == [[b"OK", b"2", -1]]
    assert [answer.result() for answer in after] == [b"3", b"3"]


def test_get_is_joined_in_its_own_batch_only(talk: Conversation) -> None:
    answers = [talk.call("GET", "a"), talk.call("GET", "b")]
    assert talk.sent() == ["GET a", "GET b"]
    answers += [talk.call("GET", "b"), talk.call("GET", "a"), talk.call("GET", "b")]
    assert talk.sent() == ["GET b", "GET a"]
    talk.answer(*[bulk(reply) for reply in ("A", "B", "BB", "AA")])
    assert [answer.result() for answer in answers] == [b"A", b"B", b"BB", b"AA", b"BB"]


def test_get_that_was_refused_is_never_joined() -> None:
    loop = asyncio.new_event_loop()
    refusals = [ConfigError("another loop")]

    def wake() -> None:
        if refusals:
            raise refusals.pop()

    exchange = Exchange(future=loop.create_future, wake=wake, on_push=lambda _: None, limit=2)
    with pytest.raises(ConfigError):
        exchange.issue("GET", "a")
    answers = [exchange.issue("GET", "b"), exchange.issue("GET", "a")]
    exchange.take(0.0)
    exchange.feed(bulk("B") + bulk("A"))
    assert [answer.result() for answer in answers] == [b"B", b"A"]
    loop.close()


def test_get_that_has_left_is_never_joined(talk: Conversation) -> None:
    before = talk.call("GET", "k")
    assert talk.sent() == ["GET k"]
    after = talk.call("GET", "k")
    assert talk.sent() == ["GET k"]
    talk.answer(bulk("old"), bulk("new"))
    assert (before.result(), after.result()) == (b"old", b"new")


@pytest.mark.parametrize("leaves_first", [True, False])
@pytest.mark.parametrize("gone", range(3))
def test_cancelling_one_sharer_leaves_the_others(
    talk: Conversation, gone: int, leaves_first: bool
) -> None:
    answers = [talk.call("GET", "k") for _ in range(3)]
    if leaves_first:
        talk.sent()
    answers[gone].cancel()
    if not leaves_first:
        assert talk.sent() == ["GET k"]
    following = talk.call("ECHO", 1)
    talk.sent()
    talk.answer(bulk("v"), bulk("1"))
    for number, answer in enumerate(answers):
        assert answer.cancelled() if number == gone else answer.result() == b"v"
    assert following.result() == b"1"


def test_all_sharers_gone_keep_the_place_of_their_reply(talk: Conversation) -> None:
    for answer in [talk.call("GET", "k") for _ in range(3)]:
        answer.cancel()
    following = talk.call("ECHO", 1)
    assert talk.sent() == ["GET k", "ECHO 1"]
    talk.answer(bulk("v"), bulk("1"))
    assert following.result() == b"1"


def test_shared_error_reply_is_an_exception_of_each_callers_own(talk: Conversation) -> None:
    answers = [talk.call("GET", "k") for _ in range(3)]
    talk.sent()
    talk.answer(b"-WRONGTYPE no string\r\n")
    errors = [answer.exception() for answer in answers]
    assert [str(error) for error in errors] == ["WRONGTYPE no string"] * 3
    assert all(isinstance(error, ReplyError) and error.code == "WRONGTYPE" for error in errors)
    assert len(set(map(id, errors))) == 3


def test_text_and_its_bytes_are_one_key_and_numbers_are_asked_for_by_themselves(
    talk: Conversation,
) -> None:
    answers = [talk.call("GET", key) for key in (1, 1.0, "1", b"1")]
    assert talk.sent() == ["GET 1", "GET 1.0", "GET 1"]
    talk.answer(bulk("int"), bulk("float"), bulk("text"))
    assert [answer.result() for answer in answers] == [b"int", b"float", b"text", b"text"]


def test_other_reads_are_never_shared(talk: Conversation) -> None:
    for _ in range(2):
        talk.call("HGET", "k", "f")
        talk.call("get", "k")
    assert talk.sent() == ["HGET k f", "get k"] * 2
