"""The scripts of one load by themselves: what each does to every kind of entry, on every server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client, ReplyError
from millpond.cache.batches import batched
from millpond.cache.decision import Found, Seen, dead, judge
from millpond.core.entry import pack_error, pack_lease, pack_mark, pack_value
from millpond.core.scripts import Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from millpond.core.commands import Arg
    from tests.support.servers import Server

CLAIM = Script.load("millpond.cache", "claim", after=("writers", "soft"))
STORE = Script.load("millpond.cache", "store", after=("writers",))
FILL, RENEW, RELEASE = (
    Script.load("millpond.cache", name, after=("soft",)) for name in ("fill", "renew", "release")
)
KEY = "t:n:1"
VERSION, TYPE = 3, 0xC0FFEE
OURS, THEIRS = b"our own!", b"not ours"
LEASE = pack_lease(OURS, VERSION, TYPE)
ENTRY = pack_value(OURS, VERSION, TYPE, b"\x05", created_ms=1)
NOTHING = Seen()


def of(generation: bytes) -> dict[str, bytes]:
    """Every kind of entry that carries a generation."""
    return {
        "lease": pack_lease(generation, VERSION, TYPE),
        "value": pack_value(generation, VERSION, TYPE, b"\x05", created_ms=1),
        "None": pack_value(generation, VERSION, TYPE, None, created_ms=1),
        "error": pack_error(generation, VERSION, TYPE, "KeyError", created_ms=1),
        "notice": pack_error(generation, VERSION, TYPE, "E", created_ms=1, for_waiters=True),
        "older": pack_value(generation, VERSION - 1, TYPE, b"\x05", created_ms=1),
        "newer": pack_value(generation, VERSION + 1, TYPE, b"\x05", created_ms=1),
        "write": pack_mark(generation, VERSION, TYPE) + b"a writer" + b"9999999999999",
    }


def damaged() -> Iterator[bytes]:
    """Every entry with each byte of its header changed in turn, cut short, and foreign bytes."""
    letters = {0, 1, 2, 8, 0x7F, 0x80, 0xFF, *b"vlew"}
    for raw in of(THEIRS).values():
        for at in range(min(len(raw), 42)):
            for byte in letters | {raw[at] ^ 1}:
                yield raw[:at] + bytes([byte]) + raw[at + 1 :]
        for size in (1, 3, 4, 11, 17, 24, 25, 26, 32, 33, 34):
            yield raw[:size]
        yield raw + b"\0"
    yield b""
    yield b'{"id": 42}'


class Contract:
    """What the scripts promise, on whichever server the fixture `client` leads to."""

    async def put(self, client: Client, raw: bytes, milliseconds: int = 60_000) -> None:
        await client.call("SET", KEY, raw, "PX", milliseconds)

    async def claim(self, client: Client, seen: Seen = NOTHING, lease: bytes = LEASE) -> Any:
        return await client.run(CLAIM, keys=[KEY], args=[lease, 3000, *seen.args()])

    async def fill(self, client: Client, entry: bytes = ENTRY) -> int:
        return await client.run(FILL, keys=[KEY], args=[OURS, entry, 60_000])

    # -- claim -----------------------------------------------------------------------------

    async def test_claim_of_nothing_puts_the_lease_for_its_time(self, client: Client) -> None:
        assert await self.claim(client) == [1]
        assert await client.call("GET", KEY) == LEASE
        assert 2000 < await client.call("PTTL", KEY) <= 3000

    async def test_claim_whose_reply_was_lost_is_recognised_when_it_is_made_again(
        self, client: Client
    ) -> None:
        assert await self.claim(client) == [1]
        assert await self.claim(client) == [1]
        assert await client.call("GET", KEY) == LEASE

    @pytest.mark.parametrize("kind", of(THEIRS))
    async def test_claim_of_nothing_finds_what_is_there_and_how_long_it_will_be(
        self, client: Client, kind: str
    ) -> None:
        raw = of(THEIRS)[kind]
        await self.put(client, raw)
        claimed, held, left = await self.claim(client)
        assert (claimed, held) == (0, raw)
        assert 50_000 < left <= 60_000
        assert await client.call("GET", KEY) == raw

    @pytest.mark.parametrize("kind", ["value", "None", "error", "notice", "older"])
    async def test_claim_replaces_exactly_what_was_seen_dead(
        self, client: Client, kind: str
    ) -> None:
        await self.put(client, of(THEIRS)[kind])
        assert (await self.claim(client, Seen("g", b"8 others")))[0] == 0
        assert await client.call("GET", KEY) == of(THEIRS)[kind]
        assert await self.claim(client, Seen("g", THEIRS)) == [1]
        assert await client.call("GET", KEY) == LEASE

    @pytest.mark.parametrize("kind", ["lease", "write"])
    async def test_claim_never_replaces_what_somebody_works_on(
        self, client: Client, kind: str
    ) -> None:
        raw = of(THEIRS)[kind]
        await self.put(client, raw)
        for seen in (NOTHING, Seen("g", THEIRS)):
            assert (await self.claim(client, seen))[:2] == [0, raw]

    async def test_claim_replaces_a_lease_without_an_end_which_nobody_can_hold(
        self, client: Client
    ) -> None:
        """Such as COPY, PERSIST or a careless restore leaves behind."""
        await client.call("SET", KEY, of(THEIRS)["lease"])
        try:
            assert await self.claim(client) == [1]
            assert 2000 < await client.call("PTTL", KEY) <= 3000
        finally:
            await client.call("DEL", KEY)

    async def test_claim_of_what_has_gone_meanwhile_succeeds(self, client: Client) -> None:
        assert await self.claim(client, Seen("g", THEIRS)) == [1]

    async def test_claim_replaces_foreign_bytes_as_long_as_they_are_the_same(
        self, client: Client
    ) -> None:
        seen = dead(b"foreign", "").seen
        for raw in (b"foreign, and changed", b"foreigm", b"", *of(THEIRS).values()):
            await self.put(client, raw)
            assert (await self.claim(client, seen))[:2] == [0, raw]
        await self.put(client, b"foreign")
        assert await self.claim(client, seen) == [1]

    async def test_claim_of_another_programs_list_is_refused_and_leaves_it_alone(
        self, client: Client
    ) -> None:
        await client.pipeline([("RPUSH", KEY, "a"), ("PEXPIRE", KEY, 60_000)])
        with pytest.raises(ReplyError) as caught:
            await self.claim(client)
        assert caught.value.code == "WRONGTYPE"
        assert await client.call("LRANGE", KEY, 0, -1) == [b"a"]

    async def test_claim_and_judge_agree_on_every_damaged_header(self, client: Client) -> None:
        """Were something dead to the reader and alive to the script, it would be asked for ever."""
        raws = list(dict.fromkeys(damaged()))
        verdicts = [judge(raw, version=VERSION, fingerprint=TYPE) for raw in raws]
        commands: list[tuple[Arg, ...]] = []
        for raw, verdict in zip(raws, verdicts, strict=True):
            for seen in (NOTHING, verdict.seen):
                commands.append(("SET", KEY, raw, "PX", 60_000))
                commands.append(("EVAL", CLAIM.source, 1, KEY, LEASE, 3000, *seen.args()))
        replies: list[Any] = []
        for some in batched(commands, 500):
            replies += (await client.pipeline(some))[1::2]
        asked = zip(raws, verdicts, replies[::2], replies[1::2], strict=True)
        for raw, verdict, unseen, seen in asked:
            alive = verdict.found in {Found.LEASE, Found.NEWER}
            if verdict.found is Found.WRITE:  # which only the server can tell: it has the clock
                alive = raw[33:46].isdigit() and int(raw[33:46]) > 4e12
            if alive or verdict.found is not Found.WRITE:
                assert unseen[:2] == [0, raw], "a claim of nothing replaced something"
            assert seen[0] == (0 if alive else 1), (raw, verdict)

    # -- fill ------------------------------------------------------------------------------

    async def test_fill_replaces_our_lease_by_the_value_for_its_time(self, client: Client) -> None:
        await self.put(client, LEASE, 3000)
        assert await self.fill(client) == 1
        assert await client.call("GET", KEY) == ENTRY
        assert 50_000 < await client.call("PTTL", KEY) <= 60_000

    async def test_fill_made_again_changes_nothing(self, client: Client) -> None:
        await self.put(client, LEASE, 3000)
        assert await self.fill(client) == 1
        assert await self.fill(client, pack_value(OURS, 9, 9, b"\x06", created_ms=2)) == 0
        assert await client.call("GET", KEY) == ENTRY

    @pytest.mark.parametrize("raw", [None, b"", b"foreign", *of(THEIRS).values()])
    async def test_fill_is_refused_where_our_lease_is_gone(
        self, client: Client, raw: bytes | None
    ) -> None:
        if raw is not None:
            await self.put(client, raw)
        assert await self.fill(client) == 0
        assert await client.call("GET", KEY) == raw

    @pytest.mark.parametrize("kind", ["value", "None", "error", "notice", "write"])
    async def test_fill_replaces_nothing_but_a_lease_even_of_our_own_generation(
        self, client: Client, kind: str
    ) -> None:
        await self.put(client, of(OURS)[kind])
        assert await self.fill(client) == 0
        assert await client.call("GET", KEY) == of(OURS)[kind]

    # -- renew and release -----------------------------------------------------------------

    async def test_renew_prolongs_our_lease_and_may_be_made_again(self, client: Client) -> None:
        await self.put(client, LEASE, 1000)
        for _ in range(2):
            assert await client.run(RENEW, keys=[KEY], args=[OURS, 60_000]) == 1
            assert 50_000 < await client.call("PTTL", KEY) <= 60_000
        assert await client.call("GET", KEY) == LEASE

    async def test_release_removes_our_lease_and_may_be_made_again(self, client: Client) -> None:
        await self.put(client, LEASE)
        assert await client.run(RELEASE, keys=[KEY], args=[OURS]) == 1
        assert await client.run(RELEASE, keys=[KEY], args=[OURS]) == 0
        assert await client.call("GET", KEY) is None

    @pytest.mark.parametrize(
        "raw", [None, b"foreign", *of(THEIRS).values(), of(OURS)["value"], of(OURS)["error"]]
    )
    @pytest.mark.parametrize("script", [RENEW, RELEASE], ids=lambda script: script.name)
    async def test_renew_and_release_touch_nothing_but_our_lease(
        self, client: Client, script: Script, raw: bytes | None
    ) -> None:
        if raw is not None:
            await self.put(client, raw, 40_000)
        assert await client.run(script, keys=[KEY], args=[OURS, 60_000]) == 0
        assert await client.call("GET", KEY) == raw
        assert await client.call("PTTL", KEY) <= 40_000

    @pytest.mark.parametrize("script", [FILL, RENEW, RELEASE], ids=lambda script: script.name)
    async def test_another_programs_list_is_not_ours(self, client: Client, script: Script) -> None:
        await client.pipeline([("RPUSH", KEY, "a"), ("PEXPIRE", KEY, 60_000)])
        assert await client.run(script, keys=[KEY], args=[OURS, ENTRY, 1000]) == 0
        assert await client.call("LRANGE", KEY, 0, -1) == [b"a"]

    # -- store -----------------------------------------------------------------------------

    @pytest.mark.parametrize("raw", [None, b"", b"foreign", *of(THEIRS).values()])
    async def test_store_replaces_all_but_newer_values_and_write_marks(
        self, client: Client, raw: bytes | None
    ) -> None:
        if raw is not None:
            await self.put(client, raw)
        kept = raw in {of(THEIRS)["newer"], of(THEIRS)["write"]}
        for _ in range(2):  # again: the reply was lost
            stored = await client.run(STORE, keys=[KEY], args=[ENTRY, 60_000])
            assert stored == (0 if kept else 1)
            assert await client.call("GET", KEY) == (raw if kept else ENTRY)

    @pytest.mark.parametrize(
        ("held", "ours"), [(1, 0), (97, 66), (255, 254), (256, 255), (257, 2), (0x8000, 0x7FFF)]
    )
    async def test_store_orders_versions_as_numbers(
        self, client: Client, held: int, ours: int
    ) -> None:
        newer, older = (
            pack_value(THEIRS, version, TYPE, b"\x05", created_ms=1) for version in (held, ours)
        )
        await self.put(client, newer)
        assert await client.run(STORE, keys=[KEY], args=[older, 60_000]) == 0
        await self.put(client, older)
        assert await client.run(STORE, keys=[KEY], args=[newer, 60_000]) == 1

    # -- all -------------------------------------------------------------------------------

    async def test_server_that_has_forgotten_the_scripts_is_told_them_again(
        self, client: Client
    ) -> None:
        for _ in range(2):
            assert await self.claim(client) == [1]
            await client.call("SCRIPT", "FLUSH")
            assert await client.run(RENEW, keys=[KEY], args=[OURS, 3000]) == 1
            await client.call("SCRIPT", "FLUSH")
            assert await self.fill(client) == 1
            await client.call("SCRIPT", "FLUSH")
            assert await client.run(STORE, keys=[KEY], args=[ENTRY, 60_000]) == 1
            await client.call("DEL", KEY)
            await client.call("SCRIPT", "FLUSH")


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


# Lua orders strings by the locale that the server was started in, where "b" may precede "F".
@pytest.mark.parametrize("script", [CLAIM, FILL, RENEW, RELEASE, STORE], ids=lambda s: s.name)
def test_no_script_orders_strings(script: Script) -> None:
    code = "\n".join(line for line in script.source.splitlines() if not line.startswith("--"))
    assert not re.search(r"[<>]=? *string\.sub", code)
