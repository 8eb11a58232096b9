"""The ACL line on the page suffices on every kind of server, and none of its words is idle."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Cache, CachePolicy, Client
from millpond.events import Event, ServerLimited, WireUp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.servers import Server

SNIPPETS = Path(__file__).parents[2] / "docs" / "snippets"
LINE = (SNIPPETS / "acl.txt").read_text().split()
COMMANDS = [word.removeprefix("+") for word in LINE if word.startswith("+")]
ALWAYS_ALLOWED = {"hello", "auth"}
OUR_OWN = {"acl", "config", "script"}  # this test's own, as is redis-py's CLIENT SETINFO


@pytest.fixture
def restricted(flavoured_server: Server) -> Iterator[Callable[..., str]]:
    """Run the page's line, perhaps without some of its words; give the user's URL."""

    def restrict(*without: str) -> str:
        flavoured_server.execute(*[word for word in LINE if word not in without])
        flavoured_server.execute("SCRIPT", "FLUSH")
        flavoured_server.execute("CONFIG", "RESETSTAT")
        flavoured_server.execute("ACL", "LOG", "RESET")
        return flavoured_server.tcp_url.replace("redis://", "redis://millpond:secret@")

    yield restrict
    flavoured_server.execute("ACL", "DELUSER", "millpond")


def commands_run(server: Server) -> set[str]:
    """List what clients and scripts have called since the counters were reset."""
    called: dict[str, Any] = server.execute("INFO", "commandstats")
    names = {name.removeprefix("cmdstat_") for name, one in called.items() if one["calls"]}
    return {name for name in names if name.split("|")[0] not in OUR_OWN} - {"client|setinfo"}


class Told:
    """A hook that waits for connections."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._up = asyncio.Semaphore(0)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, WireUp):
            self._up.release()

    @property
    def limits(self) -> list[str]:
        return [event.subject for event in self.events if isinstance(event, ServerLimited)]

    async def connected(self, times: int) -> None:
        for _ in range(times):
            await self._up.acquire()


async def everything(server: Server, url: str) -> Told:
    """Use two clients for all that the library does, a lost connection included."""
    told = Told()
    policy = CachePolicy(lease_ttl=0.2, stale_while_revalidate=10)
    begun, end = asyncio.Event(), asyncio.Event()

    async def load() -> str:
        begun.set()
        await end.wait()
        return "loaded"

    async def fail() -> str:
        raise LookupError

    async def hang() -> str:
        begun.set()
        return await asyncio.Event().wait() and ""

    async with (
        Client.from_url(url, prefix="shop", name="one", hooks=[told]) as one,
        Client.from_url(url, prefix="shop", name="two", hooks=[told]) as two,
    ):
        await told.connected(2)
        here = Cache(one, "name", type=str, ttl=10, policy=policy)
        there = Cache(two, "name", type=str, ttl=10, policy=policy)

        leading = asyncio.create_task(here.get_or_set(1, load))
        await begun.wait()
        following = asyncio.create_task(there.get_or_set(1, load))
        while "pexpire" not in commands_run(server) or not there.statistics().waits:
            await asyncio.sleep(0.01)  # until the lease has been renewed and the other waits
        end.set()
        assert await asyncio.gather(leading, following) == ["loaded", "loaded"]
        assert here.statistics().loads + there.statistics().loads == 1
        assert await here.set(1, "set")
        assert await there.get(1) == "set"
        assert await there.get_many([1, 2]) == {1: "set"}
        async with here.writing(1) as write:
            write.set("written")
        assert await there.touch(1) == 1
        assert await here.expire(1)
        assert await there.get_or_set(1, load) == "written"
        assert await there.delete(1)
        with contextlib.suppress(LookupError):
            await here.get_or_set(2, fail)

        server.execute("CLIENT", "KILL", "TYPE", "normal")
        await told.connected(2)
        assert not await here.get(1)
        assert one.statistics().reconnects == two.statistics().reconnects == 1

        begun.clear()
        left = asyncio.create_task(here.get_or_set(3, hang))
        await begun.wait()
    with contextlib.suppress(Exception):
        await left  # closing has ended the load and given up its lease
    return told


async def test_line_on_the_page_suffices(
    flavoured_server: Server, restricted: Callable[..., str]
) -> None:
    told = await everything(flavoured_server, restricted())
    assert told.limits == []
    assert flavoured_server.execute("ACL", "LOG") == []


async def test_every_command_in_the_line_is_needed(
    flavoured_server: Server, restricted: Callable[..., str]
) -> None:
    await everything(flavoured_server, restricted())
    run = commands_run(flavoured_server) - ALWAYS_ALLOWED
    if "client" in run:  # servers before 7.0 do not tell subcommands apart
        assert run == {name.split("|")[0] for name in COMMANDS}
    else:
        assert run == set(COMMANDS)


@pytest.mark.parametrize(
    ("missing", "subject"),
    [("+client|tracking", "push"), ("+client|kill", "kill"), ("+info", "kill")],
)
async def test_missing_permission_that_can_be_done_without_is_said(
    flavoured_server: Server, restricted: Callable[..., str], missing: str, subject: str
) -> None:
    told = await everything(flavoured_server, restricted(missing))
    assert set(told.limits) == {subject}


async def test_line_ends_at_the_prefix(restricted: Callable[..., str]) -> None:
    async with Client.from_url(restricted(), prefix="other", hooks=[]) as client:
        with pytest.raises(Exception, match=r"NOPERM.*~<prefix>"):
            await Cache(client, "name", type=str, ttl=10).get(1)
