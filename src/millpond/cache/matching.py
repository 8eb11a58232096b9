"""`delete_matching`: a walk through all keys of the server, for what a pattern of keys names.

What must stay true: *nothing but entries of this namespace is removed*, whatever the pattern, the
prefix and the other programs on the server are.

- The prefix and the namespace are escaped: what is a wildcard in a pattern is a character there.
- What SCAN brings must read as a key of a cache: no braces, which locks, limits and tags put around
  theirs, and no others of the characters that keys escape.
- And it must begin as an entry does. Another program's strings stay, and so do its hashes, lists
  and sets.

A lease is an entry: the load that holds it stores nothing.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from millpond.cache.batches import BATCH
from millpond.errors import ConfigError, ReplyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from millpond.core.client import Client

__all__ = ["check_pattern", "matching"]

_WILD = re.compile(r"([*?\[\]\\])")
_FOREIGN = re.compile(r"[\x00-\x20{}\x7f]")
_MAGIC = b"\x89M"


def check_pattern(head: str, pattern: str) -> str:
    """Return the pattern of whole Redis keys.

    Args:
        head: What all keys of the namespace begin with.
        pattern: Of what follows.

    Raises:
        ConfigError: It is no pattern; the message names the fix.
    """
    if not isinstance(pattern, str) or not pattern:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"a pattern is a str such as '4*', not {pattern!r}; '*' matches every key"
        )
    try:
        pattern.encode()
    except UnicodeEncodeError:
        raise ConfigError("the pattern contains a lone surrogate, as no key does") from None
    return _WILD.sub(r"\\\1", head) + pattern


async def matching(client: Client, head: str, pattern: str) -> AsyncIterator[list[str]]:
    """Yield the entries that match, some at a time; one may come twice.

    Args:
        client: The way to Redis.
        head: What all keys of the namespace begin with.
        pattern: From `check_pattern`.

    Redis: SCAN, and GETRANGE for each key that it brings.
    """
    cursor: Any = b"0"
    while True:
        cursor, found = await client.call(
            "SCAN", cursor, "MATCH", pattern, "COUNT", BATCH, "TYPE", "string"
        )
        names = [name for key in dict.fromkeys(found) if (name := _ours(key, head))]
        heads = await asyncio.gather(
            *[client.call("GETRANGE", name, 0, 1) for name in names], return_exceptions=True
        )
        entries: list[str] = []
        for name, begins in zip(names, heads, strict=True):
            if begins == _MAGIC:
                entries.append(name)
            elif isinstance(begins, BaseException) and not _wrong_type(begins):
                raise begins
        if entries:
            yield entries
        if cursor in (b"0", "0", 0):
            return


def _ours(key: bytes, head: str) -> str:
    """Return a key as text if a cache of this namespace may have written it; otherwise nothing."""
    try:
        name = key.decode()
    except UnicodeDecodeError:
        return ""
    return name if name.startswith(head) and not _FOREIGN.search(name, len(head)) else ""


def _wrong_type(error: BaseException) -> bool:
    """Tell whether somebody put a list or the like there since SCAN saw a string."""
    return isinstance(error, ReplyError) and error.code == "WRONGTYPE"
