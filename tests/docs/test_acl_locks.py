"""With the second line on the page, locks and idempotency work on every kind of server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond import Client, Idempotency, Locks
from tests.docs.test_acl import SNIPPETS, commands_run
from tests.support.payers import Receipt, Till

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Server

FIRST = (SNIPPETS / "acl.txt").read_text().split()
SECOND = (SNIPPETS / "acl_locks.txt").read_text().split()


@pytest.fixture
def restricted(flavoured_server: Server) -> Iterator[str]:
    """Run the page's lines; give the user's URL."""
    flavoured_server.execute(*FIRST)
    flavoured_server.execute(*SECOND)
    for command in (("SCRIPT", "FLUSH"), ("CONFIG", "RESETSTAT"), ("ACL", "LOG", "RESET")):
        flavoured_server.execute(*command)
    yield flavoured_server.tcp_url.replace("redis://", "redis://millpond:secret@")
    flavoured_server.execute("ACL", "DELUSER", "millpond")


async def everything(url: str) -> None:
    """Let two clients contend for every kind of lock, and for a payment."""
    async with (
        Client.from_url(url, prefix="shop", hooks=[]) as one,
        Client.from_url(url, prefix="shop", hooks=[]) as two,
    ):
        both = [Locks(client, "lock", lease=0.2) for client in (one, two)]
        for way in ("hold", "fair", "semaphore", "read", "write"):
            await asyncio.gather(*[hold(locks, way) for locks in both for _ in range(2)])
        mixed = [hold(locks, way) for locks in both for way in ("read", "write")]
        await asyncio.gather(*mixed)
        till = Till()
        for client in (one, two):
            await Idempotency(client, "pay", type=Receipt, ttl=60).run_once("a", till.pay)


async def hold(locks: Locks, way: str) -> None:
    block = {
        "hold": lambda: locks.hold("a"),
        "fair": lambda: locks.hold("a", fair=True),
        "semaphore": lambda: locks.semaphore("a", permits=1),
        "read": lambda: locks.read("a"),
        "write": lambda: locks.write("a"),
    }[way]()
    async with block:
        await asyncio.sleep(0.08)  # renewed


async def test_second_line_on_the_page_suffices_for_locks_and_idempotency(
    flavoured_server: Server, restricted: str
) -> None:
    async with asyncio.timeout(30):
        await everything(restricted)
    assert flavoured_server.execute("ACL", "LOG") == []
    # Only the death of a process that waits in a fair line is not played here.
    wanted = {word.removeprefix("+") for word in SECOND if word.startswith("+")}
    assert wanted <= commands_run(flavoured_server)
