"""Keys: readable, and different for different keys, whatever is in them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millpond.core.keys import LONGEST, Key, Keyspace
from millpond.errors import ConfigError

users = Keyspace("app", "user")
ID = UUID("12345678-1234-5678-1234-567812345678")


class Colour(Enum):
    RED = "red"
    ONE = 1
    BAD = 1.5


class Switch(Enum):
    ON = True


class Level(IntEnum):
    HIGH = 3


class Plan(StrEnum):
    FREE = "free:tier"


class Bits(IntFlag):
    A = 1
    B = 2


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Number(int):
    def __repr__(self) -> str:
        return "something else"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (42, "42"),
        (-7, "-7"),
        (2**70, str(2**70)),
        ("ada", "ada"),
        ("ada@example.com", "ada@example.com"),
        ("grün 漢字", "grün%20漢字"),
        ("", "%"),
        ("%", "%25"),
        ("a:b", "a%3Ab"),
        ("{tag}", "%7Btag%7D"),
        ("a\r\n\x00\x7f\t", "a%0D%0A%00%7F%09"),
        (ID, "12345678-1234-5678-1234-567812345678"),
        (date(2025, 1, 31), "2025-01-31"),
        (Colour.RED, "red"),
        (Colour.ONE, "1"),
        (Level.HIGH, "3"),
        (Plan.FREE, "free%3Atier"),
        (Bits.A | Bits.B, "3"),
        (Text("ada"), "ada"),
        (Number(5), "5"),
        (("order", 7, date(2025, 1, 31)), "order:7:2025-01-31"),
        (("a", ""), "a:%"),
        (("a",), "a:"),
        (("",), "%:"),
        (("", ""), "%:%"),
    ],
)
def test_a_key_is_written_readably(key: Key, text: str) -> None:
    assert users(key) == f"app:user:{text}"


def test_without_a_prefix_the_namespace_comes_first() -> None:
    assert Keyspace("", "user")(42) == "user:42"
    assert Keyspace("app:prod", "user")(42) == "app:prod:user:42"


@pytest.mark.parametrize(
    ("key", "name", "fix"),
    [
        (True, "bool", "int(flag)"),
        (1.0, "float", "round it"),
        (None, "NoneType", "a missing id"),
        (b"x", "bytes", ".hex()"),
        (bytearray(b"x"), "bytearray", ".hex()"),
        (datetime(2025, 1, 1, tzinfo=UTC), "datetime", ".date()"),
        (["a"], "list", "tuple"),
        ({"a": 1}, "dict", "pass its id"),
        (object(), "object", "pass its id"),
        (Colour.BAD, "Colour whose value is a float", "member.name"),
        (Switch.ON, "Switch whose value is a bool", "member.name"),
        (("a", ("b",)), "tuple", "flatten"),
        ((1, None), "NoneType", "a missing id"),
        ((1, False), "bool", "int(flag)"),
    ],
)
def test_other_types_are_refused_with_the_type_and_the_fix(key: Any, name: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"must not be a {name};")) as refused:
        users(key)
    assert fix in str(refused.value)


def test_the_empty_tuple_is_refused() -> None:
    with pytest.raises(ConfigError, match="empty tuple"):
        users(())


@pytest.mark.parametrize("key", ["\ud800", ("a", "b\udfff"), "x" * 500 + "\ud800"])
def test_lone_surrogates_are_refused(key: Key) -> None:
    with pytest.raises(ConfigError, match="lone surrogate"):
        users(key)


@pytest.mark.parametrize("letter", ["a", "ü", "漢", "🦆", ":"])
def test_the_whole_key_may_take_1024_bytes_and_not_one_more(letter: str) -> None:
    width = 3 if letter == ":" else len(letter.encode())
    room, rest = divmod(LONGEST - len(b"app:user:"), width)
    fits = users(letter * room + "x" * rest)
    assert len(fits.encode()) == LONGEST
    with pytest.raises(ConfigError, match=r"take 1025 bytes, the most is 1024.*blake2b"):
        users(letter * room + "x" * (rest + 1))


@pytest.mark.parametrize(
    "key",
    [10**1100, 10**5000, -(10**5000), (1, 10**5000), Number(10**5000)],
    ids=["1101 digits", "5001 digits", "negative", "in a tuple", "a subclass"],
)
def test_numbers_too_long_for_a_key_are_refused(key: Key) -> None:
    with pytest.raises(ConfigError, match="blake2b"):
        users(key)


@pytest.mark.parametrize(
    "prefix", ["a b", "a\n", "{a}", "a}", "a:", ":a", "a::b", "\ud800", "é" * 200, None, 5, b"a"]
)
def test_a_bad_prefix_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        Keyspace(prefix, "user")


@pytest.mark.parametrize(
    "namespace", ["", "a:b", "a b", "a\n", "usér", "{u}", "u" * 300, None, 5, b"user"]
)
def test_a_bad_namespace_is_refused(namespace: Any) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        Keyspace("app", namespace)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(
    "%:{}25A37BD ", max_size=6
)
parts = (
    texts
    | st.integers()
    | st.uuids()
    | st.dates()
    | st.sampled_from([Colour.RED, Colour.ONE, Level.HIGH, Plan.FREE])
)
keys = parts | st.lists(parts, min_size=1, max_size=4).map(tuple)


def identity(key: Key) -> tuple[bool, tuple[str, ...]]:
    """Return what two keys must share to be one: shape and text."""
    several = isinstance(key, tuple)
    return several, tuple(
        str(part.value if isinstance(part, Enum) else part) for part in (key if several else (key,))
    )


@given(keys, keys)
@example(("a",), "a")
@example(("a", ""), ("a",))
@example("%3A", ":")
@example("", "%")
@example(("a:b",), ("a", "b"))
@example("a:", ("a",))
@example(7, "7")
@example(ID, str(ID))
def test_two_keys_are_one_exactly_when_their_texts_are(first: Key, second: Key) -> None:
    assert (users(first) == users(second)) is (identity(first) == identity(second))


@given(keys)
def test_a_key_can_be_read_back_from_what_is_in_redis(key: Key) -> None:
    several, expected = identity(key)
    body = users(key).removeprefix("app:user:")
    assert ("{" in body, "}" in body, " " in body, "\n" in body) == (False,) * 4
    written = body.removesuffix(":").split(":") if several else [body]
    assert tuple("" if part == "%" else unquote(part) for part in written) == expected


@given(
    st.text(st.characters(), max_size=400)
    | st.integers()
    | st.lists(st.text(st.characters()), max_size=3).map(tuple)
)
def test_any_text_gives_a_key_that_fits_or_a_clear_error(key: Key) -> None:
    try:
        text = users(key)
    except ConfigError:
        return
    assert len(text.encode()) <= LONGEST
