"""Random calls of two processes' caches, one after another, against a dict that knows no better.

Without concurrency and expiry a cache is a dict: what was stored is found, what was deleted, by its
key, by a tag or with all the rest, is loaded, and nothing else is ever seen. Other programs write
under its keys, too; entries and versions are lost, and so is everything at once.

With a near cache it is still one, to whoever reads after the pushes have come: they are ahead of
the reply to whatever the same connection is asked then.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from millpond import MISSING, CachePolicy, Loaded, NearCache
from millpond.core.entry import new_generation, pack_lease, pack_value
from tests.support.fleet import Member

if TYPE_CHECKING:
    from tests.support.servers import Server

Value: TypeAlias = int | str | list[int] | None
Operation: TypeAlias = tuple[Any, ...]

TTL = 60.0
KEYS = st.sampled_from([1, 1, 1, "1", 2, 2, "a:b", ("a", "b"), ""])  # 1 meets the most
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.none(),
    st.lists(st.integers(0, 9), max_size=3),
)
TTLS = st.one_of(st.none(), st.floats(1, 1000))
FOREIGN = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=30).map(lambda tail: pack_lease(b"8 bytes!", 0, 1) + b"\0" + tail),
    st.binary(max_size=9).map(lambda p: pack_value(new_generation(), 0, 1, p, created_ms=1)),
)
MEMBERS = st.integers(0, 1)
SPELLINGS = (1, 2, "a:b", ("a", "b"), "")
TAGS = st.sampled_from([[], [], [], ["a"], ["a"], ["b"], ["a", ("a", "b")]])
MANY = st.lists(KEYS, max_size=4)
ENDS = st.sampled_from(
    ["stores", "deletes", "raises", "overlapped", "deleted", "set", "DEL", "cleared", "untagged"]
)
HOW = st.sampled_from(["delete", "expire"])
# How often, and with what: loads and reads most, so that there is something to delete and to find.
KINDS: dict[str, tuple[int, tuple[st.SearchStrategy[Any], ...]]] = {
    "get": (6, (KEYS,)),
    "get many": (2, (MANY,)),
    "load": (7, (KEYS, VALUES, TTLS, TAGS, TAGS)),
    "load many": (2, (MANY, VALUES, TAGS)),
    "load many at once": (2, (KEYS, VALUES, TAGS)),
    "fail": (1, (KEYS,)),
    "set": (3, (KEYS, VALUES, TTLS, TAGS)),
    "set many": (1, (st.dictionaries(KEYS, VALUES, max_size=4), TTLS, TAGS)),
    "write": (3, (KEYS, VALUES, ENDS, TAGS)),
    "touch": (2, (KEYS, TTLS)),
    "delete": (2, (MANY, HOW)),
    "delete tags": (4, (TAGS, HOW)),
    "clear": (1, ()),
    "foreign": (1, (KEYS, FOREIGN)),
    "lose": (1, (st.sampled_from([*SPELLINGS, "era", "everything"]),)),
    "lose tag": (1, (st.sampled_from(["a", "b"]),)),
    "reopen": (1, ()),
}
NAMES = [name for name, (weight, _) in KINDS.items() for _ in range(weight)]


@st.composite
def drawn(draw: st.DrawFn) -> Operation:
    name = draw(st.sampled_from(NAMES))
    return (name, draw(MEMBERS), *[draw(given) for given in KINDS[name][1]])


# In pieces, for one list would mostly be short.
OPERATIONS: st.SearchStrategy[list[Operation]] = st.lists(
    st.lists(drawn(), max_size=10), max_size=10
).map(lambda pieces: [operation for piece in pieces for operation in piece])


class Broken(Exception):
    pass


class Stored(NamedTuple):
    """What is under a key."""

    value: Value
    tags: frozenset[Any] = frozenset()


class Model:
    """The caches under test beside the dict, and each operation on both."""

    def __init__(self, members: list[Member[Any]]) -> None:
        self.members = members
        self.stored: dict[str, Stored] = {}
        self.worthless: set[str] = set()  # still there, under a tag's version that is no more

    async def check(self, operations: list[Operation]) -> None:
        for name, member, *arguments in operations:
            operation = getattr(self, name.replace(" ", "_"))
            await self.settle()
            await operation(self.members[member], *arguments)
        for member in self.members:
            for key in SPELLINGS:
                await self.get(member, key)
            assert member.cache.statistics().flights == 0
            assert member.cache.statistics().unleased_loads == 0

    async def settle(self) -> None:
        """Return when everything that was pushed before has arrived."""
        for member in self.members:
            await member.client.call("PING")

    def found(self, member: Member[Any], key: Any) -> Any:
        stored = self.stored.get(member.cache.key(key))
        return MISSING if stored is None else stored.value

    # -- reading and loading ------------------------------------------------------------------

    async def get(self, member: Member[Any], key: Any) -> None:
        await self.settle()
        assert await member.cache.get(key) == self.found(member, key)

    async def get_many(self, member: Member[Any], keys: list[Any]) -> None:
        expected = {key: self.found(member, key) for key in keys}
        found = await member.cache.get_many(keys)
        assert found == {key: value for key, value in expected.items() if value is not MISSING}

    async def load(
        self,
        member: Member[Any],
        key: Any,
        value: Value,
        ttl: float | None,
        tags: list[Any],
        known_to_loader: list[Any],
    ) -> None:
        calls = 0

        async def load() -> Value | Loaded[Value]:
            nonlocal calls
            calls += 1
            return Loaded(value, tags=known_to_loader) if known_to_loader else value

        name = member.cache.key(key)
        was_there = name in self.stored
        expected = self.stored.setdefault(name, Stored(value, frozenset(tags + known_to_loader)))
        assert await member.cache.get_or_set(key, load, ttl=ttl, tags=tags) == expected.value
        assert calls == (0 if was_there else 1)
        if not was_there:
            await self.expires(member, name, ttl)

    async def load_many(
        self, member: Member[Any], keys: list[Any], value: Value, tags: list[Any]
    ) -> None:
        asked: list[str] = []

        async def load(missing: list[Any]) -> dict[Any, Value]:
            asked.extend(member.cache.key(key) for key in missing)
            return dict.fromkeys(missing, value)

        names = {member.cache.key(key) for key in keys}
        absent = names - self.stored.keys()
        self.stored |= dict.fromkeys(absent, Stored(value, frozenset(tags)))
        expected = {key: self.found(member, key) for key in keys}
        assert await member.cache.get_or_set_many(keys, load, tags=tags) == expected
        assert sorted(asked) == sorted(absent)

    async def load_many_at_once(
        self, member: Member[Any], key: Any, value: Value, tags: list[Any]
    ) -> None:
        async def load() -> Value:
            await asyncio.sleep(0)
            return value

        name = member.cache.key(key)
        expected = self.stored.setdefault(name, Stored(value, frozenset(tags)))
        found = await asyncio.gather(
            *(each.cache.get_or_set(key, load, tags=tags) for each in self.members * 3)
        )
        assert found == [expected.value] * 6

    async def fail(self, member: Member[Any], key: Any) -> None:
        async def load() -> Value:
            raise Broken

        try:
            found = await member.cache.get_or_set(key, load)
        except Broken:
            assert member.cache.key(key) not in self.stored
        else:
            assert found == self.found(member, key)

    # -- writing ------------------------------------------------------------------------------

    async def set(
        self, member: Member[Any], key: Any, value: Value, ttl: float | None, tags: list[Any]
    ) -> None:
        name = member.cache.key(key)
        assert await member.cache.set(key, value, ttl=ttl, tags=tags) is True
        self.stored[name] = Stored(value, frozenset(tags))
        await self.expires(member, name, ttl)
        assert await member.cache.get(key) == value, "what a process has set it sees at once"

    async def set_many(
        self, member: Member[Any], values: dict[Any, Value], ttl: float | None, tags: list[Any]
    ) -> None:
        assert await member.cache.set_many(values, ttl=ttl, tags=tags) is True
        for key, value in values.items():
            self.stored[member.cache.key(key)] = Stored(value, frozenset(tags))

    async def touch(self, member: Member[Any], key: Any, ttl: float | None) -> None:
        name = member.cache.key(key)
        touched = await member.cache.touch(key, ttl=ttl)
        if name in self.stored:
            assert touched == 1
            await self.expires(member, name, ttl)
        else:
            assert touched == 0 or name in self.worthless
            assert await member.cache.ttl(key) is None

    async def write(
        self, member: Member[Any], key: Any, value: Value, end: str, tags: list[Any]
    ) -> None:
        name = member.cache.key(key)
        self.stored.pop(name, None)
        with contextlib.suppress(Broken):
            async with member.cache.writing(key, tags=tags) as write:
                if end != "deletes":
                    write.set(value)
                await self.meanwhile(member, key, end, tags)
                if end == "raises":
                    raise Broken
        if end in {"stores", "set"} or (end == "untagged" and not tags):
            self.stored[name] = Stored(value, frozenset(tags))
            await self.expires(member, name, None)
        elif end == "untagged":
            self.worthless.add(name)

    async def meanwhile(self, member: Member[Any], key: Any, end: str, tags: list[Any]) -> None:
        (other,) = (each for each in self.members if each is not member)
        if end == "overlapped":
            async with other.cache.writing(key) as write:
                write.set("older")
        elif end == "deleted":
            assert await other.cache.delete(key) is True
        elif end == "set":
            assert await other.cache.set(key, "older") is False
        elif end == "DEL":
            await other.client.call("DEL", member.cache.key(key))
        elif end == "cleared":
            await self.clear(other)
        elif end == "untagged":
            await self.delete_tags(other, tags[:1])
        for each in self.members:
            await self.get(each, key)

    # -- deleting and losing ------------------------------------------------------------------

    async def delete(self, member: Member[Any], keys: list[Any], how: str) -> None:
        assert await getattr(member.cache, how)(*keys) is True
        for key in keys:
            self.stored.pop(member.cache.key(key), None)
            self.worthless.discard(member.cache.key(key))
            assert await member.cache.get(key) is MISSING, "an own delete is seen at once"

    async def delete_tags(self, member: Member[Any], tags: list[Any], how: str = "delete") -> None:
        assert await getattr(member.cache, f"{how}_tags")(*tags) is True
        self.forget(*tags)

    def forget(self, *tags: Any) -> None:
        gone = {name for name, each in self.stored.items() if each.tags & {*tags}}
        self.worthless |= gone
        self.stored = {name: self.stored[name] for name in self.stored.keys() - gone}

    async def clear(self, member: Member[Any]) -> None:
        assert await member.cache.clear() is True
        self.stored.clear()
        assert await member.cache.get(1) is MISSING, "an own clear is seen at once"

    async def foreign(self, member: Member[Any], key: Any, raw: bytes) -> None:
        name = member.cache.key(key)
        await member.client.call("SET", name, raw, "PX", 60_000)
        self.stored.pop(name, None)

    async def lose(self, member: Member[Any], what: Any) -> None:
        if what == "everything":
            await member.client.call("FLUSHALL")
            self.stored.clear()
        elif what == "era":
            await member.client.call("DEL", "t:n:{}era")
            self.stored.clear()
        else:
            await member.client.call("DEL", member.cache.key(what))
            self.stored.pop(member.cache.key(what), None)

    async def lose_tag(self, member: Member[Any], tag: str) -> None:
        await member.client.call("DEL", f"t:n:{{}}tag:{tag}")
        self.forget(tag)

    async def reopen(self, member: Member[Any]) -> None:
        await member.client.aclose()
        await member.client.__aenter__()

    async def expires(self, member: Member[Any], name: str, ttl: float | None) -> None:
        seconds = TTL if ttl is None else ttl
        left = await member.client.call("PTTL", name)
        assert (seconds - 1) * 1000 - 5000 < left <= seconds * 1000 + 1


async def play(url: str, operations: list[Operation], near: NearCache | None = None) -> None:
    policy = CachePolicy(jitter=1e-3, wait_timeout=5, near=near)
    async with (
        Member[Any](url, type=Any, ttl=TTL, policy=policy) as one,
        Member[Any](url, type=Any, ttl=TTL, policy=policy) as other,
    ):
        await one.client.call("FLUSHALL")
        await Model([one, other]).check(operations)


QUICK = settings(
    max_examples=200,
    deadline=None,  # a busy machine is no failure
    derandomize=True,  # the same run every time
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FEWER = settings(QUICK, max_examples=60)  # its scripts run in Python


@QUICK
@given(OPERATIONS)
def test_random_calls_on_a_server_agree_with_a_dict(
    server: Server, operations: list[Operation]
) -> None:
    asyncio.run(play(server.url, operations))


@FEWER
@given(OPERATIONS)
def test_random_calls_in_memory_agree_with_a_dict(operations: list[Operation]) -> None:
    asyncio.run(play("memory://shared-by-the-two", operations))


@QUICK
@given(OPERATIONS)
def test_random_calls_with_copies_near_agree_with_a_dict(
    server: Server, operations: list[Operation]
) -> None:
    asyncio.run(play(server.url, operations, NearCache(max_entries=3)))


@FEWER
@given(OPERATIONS)
def test_random_calls_with_copies_near_in_memory_agree_with_a_dict(
    operations: list[Operation],
) -> None:
    asyncio.run(play("memory://shared-by-the-two", operations, NearCache(max_entries=3)))
