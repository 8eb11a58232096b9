"""From what a user wrote to a way to Redis: URLs, options, the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from millpond.core.address import parse
from millpond.core.backends import (
    Backend,
    EmbeddedBackend,
    MemoryBackend,
    Settings,
    WireBackend,
)
from millpond.core.durations import seconds
from millpond.core.memory import MemoryServer
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

__all__ = [
    "COMMAND_TIMEOUT",
    "CONNECT_TIMEOUT",
    "MAX_INFLIGHT",
    "Options",
    "backend_for",
    "from_environment",
]

COMMAND_TIMEOUT = 1.0  # seconds: longer than any healthy command, short enough for a web request
CONNECT_TIMEOUT = 2.0  # seconds: one lost SYN is retried after one
MAX_INFLIGHT = 10_000  # commands: about 2 MB of queue, a tenth of a second of work for Redis


class Options(TypedDict):
    """What the environment can say of a client."""

    url: str
    prefix: str
    command_timeout: float
    connect_timeout: float
    name: str | None
    max_inflight: int


def backend_for(
    url: str,
    *,
    command_timeout: float | timedelta,
    connect_timeout: float | timedelta,
    name: str | None,
    max_inflight: int,
) -> Backend:
    """Choose the way to Redis that a URL names; an option in the URL goes before a default.

    Raises:
        ConfigError: What cannot be.
    """
    parsed = parse(url)
    if type(max_inflight) is not int or max_inflight < 1:
        raise ConfigError(f"max_inflight must be an int of at least 1, not {max_inflight!r}")
    patience = seconds(command_timeout, "command_timeout")
    connecting = seconds(connect_timeout, "connect_timeout")
    if parsed.command_timeout is not None and patience == COMMAND_TIMEOUT:
        patience = parsed.command_timeout
    if parsed.connect_timeout is not None and connecting == CONNECT_TIMEOUT:
        connecting = parsed.connect_timeout
    settings = Settings(
        command_timeout=patience,
        connect_timeout=connecting,
        limit=max_inflight,
        name=_check_name(name or parsed.name),
    )
    if parsed.kind == "memory":
        return MemoryBackend(MemoryServer.named(parsed.memory_name), settings)
    if parsed.address is None:
        return EmbeddedBackend(settings)
    return WireBackend(parsed.address, settings)


def from_environment(found: Mapping[str, str]) -> Options:
    """Read `MILLPOND_*`, then `REDIS_URL`.

    Raises:
        ConfigError: No URL is set, or a number is none.
    """
    url = found.get("MILLPOND_URL") or found.get("REDIS_URL")
    if not url:
        raise ConfigError(
            "neither MILLPOND_URL nor REDIS_URL is set; export "
            "MILLPOND_URL=redis://localhost:6379/0"
        )
    return Options(
        url=url,
        prefix=found.get("MILLPOND_PREFIX", ""),
        command_timeout=_number(found, "MILLPOND_COMMAND_TIMEOUT", COMMAND_TIMEOUT),
        connect_timeout=_number(found, "MILLPOND_CONNECT_TIMEOUT", CONNECT_TIMEOUT),
        name=found.get("MILLPOND_NAME") or None,
        max_inflight=_whole(found, "MILLPOND_MAX_INFLIGHT", MAX_INFLIGHT),
    )


def _check_name(name: str | None) -> str | None:
    if name is not None and (not name or not all("!" <= c <= "~" for c in name)):
        raise ConfigError(f"a client's name must be printable ASCII without spaces, not {name!r}")
    return name


def _number(found: Mapping[str, str], variable: str, default: float) -> float:
    text = found.get(variable)
    if not text:
        return default
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{variable} must be a number, not {text!r}") from error


def _whole(found: Mapping[str, str], variable: str, default: int) -> int:
    number = _number(found, variable, default)
    if not float(number).is_integer():
        raise ConfigError(f"{variable} must be a whole number, not {number}")
    return int(number)
