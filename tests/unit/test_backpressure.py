"""At most `limit` commands are unanswered; the others wait in order, and may leave the line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond.core.slots import Collector
from tests.support.conversation import OK, Conversation, bulk

if TYPE_CHECKING:
    from collections.abc import Iterator


def _ignore(_: list[Any]) -> None:
    """Take replies that nobody looks at."""


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that stands still, to make futures of."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_no_more_than_the_limit_is_unanswered_and_the_rest_go_in_order(
    loop: asyncio.AbstractEventLoop,
) -> None:
    talk = Conversation(loop, limit=3)
    answers = [talk.call("ECHO", number) for number in range(8)]
    assert talk.sent() == ["ECHO 0", "ECHO 1", "ECHO 2"]
    assert talk.sent() == []
    assert talk.exchange.in_flight == 8
    talk.answer(bulk("0"))
    assert talk.sent() == ["ECHO 3"]
    talk.answer(bulk("1"), bulk("2"), bulk("3"))
    assert talk.sent() == ["ECHO 4", "ECHO 5", "ECHO 6"]
    talk.answer(bulk("4"), bulk("5"), bulk("6"))
    assert talk.sent() == ["ECHO 7"]
    talk.answer(bulk("7"))
    assert [answer.result() for answer in answers] == [b"%d" % number for number in range(8)]
    assert talk.exchange.in_flight == 0


def test_who_is_let_in_asks_to_be_written(loop: asyncio.AbstractEventLoop) -> None:
    talk = Conversation(loop, limit=1)
    talk.call("ECHO", 0)
    talk.sent()
    talk.call("ECHO", 1)
    assert talk.wakes == 1
    talk.answer(bulk("0"))
    assert talk.wakes == 2
    assert talk.sent() == ["ECHO 1"]


def test_who_leaves_the_line_is_never_sent(loop: asyncio.AbstractEventLoop) -> None:
    talk = Conversation(loop, limit=1)
    answers = [talk.call("ECHO", number) for number in range(4)]
    talk.sent()
    answers[1].cancel()
    answers[2].cancel()
    talk.answer(bulk("0"))
    assert talk.sent() == ["ECHO 3"]
    talk.answer(bulk("3"))
    assert answers[3].result() == b"3"


def test_group_that_leaves_the_line_is_never_sent(loop: asyncio.AbstractEventLoop) -> None:
    talk = Conversation(loop, limit=1)
    first = talk.call("ECHO", 0)
    caller: asyncio.Future[Any] = loop.create_future()
    talk.sent()
    talk.group([("SET", "a", 1), ("SET", "b", 2)], *(Collector(2, _ignore, caller),) * 2)
    last = talk.call("ECHO", 3)
    caller.cancel()
    talk.answer(bulk("0"))
    assert first.result() == b"0"
    assert talk.sent() == ["ECHO 3"]
    talk.answer(bulk("3"))
    assert last.result() == b"3"


def test_group_whose_caller_leaves_after_it_was_sent_keeps_its_places(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for answered in range(3):
        talk = Conversation(loop)
        caller: asyncio.Future[Any] = loop.create_future()
        talk.group([("SET", "a", 1), ("SET", "b", 2)], *(Collector(2, _ignore, caller),) * 2)
        following = talk.call("ECHO", 3)
        talk.sent()
        talk.answer(OK * answered)
        caller.cancel()
        talk.answer(OK * (2 - answered), bulk("3"))
        assert following.result() == b"3"


def test_group_is_contiguous_though_it_is_larger_than_the_limit(
    loop: asyncio.AbstractEventLoop,
) -> None:
    talk = Conversation(loop, limit=2)
    replies: list[list[Any]] = []
    talk.call("ECHO", 0)
    talk.group([("ECHO", n) for n in range(1, 6)], *(Collector(5, replies.append),) * 5)
    talk.call("ECHO", 6)
    assert talk.sent() == [f"ECHO {number}" for number in range(6)]
    talk.answer(*[bulk(str(number)) for number in range(4)])
    assert talk.sent() == []
    talk.answer(bulk("4"), bulk("5"))
    assert talk.sent() == ["ECHO 6"]
    assert replies == [[b"1", b"2", b"3", b"4", b"5"]]


def test_group_that_waits_is_contiguous_and_keeps_its_turn(
    loop: asyncio.AbstractEventLoop,
) -> None:
    talk = Conversation(loop, limit=2)
    talk.call("ECHO", 0)
    talk.call("ECHO", 1)
    talk.call("ECHO", 2)
    talk.group([("ECHO", n) for n in range(3, 6)], *(Collector(3, _ignore),) * 3)
    talk.call("ECHO", 6)
    assert talk.sent() == ["ECHO 0", "ECHO 1"]
    talk.answer(bulk("0"))
    assert talk.sent() == ["ECHO 2"]
    talk.answer(bulk("1"))
    assert talk.sent() == ["ECHO 3", "ECHO 4", "ECHO 5"]
    talk.answer(bulk("2"), bulk("3"), bulk("4"), bulk("5"))
    assert talk.sent() == ["ECHO 6"]


def test_gets_that_turn_out_to_be_one_make_room_for_those_in_line_first(
    loop: asyncio.AbstractEventLoop,
) -> None:
    talk = Conversation(loop, limit=2)
    reads = [talk.call("GET", "k"), talk.call("GET", "k")]
    talk.call("SET", "k", "new")
    talk.call("ECHO", 1)
    assert talk.sent() == ["GET k", "SET k new"]
    late = talk.call("GET", "k")  # comes after the SET, so must read what it wrote
    assert talk.sent() == []
    talk.answer(bulk("old"), OK)
    assert talk.sent() == ["ECHO 1", "GET k"]
    talk.answer(bulk("1"), bulk("new"))
    assert [answer.result() for answer in (*reads, late)] == [b"old", b"old", b"new"]


def test_room_given_while_a_reply_is_taken_goes_to_the_line_first(
    loop: asyncio.AbstractEventLoop,
) -> None:
    talk = Conversation(loop, limit=1)
    talk.call("ECHO", 0)
    talk.sent()
    talk.call("ECHO", 1)
    talk.answer(bulk("0"))  # lets ECHO 1 into the batch
    talk.call("ECHO", 2)
    assert talk.sent() == ["ECHO 1"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_order_holds_at_every_limit_under_a_mix_of_all(
    loop: asyncio.AbstractEventLoop, limit: int
) -> None:
    """Numbers are written and echoed; what is sent is ascending, and each gets its own."""
    talk = Conversation(loop, limit=limit)
    answers: dict[int, asyncio.Future[Any]] = {}
    groups: list[list[Any]] = []
    seen: list[int] = []
    number = 0
    for step in range(60):
        if step % 5 == 3:
            commands = [("ECHO", number + n) for n in range(3)]
            talk.group(commands, *(Collector(3, groups.append),) * 3)
            number += 3
        else:
            answers[number] = talk.call("ECHO", number)
            number += 1
        if step % 4 == 2:
            answers.pop(max(answers)).cancel()
        sent = [int(command.split()[1]) for command in talk.sent()]
        seen += sent
        talk.answer(*[bulk(str(one)) for one in sent])
    while sent := [int(command.split()[1]) for command in talk.sent()]:
        seen += sent
        talk.answer(*[bulk(str(one)) for one in sent])
    assert seen == sorted(seen)
    assert {n: answer.result() for n, answer in answers.items()} == {n: b"%d" % n for n in answers}
    assert [group[1] for group in groups] == [b"%d" % (int(group[0]) + 1) for group in groups]
    assert talk.exchange.in_flight == 0
