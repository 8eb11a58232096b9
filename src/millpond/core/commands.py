"""Which commands may share a multiplexed connection, and which would break it for everyone.

One connection carries the commands of all callers, so a command that blocks it, changes its
state or its reply format belongs to nobody in particular. `rule_of` sorts commands; `refuse`
names the alternative for those that are not let through.
"""

from __future__ import annotations

from functools import lru_cache

from millpond.errors import ConfigError

__all__ = ["READS", "WRITES", "Arg", "check", "empties", "is_read", "rule_of"]

Arg = str | bytes | int | float

READS = 0
WRITES = 1
ASK_ARGUMENTS = 2
REFUSED = 3

_READS = frozenset(
    [
        "GET",
        "PTTL",
        "TTL",
        "EXISTS",
        "MGET",
        "STRLEN",
        "TYPE",
        "GETRANGE",
        "HGET",
        "HGETALL",
        "HMGET",
        "HLEN",
        "HEXISTS",
        "LRANGE",
        "LLEN",
        "SMEMBERS",
        "SISMEMBER",
        "SMISMEMBER",
        "SCARD",
        "ZSCORE",
        "ZRANGE",
        "ZCARD",
        "ZRANK",
        "ZREVRANK",
        "ZCOUNT",
        "PFCOUNT",
        "GETBIT",
        "BITCOUNT",
        "PING",
        "ECHO",
        "TIME",
        "INFO",
        "DBSIZE",
        "OBJECT",
        "MEMORY",
        "SCAN",
        "HSCAN",
        "SSCAN",
        "ZSCAN",
        "EXPIRETIME",
        "PEXPIRETIME",
        "XRANGE",
        "XLEN",
    ]
)

_SUBSCRIBE = "open a plain redis.asyncio client for Pub/Sub, or wait for a key with client.watch()"
_BLOCKING = (
    "it would hold up every caller of this connection; use the form without B, and "
    "client.watch() to be woken"
)
_TRANSACTION = "use client.pipeline([...], transaction=True), or a script with client.run()"
_STATE = "it would change the connection for every caller; set it in the client's URL"
_TRACKING = "the connection manages tracking itself; use client.watch()"
_OPERATOR = "it is for operators, on a connection of their own such as redis-cli's"

_ALTERNATIVES: dict[str, str] = {
    **dict.fromkeys(
        [
            "SUBSCRIBE",
            "PSUBSCRIBE",
            "SSUBSCRIBE",
            "UNSUBSCRIBE",
            "PUNSUBSCRIBE",
            "SUNSUBSCRIBE",
            "MONITOR",
        ],
        _SUBSCRIBE,
    ),
    **dict.fromkeys(
        [
            "BLPOP",
            "BRPOP",
            "BLMOVE",
            "BRPOPLPUSH",
            "BLMPOP",
            "BZPOPMIN",
            "BZPOPMAX",
            "BZMPOP",
            "WAIT",
            "WAITAOF",
        ],
        _BLOCKING,
    ),
    **dict.fromkeys(["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"], _TRANSACTION),
    **dict.fromkeys(
        [
            "SELECT",
            "HELLO",
            "AUTH",
            "RESET",
            "QUIT",
            "ASKING",
            "READONLY",
            "READWRITE",
            "SYNC",
            "PSYNC",
            "REPLCONF",
        ],
        _STATE,
    ),
}
_CLIENT_STATE = {
    "TRACKING": _TRACKING,
    "CACHING": _TRACKING,
    "REPLY": "every command's reply must come; leave the future unawaited instead",
    "NO-TOUCH": _STATE,
    "CAPA": _STATE,
    "PAUSE": _OPERATOR,
}


def _upper(word: Arg) -> str:
    text = word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
    return text.upper()


@lru_cache(maxsize=512)
def rule_of(command: Arg) -> int:
    """Sort one command name, in any case, as `READS`, `WRITES` or something to be checked."""
    name = _upper(command)
    if name in _ALTERNATIVES:
        return REFUSED
    if name in {"CLIENT", "XREAD", "XREADGROUP"}:
        return ASK_ARGUMENTS
    return READS if name in _READS else WRITES


def is_read(command: Arg) -> bool:
    """Tell whether the command is known not to change any key."""
    return rule_of(command) == READS


def empties(command: Arg) -> bool:
    """Tell whether the command changes keys that it does not name."""
    return _upper(command) in {"FLUSHALL", "FLUSHDB", "SWAPDB"}


def check(args: tuple[Arg, ...]) -> None:
    """Refuse a command that must not run on a shared connection.

    Raises:
        ConfigError: With the alternative to use; or it has no name.
    """
    try:
        rule = rule_of(args[0])
    except (IndexError, TypeError) as error:  # nothing there, or a list, a dict, ...
        raise ConfigError("a command begins with its name, as in ('GET', key)") from error
    if rule == REFUSED:
        name = _upper(args[0])
        raise ConfigError(f"{name} cannot run on a shared connection: {_ALTERNATIVES[name]}")
    if rule != ASK_ARGUMENTS:
        return
    name = _upper(args[0])
    if name != "CLIENT" and _blocks(args):
        raise ConfigError(f"{name} with BLOCK cannot run on a shared connection: {_BLOCKING}")
    subcommand = _upper(args[1]) if name == "CLIENT" and len(args) > 1 else ""
    if subcommand in _CLIENT_STATE:
        alternative = _CLIENT_STATE[subcommand]
        raise ConfigError(f"CLIENT {subcommand} cannot run on a shared connection: {alternative}")


def _blocks(args: tuple[Arg, ...]) -> bool:
    """Tell whether an XREAD has the option BLOCK: a group or a stream may have that name, too."""
    place = 1
    while place < len(args) and (word := _upper(args[place])) != "STREAMS":
        if word == "BLOCK":
            return True
        place += {"GROUP": 3, "COUNT": 2}.get(word, 1)
    return False
