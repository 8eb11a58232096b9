"""A client used before it is open, from another loop, thread or process: refused, and unharmed."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, Script
from millpond.errors import ClosedError, ConfigError, MillpondError

if TYPE_CHECKING:
    from collections.abc import Callable

USES: list[Callable[[Client], Any]] = [
    lambda client: client.call("PING"),
    lambda client: client.pipeline([("PING",)]),
    lambda client: client.run(Script("return 1")),
    lambda client: client.watch("k").__aenter__(),
]


@pytest.mark.parametrize("where", ["redis", "memory"])
@pytest.mark.parametrize("use", USES)
async def test_client_that_is_not_open_says_how_to_open_it(
    url: str, where: str, use: Callable[[Client], Any]
) -> None:
    client = Client.from_url("memory://" if where == "memory" else url)
    for _ in range(2):
        with pytest.raises(ClosedError, match="async with client"):
            await use(client)
        async with client:
            await client.call("PING")


@pytest.mark.parametrize("where", ["redis", "memory"])
@pytest.mark.parametrize("use", USES)
async def test_client_used_from_another_threads_loop_is_refused_and_goes_on(
    url: str, where: str, use: Callable[[Client], Any]
) -> None:
    async with Client.from_url("memory://" if where == "memory" else url) as client:
        errors: list[BaseException] = []

        def elsewhere() -> None:
            async def work() -> None:
                await use(client)

            try:
                asyncio.run(work())
            except BaseException as error:  # noqa: BLE001  (whatever it is, it is looked at)
                errors.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert [type(error) for error in errors] == [ConfigError]
        assert "another event loop" in str(errors[0])
        assert await client.call("ECHO", "fine") == b"fine"


@pytest.mark.parametrize("where", ["redis", "memory"])
def test_client_open_on_one_loop_is_refused_on_the_next(url: str, where: str) -> None:
    client = Client.from_url("memory://" if where == "memory" else url)

    async def use() -> None:
        for one in USES:
            with pytest.raises(ConfigError, match="another event loop"):
                await one(client)
        with pytest.raises(ConfigError, match="already open on another event loop"):
            await client.__aenter__()
        with pytest.raises(ConfigError, match="another event loop"):
            await client.aclose()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(client.__aenter__())
        second.run(use())
        assert first.run(_ping(client)) in {b"PONG", True}
        first.run(client.aclose())
        assert second.run(_open_and_ping(client)) in {b"PONG", True}


async def _ping(client: Client) -> Any:
    return await client.call("PING")


async def _open_and_ping(client: Client) -> Any:
    async with client:
        return await client.call("PING")


async def test_client_that_is_open_cannot_be_opened_again(client: Client) -> None:
    with pytest.raises(ConfigError, match="already open on this event loop"):
        await client.__aenter__()
    assert await client.call("PING") == b"PONG"


@pytest.mark.parametrize("where", ["redis", "memory"])
def test_plain_code_outside_a_loop_is_told_that_one_is_needed(url: str, where: str) -> None:
    client = Client.from_url("memory://" if where == "memory" else url)
    with pytest.raises(ClosedError, match="async with client"):
        client.call("PING")
    with pytest.raises(ConfigError, match="running asyncio event loop"):
        client.__aenter__().send(None)
    with asyncio.Runner() as runner:
        runner.run(client.__aenter__())
        for use in (USES[0], USES[1], USES[2]):
            with pytest.raises(ConfigError, match="running asyncio event loop"):
                use(client)
        assert runner.run(_ping(client)) in {b"PONG", True}
        runner.run(client.aclose())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # pytest has threads
async def test_forked_child_is_refused_and_its_parent_goes_on(client: Client) -> None:
    assert await client.call("ECHO", 1) == b"1"
    kept = client.call
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said: list[str] = []
        try:
            for use in USES[:3]:
                try:
                    use(client)
                except MillpondError as error:
                    said.append(f"{type(error).__name__} {error}"[:60])
            try:
                kept("PING")
            except MillpondError as error:
                said.append(f"{type(error).__name__} {error} {client!r}"[:60])
            try:
                asyncio.run(client.__aenter__())
            except ConfigError as error:
                said.append(f"ConfigError {error}"[:60])
            asyncio.run(client.aclose())
            asyncio.run(_fresh(client, said))
        except BaseException as error:  # noqa: BLE001  (told to the parent)
            said.append(repr(error))
        os.write(writing, "\n".join(said).encode())
        os._exit(0)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            said = (await asyncio.to_thread(pipe.read)).decode().splitlines()
    finally:
        await asyncio.to_thread(os.waitpid, pid, 0)
    refused = "ConfigError this client was open when the process forked"
    assert [line[: len(refused)] for line in said[:3]] == [refused] * 3
    assert said[3].startswith("ConfigError")
    assert said[4].startswith(refused)
    assert said[5:] == ["fresh b'child'"]
    answers = [client.call("ECHO", number) for number in range(100)]
    assert await asyncio.gather(*answers) == [b"%d" % number for number in range(100)]
    assert client.statistics().reconnects == 0


async def _fresh(client: Client, said: list[str]) -> None:
    """Do in the child what the error advises."""
    inherited: Any = client.backend
    address = inherited.inherited._address
    async with Client.from_url(f"redis://{address}") as fresh:
        said.append(f"fresh {await fresh.call('ECHO', 'child')!r}")
