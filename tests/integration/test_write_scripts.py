"""The scripts of writers by themselves: marks, overlap, lapses, on every server and in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from millpond import Client
from millpond.cache.decision import Seen
from millpond.core.entry import pack_lease, pack_mark, pack_value
from millpond.core.scripts import Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

CLAIM = Script.load("millpond.cache", "claim", after=("writers", "soft"))
STORE, MARK, LEAVE, DELETE = (
    Script.load("millpond.cache", name, after=("writers",))
    for name in ("store", "mark", "leave", "delete")
)
KEY = "t:n:1"
A, B = b"writer A", b"writer B"
HEAD = pack_mark(b"8 random", 3, 0xC0FFEE)
OVERLAP = HEAD[:4] + b"\1" + HEAD[5:]
LEASE = pack_lease(b"our own!", 3, 0xC0FFEE)
ENTRY = pack_value(b"our own!", 3, 0xC0FFEE, b"\x05", created_ms=1)
LAPSED, LATER = b"%013d" % 1_000_000_000_000, b"9999999999999"
STICKY = 1


class Contract:
    """What the scripts promise, on whichever server the fixture `client` leads to."""

    async def put(self, client: Client, raw: bytes, milliseconds: int = 60_000) -> None:
        await client.call("SET", KEY, raw, "PX", milliseconds)

    async def mark(self, client: Client, who: bytes, *, renewal: bool = False) -> int:
        return await client.run(MARK, keys=[KEY], args=[HEAD, who, 30_000, "1" if renewal else ""])

    async def leave(self, client: Client, who: bytes, entry: bytes = ENTRY) -> int:
        return await client.run(LEAVE, keys=[KEY], args=[who, entry, 60_000])

    async def writers(self, client: Client) -> tuple[bool, set[bytes]]:
        """Whether the mark has the overlap flag, and who is in it."""
        raw: bytes = await client.call("GET", KEY)
        assert raw[:4] == HEAD[:4]
        assert len(raw[25:]) % 21 == 0
        assert 0 < await client.call("PTTL", KEY) <= 30_000 or LATER in raw
        return bool(raw[4]), {raw[at : at + 8] for at in range(25, len(raw), 21)}

    # -- mark ------------------------------------------------------------------------------

    @pytest.mark.parametrize("raw", [None, b"foreign", ENTRY, LEASE, HEAD, OVERLAP + A + LAPSED])
    async def test_mark_replaces_whatever_is_there_and_is_ours_alone(
        self, client: Client, raw: bytes | None
    ) -> None:
        if raw is not None:
            await self.put(client, raw)
        assert await self.mark(client, A) == 0
        assert await self.writers(client) == (False, {A})
        assert 29_000 < await client.call("PTTL", KEY) <= 30_000

    async def test_mark_replaces_another_programs_list_as_a_delete_would(
        self, client: Client
    ) -> None:
        await client.pipeline([("RPUSH", KEY, "a"), ("PEXPIRE", KEY, 60_000)])
        assert await self.mark(client, A) == 0
        assert await self.writers(client) == (False, {A})

    async def test_mark_beside_another_says_so_and_lasts_for_both(self, client: Client) -> None:
        await self.put(client, HEAD + A + LATER)
        assert await self.mark(client, B) == STICKY
        assert await self.writers(client) == (True, {A, B})
        assert await client.call("PTTL", KEY) > 1_000_000

    async def test_mark_prunes_a_writer_who_has_lapsed(self, client: Client) -> None:
        await self.put(client, HEAD + A + LAPSED)
        assert await self.mark(client, B) == 0
        assert await self.writers(client) == (False, {B})
        await self.put(client, HEAD + A + LAPSED + B + LATER)
        assert await self.mark(client, b"writer C") == STICKY
        assert await self.writers(client) == (True, {B, b"writer C"})

    async def test_renewal_prolongs_and_finds_no_overlap_where_there_is_none(
        self, client: Client
    ) -> None:
        await self.mark(client, A)
        await client.call("PEXPIRE", KEY, 1000)
        assert await self.mark(client, A, renewal=True) == 0
        assert await self.writers(client) == (False, {A})
        assert await client.call("PTTL", KEY) > 29_000

    async def test_renewal_keeps_the_overlap_flag_after_the_other_has_left(
        self, client: Client
    ) -> None:
        await self.mark(client, A)
        await self.mark(client, B)
        assert await self.leave(client, B) == 0
        assert await self.mark(client, A, renewal=True) == STICKY
        assert await self.writers(client) == (True, {A})

    @pytest.mark.parametrize("raw", [None, ENTRY, LEASE, HEAD + A + LAPSED, HEAD + B + LATER])
    async def test_renewal_that_finds_its_writer_gone_marks_again_with_overlap(
        self, client: Client, raw: bytes | None
    ) -> None:
        if raw is not None:
            await self.put(client, raw)
        assert await self.mark(client, A, renewal=True) == STICKY
        assert await self.writers(client) == (True, {A, B} if raw and B in raw else {A})

    # -- leave -----------------------------------------------------------------------------

    async def test_leave_stores_under_a_mark_that_was_ours_alone(self, client: Client) -> None:
        await self.mark(client, A)
        assert await self.leave(client, A) == 1
        assert await client.call("GET", KEY) == ENTRY
        assert 50_000 < await client.call("PTTL", KEY) <= 60_000

    async def test_leave_without_a_value_deletes(self, client: Client) -> None:
        await self.mark(client, A)
        assert await self.leave(client, A, b"") == 0
        assert await client.call("EXISTS", KEY) == 0

    @pytest.mark.parametrize(
        "raw", [None, ENTRY, LEASE, b"foreign", HEAD + A + LAPSED, OVERLAP + A + LATER]
    )
    async def test_leave_deletes_where_the_mark_is_not_ours_alone_or_was_lost(
        self, client: Client, raw: bytes | None
    ) -> None:
        if raw is not None:
            await self.put(client, raw)
        assert await self.leave(client, A) == 0
        assert await client.call("EXISTS", KEY) == 0

    @pytest.mark.parametrize("ours", [b"", A + LATER, A + LAPSED])
    async def test_leave_leaves_the_mark_to_others_with_the_flag(
        self, client: Client, ours: bytes
    ) -> None:
        await self.put(client, HEAD + ours + B + LATER)
        assert await self.leave(client, A) == 0
        assert await self.writers(client) == (True, {B})
        assert await self.leave(client, B) == 0, "B was not alone"
        assert await client.call("EXISTS", KEY) == 0

    # -- those who meet a mark ---------------------------------------------------------------

    async def test_delete_sets_the_flag_of_a_living_mark_and_keeps_its_end(
        self, client: Client
    ) -> None:
        await self.mark(client, A)
        assert await client.run(DELETE, keys=[KEY]) == 1
        assert await self.writers(client) == (True, {A})
        assert await client.call("PTTL", KEY) > 29_000
        assert await self.leave(client, A) == 0

    @pytest.mark.parametrize("raw", [None, ENTRY, LEASE, b"foreign", HEAD, HEAD + A + LAPSED])
    async def test_delete_removes_everything_else(self, client: Client, raw: bytes | None) -> None:
        if raw is not None:
            await self.put(client, raw)
        assert await client.run(DELETE, keys=[KEY]) == (0 if raw is None else 1)
        assert await client.call("EXISTS", KEY) == 0

    @pytest.mark.parametrize("head", [HEAD, OVERLAP])
    async def test_mark_with_a_living_writer_is_never_claimed_or_stored_over(
        self, client: Client, head: bytes
    ) -> None:
        raw = head + A + LAPSED + B + LATER
        await self.put(client, raw)
        for seen in (Seen(), Seen("g", HEAD[17:25]), Seen("b", raw)):
            reply = await client.run(CLAIM, keys=[KEY], args=[LEASE, 3000, *seen.args()])
            assert reply[:2] == [0, raw]
        assert await client.run(STORE, keys=[KEY], args=[ENTRY, 60_000]) == 0
        assert await client.call("GET", KEY) == raw

    @pytest.mark.parametrize("rest", [b"", A + LAPSED, A + LAPSED + B + LAPSED, b"damaged"])
    async def test_mark_whose_writers_have_all_lapsed_is_dead(
        self, client: Client, rest: bytes
    ) -> None:
        await self.put(client, HEAD + rest)
        assert await client.run(CLAIM, keys=[KEY], args=[LEASE, 3000, "", ""]) == [1]
        assert await client.call("GET", KEY) == LEASE
        await self.put(client, HEAD + rest)
        assert await client.run(STORE, keys=[KEY], args=[ENTRY, 60_000]) == 1
        assert await client.call("GET", KEY) == ENTRY

    async def test_mark_counts_by_the_servers_clock_even_if_it_is_made_to_stay(
        self, client: Client
    ) -> None:
        await client.run(MARK, keys=[KEY], args=[HEAD, A, 150, ""])
        await client.call("PEXPIRE", KEY, 60_000)
        async with asyncio.timeout(10):
            while (await client.run(CLAIM, keys=[KEY], args=[LEASE, 3000, "", ""])) != [1]:
                await asyncio.sleep(0.01)


class TestOnServers(Contract):
    @pytest.fixture
    async def client(self, flavoured_server: Server) -> AsyncIterator[Client]:
        async with Client.from_url(flavoured_server.url) as client:
            yield client


class TestInMemory(Contract):
    @pytest.fixture
    async def client(self) -> AsyncIterator[Client]:
        async with Client.from_url("memory://") as client:
            yield client
