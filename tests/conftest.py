"""Fixtures: servers, an open client, both event loops, and what must hold after every test.

- `server`: the session's server, of the default flavour; emptied after each test. Tests that
  kill, freeze or configure one start their own: `start_server(Server(...))`.
- `flavoured_server`: the test runs once on every flavour found on this machine.
- `url`, `client`: the session's server's address, and an open client with the prefix "t".
- `@pytest.mark.both_loops`: the async test runs on asyncio's own loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

import pytest
import pytest_asyncio
import redis
import uvloop

from tests.support.checks import keys_without_ttl, surviving_tasks
from tests.support.servers import Flavour, Server, SharedServers, default_flavour, flavours

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from millpond import Client

_SHARED = pytest.StashKey[SharedServers]()
_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_configure(config: pytest.Config) -> None:
    """Register what this file adds."""
    for line in (
        "both_loops: runs on asyncio's own event loop and on uvloop",
        "server: set by itself on what needs a server of the default flavour (select with -m)",
    ):
        config.addinivalue_line("markers", line)
    config.stash[_SHARED] = SharedServers()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers that tests shared."""
    config.stash[_SHARED].close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what depends on the default flavour: `-m server` repeats just that on another."""
    for item in items:
        names = set(cast("pytest.Function", item).fixturenames)
        if names & {"server", "start_server"} and "flavoured_server" not in names:
            item.add_marker("server")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give marked tests both event loops, the others asyncio's own."""
    both = item.get_closest_marker("both_loops") is not None
    return _LOOPS if both else {"asyncio": _LOOPS["asyncio"]}


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which servers the tests ran on, and which not and why."""
    shared = config.stash[_SHARED]
    used = [f"{name} ({version})" for name, version in shared.versions.items()]
    terminalreporter.write_line(f"servers used: {', '.join(used) or 'none'}")
    if default_flavour().source == "MILLPOND_TEST_SERVER":
        return  # a run on one server is not about the others
    for flavour in flavours():
        if flavour.name not in shared.versions:
            reason = "no selected test needed it" if flavour.binary else "skipped: not found"
            terminalreporter.write_line(f"  {flavour.name} ({flavour.source}): {reason}")


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Server:
    """The session's server, of the default flavour; each test finds it empty."""
    return pytestconfig.stash[_SHARED].of(default_flavour())


@pytest.fixture(params=[f for f in flavours() if f.binary], ids=lambda flavour: flavour.name)
def flavoured_server(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Server:
    """One server of each flavour that is on this machine, in turn; each test finds it empty."""
    return pytestconfig.stash[_SHARED].of(cast("Flavour", request.param))


@pytest.fixture
def start_server() -> Iterator[Callable[[Server], Server]]:
    """Start servers of the test's own, to be killed, frozen or configured at will."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def url(server: Server) -> str:
    """The address of the session's server."""
    return server.url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    """An open client on the session's server, with the prefix "t"."""
    from millpond import Client

    async with Client.from_url(url, prefix="t") as client:
        yield client


@pytest.fixture(autouse=True)
def _every_key_expires(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a key without a TTL on a shared server, then empty the server."""
    yield
    shared = request.config.stash[_SHARED]
    for server in shared.in_use:
        try:
            with server.redis(socket_timeout=5) as behind:
                offenders = keys_without_ttl(behind)
                behind.flushall()
        except redis.RedisError as error:
            server.restart()
            pytest.fail(f"the test left the shared server unable to answer: {error!r}")
        if offenders:
            pytest.fail(f"keys without a TTL: {', '.join(offenders)}")


@pytest.fixture(autouse=True)
def _no_task_survives(request: pytest.FixtureRequest) -> None:
    """Set up the check below, for async tests only, before any fixture of the test's own."""
    if pytest_asyncio.is_async_test(cast("pytest.Item", request.node)):
        request.getfixturevalue("_survivors")


@pytest.fixture
async def _survivors() -> AsyncIterator[None]:
    """Fail a test that leaves a task running once its fixtures are torn down."""
    yield
    survivors = await surviving_tasks()
    if survivors:
        pytest.fail("tasks outlived the test:\n" + "\n".join(survivors))
