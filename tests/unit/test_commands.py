"""Which commands may share the connection, and what is said about those that may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from millpond.core.commands import check, is_read
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from millpond.core.commands import Arg

REFUSED: list[tuple[tuple[Arg, ...], str]] = [
    (("SUBSCRIBE", "c"), "plain redis.asyncio client"),
    (("PSUBSCRIBE", "c*"), "plain redis.asyncio client"),
    (("SSUBSCRIBE", "c"), "plain redis.asyncio client"),
    (("MONITOR",), "plain redis.asyncio client"),
    (("BLPOP", "k", 0), "client.watch()"),
    (("BLMOVE", "a", "b", "LEFT", "LEFT", 0), "the form without B"),
    (("BZPOPMIN", "k", 0), "the form without B"),
    (("WAIT", 1, 0), "every caller"),
    (("WAITAOF", 1, 0, 0), "every caller"),
    (("XREAD", "BLOCK", 0, "STREAMS", "s", "$"), "client.watch()"),
    (("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">"), "client.watch()"),
    (("MULTI",), "transaction=True"),
    (("EXEC",), "transaction=True"),
    (("DISCARD",), "transaction=True"),
    (("WATCH", "k"), "client.run()"),
    (("SELECT", 1), "the client's URL"),
    (("AUTH", "secret"), "the client's URL"),
    (("HELLO", 3), "the client's URL"),
    (("RESET",), "the client's URL"),
    (("QUIT",), "the client's URL"),
    (("CLIENT", "REPLY", "OFF"), "leave the future unawaited"),
    (("CLIENT", "TRACKING", "OFF"), "client.watch()"),
    (("CLIENT", "CACHING", "YES"), "client.watch()"),
    (("CLIENT", "NO-TOUCH", "ON"), "the client's URL"),
    (("CLIENT", "PAUSE", 1000), "redis-cli"),
]


@pytest.mark.parametrize(("command", "alternative"), REFUSED, ids=lambda part: str(part)[:24])
def test_command_that_would_harm_others_is_refused_with_the_alternative(
    command: tuple[Arg, ...], alternative: str
) -> None:
    with pytest.raises(ConfigError, match=r"cannot run on a shared connection") as refused:
        check(command)
    assert alternative in str(refused.value)


def test_refusal_never_shows_the_arguments() -> None:
    with pytest.raises(ConfigError) as refused:
        check(("AUTH", "user", "geheim"))
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("name", ["subscribe", "Subscribe", b"SUBSCRIBE", b"subscribe"])
def test_case_and_type_of_the_name_make_no_difference(name: Arg) -> None:
    with pytest.raises(ConfigError, match="SUBSCRIBE cannot run"):
        check((name, "c"))


@pytest.mark.parametrize("command", [(b"client", b"reply", b"off"), ("Client", "Reply", "Skip")])
def test_case_and_type_of_a_subcommand_make_no_difference(command: tuple[Arg, ...]) -> None:
    with pytest.raises(ConfigError, match="CLIENT REPLY"):
        check(command)


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "k"),
        ("SET", "subscribe", "multi"),
        ("LPOP", "k"),
        ("CLIENT", "ID"),
        ("CLIENT", "LIST"),
        ("CLIENT", "GETNAME"),
        ("CLIENT", "TRACKINGINFO"),
        ("CLIENT",),
        ("XREAD", "COUNT", 1, "STREAMS", "s", 0),
        ("XREAD", "STREAMS", "block", 0),  # here it is a stream's name
        ("XREADGROUP", "GROUP", "block", "block", "STREAMS", "s", ">"),
        ("XADD", "s", "*", "BLOCK", 1),
        ("PUBLISH", "c", "m"),
        ("PUBSUB", "NUMSUB", "c"),
        ("EVAL", "return 1", 0),
        ("SOMETHING.NEW", "k"),
        (1, 2),
    ],
    ids=str,
)
def test_everything_else_may_run(command: tuple[Arg, ...]) -> None:
    check(command)


@pytest.mark.parametrize("name", ["GET", "get", b"pttl", "HGETALL", "Exists"])
def test_reads_are_known_as_reads(name: Arg) -> None:
    assert is_read(name)


@pytest.mark.parametrize(
    "name",
    ["SET", "GETDEL", "GETEX", "GETSET", "EVAL", "EVALSHA", "SORT", "CLIENT", "NEW", "XREAD"],
)
def test_what_is_not_known_as_a_read_counts_as_a_write(name: Arg) -> None:
    assert not is_read(name)
