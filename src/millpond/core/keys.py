"""Redis keys: `prefix:namespace:key`, readable in redis-cli, and different for different keys.

A key is one part, or a tuple of parts. A part is its text: an int in decimal, a `UUID` in its
canonical form, a `date` in ISO form, an enum member by its value. Identity is that text, so
`42`, `"42"` and an `IntEnum` member worth 42 are one key, and so are a UUID and its canonical
string: path parameters arrive as strings, and must find what was stored under the number.

Apart from that, different keys never collide:

- `%`, `:`, `{`, `}`, space, and control characters inside a part are written `%25`, `%3A`, ...
  (ASCII only: other Unicode stays as it is, in UTF-8). A bare `:` therefore only ever separates,
  and with no bare brace no part can become a Redis Cluster hash tag;
- an empty part is written as a bare `%`, which no escape produces;
- a tuple of one part ends in `:`, which no other key does: `("a",)` is `a:`, `("a", "")` is `a:%`.

The prefix is the operator's (`"app:prod"`) and the namespace the programmer's; two keyspaces are
kept apart by giving them different ones, and nothing more: prefix `"app"` with namespace `"prod"`
shares its keys with whatever puts `"app:prod"` before its own.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from enum import Enum
from typing import TypeAlias, cast
from uuid import UUID

from millpond.errors import ConfigError

__all__ = ["LONGEST", "Key", "Keyspace", "Part", "part_text", "unkeyable"]

Part: TypeAlias = str | int | UUID | date | Enum
"""One part of a key; an enum's value must be a str or an int. A bool or a datetime passes the
type checker (they are an int and a date to it) and is refused when used."""

Key: TypeAlias = Part | tuple[Part, ...]
"""A part, or a non-empty tuple of parts: `42`, `"ada"`, `("order", 7, date(2025, 1, 31))`."""

LONGEST = 1024
"""Bytes of a whole Redis key, in UTF-8."""

_HEAD_LONGEST = 256
_RARE = re.compile(r"[\x00-\x20{}\x7f]")  # escaped, as are percent signs and colons
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]+")


class Keyspace:
    """Turn keys into Redis keys under one prefix and namespace.

    Args:
        prefix: Goes before everything, such as `"app:prod"`; `""` for none. Printable, without
            spaces and braces, and without an empty segment.
        namespace: ASCII letters, digits, `_`, `-` and `.`.

    Raises:
        ConfigError: The prefix or the namespace is none such.
    """

    __slots__ = ("_head", "_quick", "namespace", "prefix")

    def __init__(self, prefix: str, namespace: str) -> None:
        """Check both once, so that calls need not."""
        self.prefix = _checked_prefix(prefix)
        self.namespace = _checked_namespace(namespace)
        self._head = f"{prefix}:{namespace}:" if prefix else f"{namespace}:"
        room = LONGEST - len(self._head.encode())
        if room < LONGEST - _HEAD_LONGEST:
            raise ConfigError(
                f"prefix and namespace take {LONGEST - room} bytes of every key; "
                f"shorten them to at most {_HEAD_LONGEST} together"
            )
        self._quick = room // 4  # characters that fit whatever they are: UTF-8 has at most 4 bytes

    @property
    def head(self) -> str:
        """What every key begins with: the prefix, the namespace, and their colons."""
        return self._head

    def __call__(self, key: Key) -> str:
        """Return the Redis key of `key`.

        Args:
            key: A part (str, int, UUID, date, enum of str or int) or a tuple of parts.

        Returns:
            `prefix:namespace:key`, at most 1024 bytes.

        Raises:
            ConfigError: The key, or a part of it, is of another type (bool, float, None, bytes,
                datetime, a nested or empty tuple, any object), cannot be written in UTF-8, or is
                too long. The message names the type and the fix.
        """
        # Nearly every call is one of these three, and this runs on every hit.
        if type(key) is int:
            try:
                text = f"{self._head}{key}"
            except ValueError:  # more digits than Python converts
                raise ConfigError(_too_long("thousands of")) from None
            if len(text) <= LONGEST:
                return text
        elif type(key) is str and len(key) <= self._quick:
            if key.isalnum():
                return self._head + key
            if key.isascii():  # an escape takes three bytes, so it fits all the same
                return self._head + _escaped(key)
        return self._compose(key)

    def _compose(self, key: Key) -> str:
        """Escape and join: any key, at leisure."""
        if not isinstance(key, tuple):
            text = self._head + _escaped(key)
        elif len(key) > 1:
            text = self._head + ":".join([_escaped(part) for part in key])
        elif key:
            text = f"{self._head}{_escaped(key[0])}:"
        else:
            raise ConfigError("a key must not be an empty tuple; name what is kept, such as 'all'")
        try:
            size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError:
            raise ConfigError(
                "a key part contains a lone surrogate, which UTF-8 cannot carry; decode the bytes "
                "it came from with errors='replace', or use their .hex()"
            ) from None
        if size > LONGEST:
            raise ConfigError(_too_long(size))
        return text


def _escaped(part: Part) -> str:
    """Return a part's text with everything escaped that could be taken for structure."""
    if type(part) is int:
        return _decimal(part)
    text = part if type(part) is str else _text(part)
    # A third of what one substitution by a pattern takes, for `order:42` and its like.
    text = text.replace("%", "%25").replace(":", "%3A")
    if _RARE.search(text):
        return _RARE.sub(_percent, text)
    return text or "%"


def _text(part: Part) -> str:
    """Return the text that a part is identified by."""
    if isinstance(part, Enum):  # first: members of StrEnum and IntEnum are a str and an int too
        if _keyable_value(part):
            return _text(cast("str | int", part.value))
    elif isinstance(part, str):
        return str.__str__(part)
    elif isinstance(part, int):
        if not isinstance(part, bool):
            return _decimal(part)
    elif isinstance(part, UUID):
        return str(part)
    elif isinstance(cast("object", part), date) and not isinstance(part, datetime):
        return date.isoformat(part)
    raise ConfigError(_refusal(part))


def part_text(part: Part) -> str:
    """Return the text that a part is identified by, unescaped.

    Raises:
        ConfigError: It is no part; the message names the type and the fix.
    """
    return _text(part)


def unkeyable(cls: type) -> str:
    """Say why instances of a class cannot be parts of a key, and what to write instead; or `""`.

    Args:
        cls: Any class. An enum is judged by its members, where it has any.
    """
    if issubclass(cls, Enum):
        bad = next((member for member in cls if not _keyable_value(member)), None)
        return "" if bad is None else _refusal(bad)
    if issubclass(cls, str | int | UUID | date) and not issubclass(cls, bool | datetime):
        return ""
    fix = next(fix for types, fix in _FIXES if issubclass(cls, types))
    return f"a key part must not be a {cls.__name__}; {fix}"


def _keyable_value(member: Enum) -> bool:
    value: object = member.value
    return isinstance(value, str | int) and not isinstance(value, bool | Enum)


def _decimal(number: int) -> str:
    """Return an int's digits, whatever its class says of them."""
    try:
        return int.__repr__(number)
    except ValueError:  # more digits than Python converts
        raise ConfigError(_too_long("thousands of")) from None


def _percent(found: re.Match[str]) -> str:
    """Write one ASCII character as its percent escape."""
    return f"%{ord(found[0]):02X}"


_FIXES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "write int(flag), or a word for it"),
    (
        type(None),
        "a missing id is mostly a mistake; where it is meant, write a word such as 'none'",
    ),
    (float, "round it to an int, or format it to the digits that matter"),
    ((bytes, bytearray, memoryview), "decode it, or use its .hex()"),
    (datetime, "use .date() for a day, or .isoformat() in one agreed time zone for an instant"),
    (tuple, "flatten it: tuples do not nest in keys"),
    (list, "write it as a tuple"),
    (Enum, "give the enum str or int values, or pass member.name"),
    (object, "pass its id: str, int, UUID, date, an enum of str or int, or a tuple of these"),
)


def _refusal(part: object) -> str:
    """Name the type that is no key part, and what to write instead."""
    fix = next(fix for types, fix in _FIXES if isinstance(part, types))
    name = type(part).__name__
    if isinstance(part, Enum):
        name += f" whose value is a {type(cast('object', part.value)).__name__}"
    return f"a key part must not be a {name}; {fix}"


def _too_long(size: int | str) -> str:
    """Say how long the key is, and how to shorten it."""
    return (
        f"the Redis key would take {size} bytes, the most is {LONGEST}; hash what is long in it: "
        "hashlib.blake2b(text.encode(), digest_size=16).hexdigest()"
    )


def _checked_prefix(prefix: str) -> str:
    """Return the prefix, or say what is wrong with it."""
    if not isinstance(prefix, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"prefix must be a str, not a {type(prefix).__name__}; '' means none")
    bad = next((c for c in prefix if not c.isprintable() or c.isspace() or c in "{}"), None)
    if bad is not None:
        raise ConfigError(
            f"prefix {prefix!r} must not contain {bad!r}: no control characters, spaces or "
            "braces; use a plain one such as 'app:prod'"
        )
    if prefix and "" in prefix.split(":"):
        raise ConfigError(
            f"prefix {prefix!r} has an empty segment; ':' is added after it, so write "
            f"{':'.join(filter(None, prefix.split(':')))!r}"
        )
    return prefix


def _checked_namespace(namespace: str) -> str:
    """Return the namespace, or say what is wrong with it."""
    if not isinstance(namespace, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"namespace must be a str such as 'user', not a {type(namespace).__name__}"
        )
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigError(
            f"namespace {namespace!r} must be letters, digits, '_', '-' and '.', such as 'user'; "
            "what varies belongs into the key"
        )
    return namespace
