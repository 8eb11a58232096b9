"""The exchange without a socket: what is answered, to whom, and what becomes of the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from millpond.core import pieces
from millpond.core.exchange import Exchange, ProtocolError, pack
from millpond.core.slots import Collector
from millpond.errors import BackendTimeout, BackendUnavailable, ConfigError, ReplyError
from tests.support.conversation import NULL, OK, Conversation, bulk, push

if TYPE_CHECKING:
    from collections.abc import Iterator

# One of every kind of reply, as RESP3 has them, and what each becomes.
REPLIES: list[tuple[bytes, Any]] = [
    (bulk(b"v\r\n\x00"), b"v\r\n\x00"),
    (bulk(b""), b""),
    (NULL, None),
    (b"$-1\r\n", None),
    (OK, b"OK"),
    (b":42\r\n", 42),
    (b",1.5\r\n", 1.5),
    (b"#t\r\n", True),
    (b"*3\r\n:1\r\n_\r\n*1\r\n+a\r\n", [1, None, [b"a"]]),
    (b"%1\r\n$1\r\na\r\n:1\r\n", {b"a": 1}),
    (b"~2\r\n:1\r\n:2\r\n", [1, 2]),
    (b"=7\r\ntxt:abc\r\n", b"abc"),
]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that stands still, to make futures of."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def talk(loop: asyncio.AbstractEventLoop) -> Conversation:
    return Conversation(loop)


def test_commands_of_one_turn_leave_in_one_write_and_ask_for_it_once(talk: Conversation) -> None:
    for number in range(3):
        talk.call("ECHO", number)
    assert talk.wakes == 1
    assert talk.sent() == ["ECHO 0", "ECHO 1", "ECHO 2"]
    assert talk.sent() == []
    talk.call("ECHO", 3)
    assert talk.wakes == 2
    assert (talk.exchange.batches, talk.exchange.sent) == (1, 3)


def test_get_of_any_key_is_framed_as_every_other_command(
    loop: asyncio.AbstractEventLoop,
) -> None:
    talk = Conversation(loop, limit=2000)
    keys = ["k" * length for length in range(1100)]
    keys += ["\u00e9" * 512, "\u00e9" * 513, "\U0001f986" * 256, "\U0001f986" * 257]
    for key in keys:
        talk.call("GET", key)
        assert talk.exchange.take(0.0) == pack(("GET", key))


def test_replies_split_at_every_byte_reach_their_own_commands(
    loop: asyncio.AbstractEventLoop,
) -> None:
    stream = b"".join(frame for frame, _ in REPLIES)
    for cut in range(len(stream) + 1):
        talk = Conversation(loop)
        answers = [talk.call("ECHO", number) for number in range(len(REPLIES))]
        talk.sent()
        talk.answer(stream[:cut])
        talk.answer(stream[cut:])
        assert [answer.result() for answer in answers] == [value for _, value in REPLIES]


def test_replies_that_come_one_byte_at_a_time_are_each_given_as_soon_as_whole(
    talk: Conversation,
) -> None:
    answers = [talk.call("ECHO", number) for number in range(len(REPLIES))]
    talk.sent()
    for (frame, value), answer in zip(REPLIES, answers, strict=True):
        for place in range(len(frame)):
            assert not answer.done()
            talk.answer(frame[place : place + 1])
        assert answer.result() == value
    assert talk.exchange.in_flight == 0


@pytest.mark.parametrize("piece", [1, 2, 7, 31])
def test_replies_given_to_the_parser_in_pieces_reach_their_own_commands(
    loop: asyncio.AbstractEventLoop, piece: int
) -> None:
    frames = [frame for frame, _ in REPLIES]
    talk = Conversation(loop, piece=piece)
    answers = [talk.call("ECHO", number) for number in range(2 * len(REPLIES))]
    talk.sent()
    talk.answer(*frames, *frames[:5], frames[5][:2])
    assert [answer.done() for answer in answers] == [True] * 17 + [False] * 7
    talk.answer(frames[5][2:], *frames[6:])
    assert [answer.result() for answer in answers] == [value for _, value in REPLIES] * 2


@pytest.mark.parametrize("read", [250_000, 5_000])
def test_parser_holds_a_piece_of_what_has_arrived_however_much_that_is(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, read: int
) -> None:
    """It moves all that it holds for every kilobyte that it consumes."""
    held: list[int] = []

    class Parser(hiredis.Reader):
        def gets(self, *arguments: Any) -> Any:
            held.append(self.len())
            return super().gets(*arguments)

    monkeypatch.setattr(pieces, "Reader", Parser)
    talk = Conversation(loop, limit=10_000)
    answers = [talk.call("ECHO", number) for number in range(10_000)]
    talk.sent()
    stream = bulk("x" * 200) * len(answers)
    for begin in range(0, len(stream), read):  # more than is answered meanwhile
        talk.exchange.feed(stream[begin : begin + read], 8)
    while talk.exchange.feed(b"", 8):
        pass
    assert all(answer.result() == b"x" * 200 for answer in answers)
    assert 4_000 < max(held) < 2 * 16_384


def test_pushes_between_replies_are_no_replies(talk: Conversation) -> None:
    answers = [talk.call("ECHO", number) for number in range(3)]
    talk.sent()
    replies = [push(b"a"), bulk("0"), push(b"b", b"c"), bulk("1"), bulk("2"), push()]
    talk.answer(*replies)
    assert [answer.result() for answer in answers] == [b"0", b"1", b"2"]
    assert talk.pushes == [
        [b"invalidate", [b"a"]],
        [b"invalidate", [b"b", b"c"]],
        [b"invalidate", None],
    ]


def test_push_split_between_two_replies_is_passed_on_when_whole(talk: Conversation) -> None:
    first, second = talk.call("ECHO", 1), talk.call("ECHO", 2)
    talk.sent()
    frame = push(b"a")
    talk.answer(bulk("1"), frame[:7])
    assert (first.result(), talk.pushes) == (b"1", [])
    talk.answer(frame[7:], bulk("2"))
    assert (second.result(), talk.pushes) == (b"2", [[b"invalidate", [b"a"]]])


def test_push_is_passed_on_in_its_place_among_the_replies(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[str] = []
    exchange = Exchange(
        future=loop.create_future,
        wake=lambda: None,
        on_push=lambda _: seen.append("push"),
        limit=2,
    )
    for name in ("before", "after"):
        exchange.group([("GET", "a")], (Collector(1, lambda _, name=name: seen.append(name)),))
    exchange.take(0.0)
    exchange.feed(bulk("1") + push(b"a") + bulk("2"))
    assert seen == ["before", "push", "after"]


@pytest.mark.parametrize("gone", range(5))
def test_abandoned_command_keeps_its_place_before_and_after_it_left(
    loop: asyncio.AbstractEventLoop, gone: int
) -> None:
    for leaves_first in (True, False):
        talk = Conversation(loop)
        answers = [talk.call("ECHO", number) for number in range(5)]
        if leaves_first:
            talk.sent()
        answers[gone].cancel()
        if not leaves_first:
            assert len(talk.sent()) == 5
        talk.answer(*[bulk(str(number)) for number in range(5)])
        for number, answer in enumerate(answers):
            assert answer.cancelled() if number == gone else answer.result() == b"%d" % number


def test_error_reply_to_an_abandoned_command_hurts_nobody(talk: Conversation) -> None:
    gone, stays = talk.call("INCR", "a"), talk.call("GET", "b")
    talk.sent()
    gone.cancel()
    talk.answer(b"-ERR value is not an integer\r\n", bulk("b"))
    assert stays.result() == b"b"


def test_error_reply_is_an_exception_with_its_code(talk: Conversation) -> None:
    answer = talk.call("GET", "list")
    talk.sent()
    talk.answer(b"-WRONGTYPE Operation against a key\r\n")
    error = answer.exception()
    assert isinstance(error, ReplyError)
    assert (error.code, str(error)) == ("WRONGTYPE", "WRONGTYPE Operation against a key")
    assert talk.exchange.distress is None


def test_error_reply_that_is_no_text_is_an_exception_all_the_same(talk: Conversation) -> None:
    answer, following = talk.call(b"\xff\xfe"), talk.call("PING")
    talk.sent()
    talk.answer(b"-ERR unknown command '\xff\xfe'\r\n+PONG\r\n")
    assert isinstance(answer.exception(), ReplyError)
    assert following.result() == b"PONG"


@pytest.mark.parametrize("code", ["LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN"])
def test_server_that_says_it_cannot_serve_counts_as_unavailable(
    talk: Conversation, code: str
) -> None:
    answer = talk.call("GET", "a")
    talk.sent()
    talk.answer(f"-{code} not now\r\n".encode())
    assert isinstance(answer.exception(), BackendUnavailable)
    assert isinstance(talk.exchange.distress, BackendUnavailable)


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("User u has no permissions to run the 'client|kill' command", "+client|kill"),
        ("this user has no permissions to run the 'GET' command", "+get"),
        ("No permissions to access a key", "~<prefix>:*"),
        ("this user has no permissions to access one of the keys used as arguments", "~<prefix>:*"),
        ("something new", "ACL LOG"),
    ],
)
def test_missing_permission_names_the_acl_rule(talk: Conversation, said: str, fix: str) -> None:
    answer = talk.call("GET", "a")
    talk.sent()
    talk.answer(f"-NOPERM {said}\r\n".encode())
    error = answer.exception()
    assert isinstance(error, ReplyError)
    assert error.code == "NOPERM"
    assert fix in str(error)


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("The user executing the script can't run this command or subcommand", "ACL LOG"),
        ("The user executing the script can't access at least one of the keys", "~<prefix>:*"),
        ("ACL failure in script: User u has no permissions to run the 'del' command", "+del"),
    ],
)
def test_refusal_inside_a_script_is_a_missing_permission_too(
    talk: Conversation, said: str, fix: str
) -> None:
    answer = talk.call("EVALSHA", "12ab", 0)
    talk.sent()
    talk.answer(f"-ERR {said} script: 12ab, on @user_script:17.\r\n".encode())
    error = answer.exception()
    assert isinstance(error, ReplyError)
    assert error.code == "NOPERM"
    assert fix in str(error)


@pytest.mark.parametrize("frame", [OK, b"-ERR what\r\n", bulk("v"), b":1\r\n"])
def test_reply_to_nothing_is_a_protocol_error(talk: Conversation, frame: bytes) -> None:
    answer = talk.call("PING")
    talk.sent()
    with pytest.raises(ProtocolError, match="reply to no command"):
        talk.answer(b"+PONG\r\n", frame)
    assert answer.result() == b"PONG"


def test_reply_to_what_has_not_left_is_a_protocol_error(talk: Conversation) -> None:
    answer = talk.call("PING")
    with pytest.raises(ProtocolError, match="reply to no command"):
        talk.answer(OK)
    assert not answer.done()


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0\r\n", b"\x15\x03"])
def test_what_is_no_redis_is_a_protocol_error(talk: Conversation, rubbish: bytes) -> None:
    talk.call("PING")
    talk.sent()
    with pytest.raises(ProtocolError):
        talk.answer(rubbish)


def test_failing_tells_those_who_were_sent_from_those_who_were_not(
    loop: asyncio.AbstractEventLoop,
) -> None:
    talk = Conversation(loop, limit=2)
    sent, gone = talk.call("GET", "a"), talk.call("GET", "b")
    talk.sent()
    waiting = [talk.call("GET", "c"), talk.call("GET", "d")]
    gone.cancel()
    talk.fail()
    assert isinstance(sent.exception(), BackendTimeout)
    for answer in waiting:
        assert isinstance(answer.exception(), BackendUnavailable)
    assert (talk.exchange.in_flight, talk.exchange.oldest()) == (0, None)


def test_failing_gives_each_caller_an_exception_of_its_own(talk: Conversation) -> None:
    answers = [talk.call("GET", "same") for _ in range(3)]
    talk.sent()
    talk.fail()
    errors = [answer.exception() for answer in answers]
    assert all(isinstance(error, BackendTimeout) for error in errors)
    assert len(set(map(id, errors))) == 3


def test_half_answered_group_fails_as_one_when_the_connection_is_lost(talk: Conversation) -> None:
    replies: list[list[Any]] = []
    talk.group([("GET", "a"), ("GET", "b")], *(Collector(2, replies.append),) * 2)
    talk.sent()
    talk.answer(bulk("1"))
    talk.fail()
    [[first, second]] = replies
    assert first == b"1"
    assert isinstance(second, BackendTimeout)


def test_calls_on_a_failed_exchange_fail_at_once(talk: Conversation) -> None:
    talk.fail()
    replies: list[list[Any]] = []
    talk.group([("GET", "a")], Collector(1, replies.append))
    assert isinstance(replies[0][0], BackendUnavailable)
    assert isinstance(talk.call("GET", "a").exception(), BackendUnavailable)


def test_oldest_is_when_the_oldest_unanswered_command_left(talk: Conversation) -> None:
    exchange = talk.exchange
    assert exchange.oldest() is None
    for now in (1.0, 2.0, 3.0):
        talk.call("PING")
        talk.call("PING")
        assert len(talk.sent(now)) == 2
    talk.answer(OK)
    assert exchange.oldest() == 1.0
    talk.answer(OK)
    assert exchange.oldest() == 2.0
    talk.answer(OK, OK, OK)
    assert exchange.oldest() == 3.0
    talk.call("PING")
    talk.answer(OK)
    assert exchange.oldest() is None  # what waits to be written is no fault of the server's


BAD: list[Any] = [None, True, [1], object(), bytearray(b"x"), "\ud800"]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: type(bad).__name__)
def test_argument_that_cannot_be_sent_is_refused_and_leaves_no_trace(
    talk: Conversation, bad: Any
) -> None:
    with pytest.raises(ConfigError):
        talk.call("GET", bad)
    with pytest.raises(ConfigError):
        talk.call("SET", "k", bad)
    with pytest.raises(ConfigError):
        talk.group([("SET", "k", "v"), ("SET", "k", bad)], Collector(2, lambda _: None))
    answer = talk.call("GET", "k")
    assert talk.sent() == ["GET k"]
    talk.answer(bulk("v"))
    assert answer.result() == b"v"


@pytest.mark.parametrize("bad", [(), ([],), ({},), (None,), ("\ud800",)])
def test_command_that_is_none_is_refused(talk: Conversation, bad: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError):
        talk.call(*bad)
    assert talk.sent() == []
