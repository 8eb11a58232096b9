"""Pipelines, transactions and scripts, from the client down to the bytes, without a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, Script
from millpond.errors import BackendUnavailable, ClosedError, ConfigError, ReplyError
from tests.support.conversation import NULL, OK, ConversationBackend, bulk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.conversation import Conversation

QUEUED = b"+QUEUED\r\n"
NOSCRIPT = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"


class Open:
    """A client that is open on a conversation."""

    def __init__(self, client: Client, backend: ConversationBackend) -> None:
        self.client = client
        self.backend = backend

    @property
    def talk(self) -> Conversation:
        return self.backend.talk


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    backend = ConversationBackend()
    async with Client(backend) as client:
        yield Open(client, backend)


async def test_pipeline_is_contiguous_and_its_replies_are_one_list(opened: Open) -> None:
    alone = opened.client.call("GET", "k")
    both = opened.client.pipeline([("SET", "k", 1), ["GET", "k"]])
    again = opened.client.call("GET", "k")
    assert opened.talk.sent() == ["GET k", "SET k 1", "GET k", "GET k"]
    opened.talk.answer(bulk("0"), OK, bulk("1"))
    assert await both == [b"OK", b"1"]
    opened.talk.answer(bulk("1"))
    assert (await alone, await again) == (b"0", b"1")


async def test_empty_pipeline_sends_nothing(opened: Open) -> None:
    assert await opened.client.pipeline([]) == []
    assert await opened.client.pipeline([], transaction=True) == []
    assert opened.talk.sent() == []


async def test_pipeline_raises_its_first_error_or_returns_them_all(opened: Open) -> None:
    commands = [("GET", "a"), ("INCR", "b"), ("INCR", "c")]
    raised = opened.client.pipeline(commands)
    returned = opened.client.pipeline(commands, return_errors=True)
    opened.talk.sent()
    opened.talk.answer(*[bulk("a"), b"-ERR first\r\n", b"-ERR second\r\n"] * 2)
    with pytest.raises(ReplyError, match="first"):
        await raised
    plain, *errors = await returned
    assert plain == b"a"
    assert [str(error) for error in errors] == ["ERR first", "ERR second"]


async def test_transaction_is_wrapped_and_contiguous_and_gives_what_exec_gives(
    opened: Open,
) -> None:
    both = opened.client.pipeline([("SET", "k", 1), ("GET", "k")], transaction=True)
    opened.client.call("PING")
    assert opened.talk.sent() == ["MULTI", "SET k 1", "GET k", "EXEC", "PING"]
    opened.talk.answer(OK, QUEUED, QUEUED, b"*2\r\n+OK\r\n$1\r\n1\r\n", b"+PONG\r\n")
    assert await both == [b"OK", b"1"]


async def test_error_inside_exec_is_raised_or_returned(opened: Open) -> None:
    raised = opened.client.pipeline([("SET", "k", "x"), ("INCR", "k")], transaction=True)
    returned = opened.client.pipeline(
        [("SET", "k", "x"), ("INCR", "k")], transaction=True, return_errors=True
    )
    opened.talk.sent()
    opened.talk.answer(*[OK, QUEUED, QUEUED, b"*2\r\n+OK\r\n-ERR not an integer\r\n"] * 2)
    with pytest.raises(ReplyError, match="not an integer"):
        await raised
    fine, error = await returned
    assert fine == b"OK"
    assert isinstance(error, ReplyError)


async def test_transaction_refused_as_a_whole_names_the_command_at_fault(opened: Open) -> None:
    commands = [("SET", "k", "x"), ("NO", "k"), ("GET", "k")]
    raised = opened.client.pipeline(commands, transaction=True)
    returned = opened.client.pipeline(commands, transaction=True, return_errors=True)
    opened.talk.sent()
    refusal = [OK, QUEUED, b"-ERR unknown command 'NO'\r\n", QUEUED, b"-EXECABORT discarded\r\n"]
    opened.talk.answer(*refusal * 2)
    with pytest.raises(ReplyError, match="unknown command"):
        await raised
    replies = await returned
    assert [reply.code for reply in replies] == ["EXECABORT", "ERR", "EXECABORT"]


async def test_transaction_that_could_not_begin_is_an_error_whatever_its_commands_gave(
    opened: Open,
) -> None:
    answer = opened.client.pipeline([("GET", "k")], transaction=True, return_errors=True)
    opened.talk.sent()
    refusal = b"-NOPERM User u has no permissions to run the 'multi' command\r\n"
    opened.talk.answer(refusal, bulk("v"), b"-ERR EXEC without MULTI\r\n")
    with pytest.raises(ReplyError, match=r"\+multi"):
        await answer


async def test_cancelled_pipeline_keeps_its_places(opened: Open) -> None:
    gone = opened.client.pipeline([("SET", "k", 1), ("GET", "k")], transaction=True)
    opened.talk.sent()
    gone.cancel()
    following = opened.client.call("ECHO", 1)
    opened.talk.sent()
    opened.talk.answer(OK, QUEUED, QUEUED, b"*2\r\n+OK\r\n$1\r\n1\r\n", bulk("1"))
    assert await following == b"1"


REFUSED: list[Any] = [
    [()],
    [("GET", "k"), ("MULTI",)],
    [("BLPOP", "k", 0)],
    ["GET k"],
    [b"PING"],
    [("GET", "k"), None],
    [("GET", "k"), ([],)],
    [("SET", "k", None)],
    None,
]


@pytest.mark.parametrize("commands", REFUSED)
async def test_pipeline_with_a_command_that_cannot_be_is_refused_whole(
    opened: Open, commands: Any
) -> None:
    with pytest.raises(ConfigError):
        opened.client.pipeline(commands)
    assert opened.talk.sent() == []


async def test_script_goes_by_its_digest(opened: Open) -> None:
    script = Script("return 1")
    answer = opened.client.run(script, keys=["k"], args=["a", 2])
    assert opened.talk.sent() == [f"EVALSHA {script.sha} 1 k a 2"]
    opened.talk.answer(b":1\r\n")
    assert await answer == 1


async def test_script_that_the_server_does_not_know_is_sent_once_more_whole(opened: Open) -> None:
    script = Script("return 1")
    answers = [opened.client.run(script, keys=["k"]) for _ in range(2)]
    following = opened.client.call("ECHO", 1)
    assert len(opened.talk.sent()) == 3
    opened.talk.answer(NOSCRIPT, NOSCRIPT, bulk("1"))
    assert opened.talk.sent() == ["EVAL return 1 1 k"] * 2
    opened.talk.answer(b":7\r\n", b":8\r\n")
    assert (await asyncio.gather(*answers), await following) == ([7, 8], b"1")


async def test_script_error_is_not_taken_for_an_unknown_script(opened: Open) -> None:
    answer = opened.client.run(Script("return redis.error_reply('MINE oh')"))
    opened.talk.sent()
    opened.talk.answer(b"-MINE oh\r\n")
    with pytest.raises(ReplyError, match="MINE oh"):
        await answer
    assert opened.talk.sent() == []


async def test_script_whose_source_is_answered_with_noscript_is_not_sent_for_ever(
    opened: Open,
) -> None:
    answer = opened.client.run(Script("return redis.call('EVALSHA', 'x', 0)"))
    opened.talk.sent()
    opened.talk.answer(NOSCRIPT)
    opened.talk.sent()
    opened.talk.answer(NOSCRIPT)
    with pytest.raises(ReplyError, match="NOSCRIPT"):
        await answer
    assert opened.talk.sent() == []


async def test_abandoned_script_is_not_sent_whole(opened: Open) -> None:
    opened.client.run(Script("return 1")).cancel()
    opened.talk.sent()
    opened.talk.answer(NOSCRIPT)
    assert opened.talk.sent() == []


async def test_call_kept_from_before_follows_the_client(opened: Open) -> None:
    call = opened.client.call
    old = opened.talk
    await opened.client.aclose()
    with pytest.raises(ClosedError):
        call("PING")
    async with opened.client:
        answer = call("PING")
        assert old.sent() == []
        assert opened.talk.sent() == ["PING"]
        opened.talk.answer(b"+PONG\r\n")
        assert await answer == b"PONG"


async def test_closing_fails_what_is_in_flight_and_refuses_what_comes_later(opened: Open) -> None:
    sent, script = opened.client.call("PING"), opened.client.run(Script("return 1"))
    opened.talk.sent()
    pipeline = opened.client.pipeline([("GET", "k")], return_errors=True)
    await opened.client.aclose()
    for future in (sent, script):
        with pytest.raises(TimeoutError):
            await future
    assert isinstance((await pipeline)[0], BackendUnavailable)
    for call in (
        lambda: opened.client.call("PING"),
        lambda: opened.client.pipeline([("PING",)]),
        lambda: opened.client.run(Script("return 1")),
        lambda: opened.client.watch("k").__aenter__(),
    ):
        with pytest.raises(ClosedError):
            await call()


async def test_null_of_an_exec_is_told_as_it_is(opened: Open) -> None:
    answer = opened.client.pipeline([("GET", "k")], transaction=True)
    opened.talk.sent()
    opened.talk.answer(OK, QUEUED, b"*1\r\n" + NULL)
    assert await answer == [None]
