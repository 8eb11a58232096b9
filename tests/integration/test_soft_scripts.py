"""The scripts over values that may be served stale: claimed in place, on every server.

Ages are of the moment at which a value is made, so the clock that counts is the real one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client
from millpond.cache.decision import Found, Seen, judge
from millpond.core.entry import (
    HAS_FAILED,
    IS_SOFT,
    Header,
    pack_error,
    pack_lease,
    pack_mark,
    pack_value,
    parse,
)
from millpond.core.scripts import Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

CLAIM = Script.load("millpond.cache", "claim", after=("writers", "soft"))
EXPIRE = Script.load("millpond.cache", "delete", after=("writers", "soft", "expire"))
FILL, RENEW, RELEASE, DEFER, TOUCH = (
    Script.load("millpond.cache", name, after=("soft",))
    for name in ("fill", "renew", "release", "defer", "touch")
)
KEY = "t:n:1"
VERSION, TYPE = 3, 0xC0FFEE
OURS, THEIRS = b"our own!", b"not ours"
LEASE = pack_lease(OURS, VERSION, TYPE)
AGE, SOFT = 100_000, 60_000  # milliseconds: stale for 40 seconds
HOUR = 3_600_000


def value(
    generation: bytes = THEIRS,
    *,
    claimed: int = 0,
    failed: bool = False,
    payload: bytes | None = b"\x05",
    age: int = AGE,
) -> bytes:
    """A stale value; `claimed` is when its claim ends, in milliseconds from now."""
    return pack_value(
        generation,
        VERSION,
        TYPE,
        payload,
        created_ms=time.time_ns() // 1_000_000 - age,
        flags=HAS_FAILED if failed else 0,
        load_ms=20,
        soft_ms=SOFT,
        refresh_ms=age + claimed if claimed else 0,
    )


PLAIN = pack_value(OURS, VERSION, TYPE, b"\x05", created_ms=1)
NOT_CLAIMED = {
    "nothing": None,
    "foreign bytes": b"foreign",
    "a plain value": PLAIN,
    "a value of others": value(claimed=HOUR),
    "our own, unclaimed": value(OURS),
    "our own, failed": value(OURS, claimed=HOUR, failed=True),
    "cut short": value(OURS, claimed=HOUR)[:40],
    "an error": pack_error(OURS, VERSION, TYPE, "E", created_ms=1),
    "a write mark": pack_mark(OURS, VERSION, TYPE) + b"a writer" + b"9999999999999",
}


class Contract:
    """What the scripts promise, on whichever server the fixture `client` leads to."""

    async def put(self, client: Client, raw: bytes | None, milliseconds: int = 60_000) -> None:
        if raw is not None:
            await client.call("SET", KEY, raw, "PX", milliseconds)

    async def claim(self, client: Client, seen: bytes = THEIRS, how: str = "s") -> Any:
        return await client.run(CLAIM, keys=[KEY], args=[LEASE, 3000, *Seen(how, seen).args()])

    async def header(self, client: Client) -> Header:
        return parse(await client.call("GET", KEY))

    def counts(self, header: Header) -> float:
        """Milliseconds from now until its deadline."""
        return header.created_ms + header.refresh_ms - time.time() * 1000

    # -- claim -----------------------------------------------------------------------------

    @pytest.mark.parametrize("payload", [b"\x05", None, b"x" * 100_000], ids=["int", "None", "big"])
    async def test_claim_in_place_changes_generation_and_deadline_and_nothing_else(
        self, client: Client, payload: bytes | None
    ) -> None:
        raw = value(payload=payload)
        await self.put(client, raw)
        assert await self.claim(client) == [2]
        after: bytes = await client.call("GET", KEY)
        assert after[:17] + after[25:37] + after[41:] == raw[:17] + raw[25:37] + raw[41:]
        header = parse(after)
        assert header.generation == OURS
        assert 2000 < self.counts(header) <= 3000
        assert 50_000 < await client.call("PTTL", KEY) <= 60_000

    async def test_claim_whose_reply_was_lost_is_recognised_when_it_is_made_again(
        self, client: Client
    ) -> None:
        await self.put(client, value())
        assert await self.claim(client) == [2]
        assert await self.claim(client) == [2]

    async def test_claim_of_another_generation_finds_what_is_there(self, client: Client) -> None:
        raw = value()
        await self.put(client, raw)
        assert (await self.claim(client, b"8 others"))[:2] == [0, raw]
        assert len(await self.claim(client, b"8 others")) == 3
        assert await client.call("GET", KEY) == raw

    async def test_claim_that_counts_is_not_taken_and_tells_for_how_long(
        self, client: Client
    ) -> None:
        raw = value(claimed=HOUR)
        await self.put(client, raw)
        zero, held, left, counts = await self.claim(client)
        assert (zero, held) == (0, raw)
        assert 50_000 < left <= 60_000
        assert HOUR - 10_000 < counts <= HOUR

    @pytest.mark.parametrize("raw", [value(claimed=-1), value(claimed=HOUR, failed=True)])
    async def test_claim_that_is_over_or_has_failed_is_taken(
        self, client: Client, raw: bytes
    ) -> None:
        await self.put(client, raw)
        assert await self.claim(client) == [2]
        header = await self.header(client)
        assert header.flags == IS_SOFT
        assert 2000 < self.counts(header) <= 3000

    async def test_value_that_is_claimed_is_there_for_as_long_as_the_claim(
        self, client: Client
    ) -> None:
        await self.put(client, value(), 500)
        assert await self.claim(client) == [2]
        assert 2000 < await client.call("PTTL", KEY) <= 3000

    async def test_claim_of_a_value_that_has_gone_puts_a_lease(self, client: Client) -> None:
        assert await self.claim(client) == [1]
        assert await client.call("GET", KEY) == LEASE

    @pytest.mark.parametrize("raw", [PLAIN[:17] + THEIRS + PLAIN[25:], b"foreign"])
    async def test_claim_in_place_of_what_cannot_be_leaves_it(
        self, client: Client, raw: bytes
    ) -> None:
        await self.put(client, raw)
        assert (await self.claim(client))[:2] == [0, raw]

    async def test_claim_of_another_programs_list_is_refused(self, client: Client) -> None:
        await client.pipeline([("RPUSH", KEY, "a"), ("PEXPIRE", KEY, 60_000)])
        with pytest.raises(Exception, match="WRONGTYPE"):
            await self.claim(client)

    async def test_reader_who_may_not_serve_it_can_replace_it_by_a_lease(
        self, client: Client
    ) -> None:
        await self.put(client, value())
        assert await self.claim(client, how="g") == [1]
        assert await client.call("GET", KEY) == LEASE

    async def test_claim_of_what_was_stored_by_a_clock_far_ahead_keeps_nobody_out(
        self, client: Client
    ) -> None:
        await self.put(client, value(age=-HOUR))
        assert await self.claim(client) == [2]
        assert (await self.header(client)).refresh_ms == 1
        lease = pack_lease(b"8 others", VERSION, TYPE)
        again = await client.run(CLAIM, keys=[KEY], args=[lease, 3000, "s", OURS])
        assert again == [2]
        new = value(b"8 others", age=0)
        assert await client.run(FILL, keys=[KEY], args=[b"8 others", new, 90_000]) == 1

    async def test_deadline_that_the_header_has_no_room_for_is_its_largest(
        self, client: Client
    ) -> None:
        await self.put(client, value(age=2**32 + HOUR))
        assert await self.claim(client) == [2]
        assert (await self.header(client)).refresh_ms == 2**32 - 1

    # -- fill ------------------------------------------------------------------------------

    @pytest.mark.parametrize("claimed", [HOUR, -1])
    async def test_fill_replaces_the_value_that_we_claimed_even_late(
        self, client: Client, claimed: int
    ) -> None:
        await self.put(client, value(OURS, claimed=claimed))
        new = value(OURS, payload=b"\x06", age=0)
        assert await client.run(FILL, keys=[KEY], args=[OURS, new, 90_000]) == 1
        assert await client.call("GET", KEY) == new
        assert 80_000 < await client.call("PTTL", KEY) <= 90_000
        # A duplicate of it, or of a renewal, finds nothing of ours.
        assert await client.run(FILL, keys=[KEY], args=[OURS, PLAIN, 1000]) == 0
        assert await client.run(RENEW, keys=[KEY], args=[OURS, 3000]) == 0
        assert await client.call("GET", KEY) == new

    async def test_error_never_takes_the_place_of_a_value(self, client: Client) -> None:
        raw = value(OURS, claimed=HOUR)
        await self.put(client, raw)
        error = pack_error(OURS, VERSION, TYPE, "E", created_ms=1)
        assert await client.run(FILL, keys=[KEY], args=[OURS, error, 2000]) == 0
        assert await client.call("GET", KEY) == raw

    @pytest.mark.parametrize("kind", NOT_CLAIMED)
    @pytest.mark.parametrize("script", [FILL, RENEW, RELEASE, DEFER], ids=lambda s: s.name)
    async def test_what_we_have_not_claimed_is_left_alone(
        self, client: Client, script: Script, kind: str
    ) -> None:
        raw = NOT_CLAIMED[kind]
        await self.put(client, raw, 40_000)
        args: dict[str, list[Any]] = {
            "fill": [OURS, PLAIN, 60_000],
            "renew": [OURS, 60_000],
            "release": [OURS],
            "defer": [OURS, 60_000],
        }
        assert await client.run(script, keys=[KEY], args=args[script.name]) == 0
        assert await client.call("GET", KEY) == raw
        assert await client.call("PTTL", KEY) <= 40_000

    @pytest.mark.parametrize("script", [FILL, RENEW, RELEASE, DEFER], ids=lambda s: s.name)
    async def test_another_programs_list_is_not_ours(self, client: Client, script: Script) -> None:
        await client.pipeline([("RPUSH", KEY, "a"), ("PEXPIRE", KEY, 60_000)])
        assert await client.run(script, keys=[KEY], args=[OURS, PLAIN, 1000]) == 0
        assert await client.call("LRANGE", KEY, 0, -1) == [b"a"]

    # -- renew, release, defer -------------------------------------------------------------

    async def test_renew_prolongs_our_claim_and_may_be_made_again(self, client: Client) -> None:
        raw = value(OURS, claimed=100)
        await self.put(client, raw, 2000)
        for _ in range(2):
            assert await client.run(RENEW, keys=[KEY], args=[OURS, 30_000]) == 1
            assert 25_000 < self.counts(await self.header(client)) <= 30_000
            assert 25_000 < await client.call("PTTL", KEY) <= 30_000
        after: bytes = await client.call("GET", KEY)
        assert after[:37] + after[41:] == raw[:37] + raw[41:]

    async def test_release_leaves_the_value_to_others(self, client: Client) -> None:
        raw = value(OURS, claimed=HOUR)
        await self.put(client, raw)
        assert await client.run(RELEASE, keys=[KEY], args=[OURS]) == 1
        assert await client.call("GET", KEY) == raw[:37] + bytes(4) + raw[41:]
        assert await self.claim(client, OURS) == [2]

    async def test_defer_says_when_to_try_again(self, client: Client) -> None:
        await self.put(client, value(OURS, claimed=HOUR), 50_000)
        assert await client.run(DEFER, keys=[KEY], args=[OURS, 20_000]) == 1
        header = await self.header(client)
        assert header.flags == IS_SOFT | HAS_FAILED
        assert 15_000 < self.counts(header) <= 20_000
        assert await client.call("PTTL", KEY) <= 50_000
        assert await client.run(DEFER, keys=[KEY], args=[OURS, 20_000]) == 0

    # -- expire ----------------------------------------------------------------------------

    @pytest.mark.parametrize("claimed", [0, HOUR])
    async def test_expire_makes_it_stale_now_and_revokes_a_refresh(
        self, client: Client, claimed: int
    ) -> None:
        raw = value(OURS, age=20_000, claimed=claimed)
        await self.put(client, raw)
        assert await client.run(EXPIRE, keys=[KEY], args=[b"8 random"]) == 1
        header = await self.header(client)
        assert 20_000 <= header.soft_ms < 25_000
        assert header.refresh_ms == 0
        assert header.generation == b"8 random"
        assert await client.run(FILL, keys=[KEY], args=[OURS, PLAIN, 1000]) == 0
        again = await client.call("GET", KEY)
        assert await client.run(EXPIRE, keys=[KEY], args=[b"8 others"]) == 1
        after: bytes = await client.call("GET", KEY)
        assert after[25:] == again[25:]  # it was stale already
        assert after[17:25] == b"8 others"

    async def test_expire_removes_what_cannot_be_stale(self, client: Client) -> None:
        ahead = value(age=-HOUR)  # stored by a clock far ahead: it will not be stale for an hour
        for raw in (PLAIN, LEASE, b"foreign", NOT_CLAIMED["an error"], value()[:40], ahead):
            await self.put(client, raw)
            assert await client.run(EXPIRE, keys=[KEY], args=[b"8 random"]) == 1
            assert await client.call("GET", KEY) is None
        assert await client.run(EXPIRE, keys=[KEY], args=[b"8 random"]) == 0

    async def test_expire_sets_the_flag_of_a_living_mark(self, client: Client) -> None:
        await self.put(client, NOT_CLAIMED["a write mark"])
        assert await client.run(EXPIRE, keys=[KEY], args=[b"8 random"]) == 1
        assert (await client.call("GET", KEY))[4] == 1
        await client.call("DEL", KEY)  # its deadline is far away, and so is its TTL

    # -- touch -----------------------------------------------------------------------------

    async def test_touch_moves_both_expiries(self, client: Client) -> None:
        await self.put(client, value(age=SOFT // 2))
        kind = LEASE[5:17]
        assert await client.run(TOUCH, keys=[KEY], args=[kind, 100_000, 40_000]) == 1
        assert 95_000 < await client.call("PTTL", KEY) <= 100_000
        header = await self.header(client)
        assert SOFT // 2 + 35_000 < header.soft_ms <= SOFT // 2 + 45_000

    async def test_touch_leaves_a_stale_value_as_it_is(self, client: Client) -> None:
        await self.put(client, value())
        before, left = await client.call("GET", KEY), await client.call("PTTL", KEY)
        args = [LEASE[5:17], 2 * left, 40_000]
        assert await client.run(TOUCH, keys=[KEY], args=args) == 0
        assert await client.call("GET", KEY) == before
        assert await client.call("PTTL", KEY) <= left
        assert judge(value(), version=VERSION, fingerprint=TYPE).found is Found.VALUE


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
