"""The servers and checks that other tests rely on do what they say."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis
import uvloop

from tests.support.checks import keys_without_ttl, surviving_tasks
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable


def test_server_serves_tcp_and_unix_socket_alike(server: Server) -> None:
    server.execute("SET", "k", "v", "EX", 10)
    for url in (server.tcp_url, server.unix_url):
        with cast("Any", redis.Redis.from_url)(url) as client:
            assert client.get("k") == b"v"


def test_every_flavour_answers(flavoured_server: Server) -> None:
    assert flavoured_server.execute("SET", "k", "v", "PX", 1000) is True


def test_restarted_server_keeps_its_address_and_forgets(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(transport="unix"))
    url, pid = server.url, server.pid
    server.execute("SET", "k", "v", "EX", 100)
    server.restart()
    assert server.url == url
    assert server.pid != pid
    assert server.execute("GET", "k") is None


def test_appendonly_server_survives_a_kill_with_its_data(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(appendonly=True))
    server.execute("SET", "k", "v", "EX", 100)
    server.restart()
    assert server.execute("GET", "k") == b"v"


def test_password_is_required_and_carried_by_the_url(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(requirepass="geheim"))
    assert ":geheim@" in server.url
    assert server.execute("PING") is True
    with socket.create_connection((server.host, server.port), timeout=5) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(64).startswith(b"-NOAUTH")


def test_paused_server_accepts_and_stays_silent_until_resumed(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    server.pause()
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(64)
        server.resume()
        connection.settimeout(5)
        assert connection.recv(64) == b"+PONG\r\n"


def test_killed_server_refuses_connections(start_server: Callable[[Server], Server]) -> None:
    server = start_server(Server())
    server.kill()
    assert not server.running
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))


def test_closed_server_leaves_nothing_behind() -> None:
    with Server() as server:
        folder = Path(server.socket_path).parent
        assert folder.exists()
    assert not folder.exists()


def test_keys_without_ttl_are_found_in_every_database(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server())
    with server.redis() as client:
        client.set("short", "v", ex=100)
        client.set("stays", "v")
        client.execute_command("SELECT", 3)
        client.set(b"\xff", "v")
        assert keys_without_ttl(client) == ["db0:stays", "db3:\\xff"]


async def test_surviving_tasks_names_those_that_still_run() -> None:
    forever = asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="forever")
    done = asyncio.get_running_loop().create_task(asyncio.sleep(0), name="done")
    await done
    (survivor,) = await surviving_tasks()
    assert "forever" in survivor
    forever.cancel()
    assert await surviving_tasks() == []


def test_leaving_a_key_or_a_task_behind_fails_the_test_that_did(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    (tmp_path / "test_untidy.py").write_text(
        "import asyncio\n"
        "from tests.conftest import _every_key_expires, _no_task_survives, _survivors\n"
        "def test_key(server): server.execute('SET', 'stays', 'v')\n"
        "def test_dead(server): server.kill()\n"
        "async def test_task():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    loop.kept = loop.create_task(asyncio.Event().wait(), name='left-over')\n"
        "async def test_tidy(server): assert server.execute('DBSIZE') == 0\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:valkey", "."],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
            "PYTEST_ADDOPTS": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed, 3 errors" in run.stdout, run.stdout
    assert "keys without a TTL: db0:stays" in run.stdout
    assert "unable to answer" in run.stdout
    assert "left-over" in run.stdout


@pytest.mark.both_loops
async def test_both_loops_runs_on_the_loop_it_names(request: pytest.FixtureRequest) -> None:
    on_uvloop = isinstance(asyncio.get_running_loop(), uvloop.Loop)
    assert on_uvloop == ("uvloop" in request.node.name)


async def test_unmarked_tests_run_on_the_plain_loop(request: pytest.FixtureRequest) -> None:
    assert not isinstance(asyncio.get_running_loop(), uvloop.Loop)
    assert "[" not in request.node.name
