"""Random calls of two processes' caches, one after another, against a dict that knows no better.

Without concurrency and expiry a cache is a dict: what was stored is found, what was deleted is
loaded, and nothing else is ever seen. Other programs write under its keys, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from millpond import MISSING, CachePolicy
from millpond.core.entry import new_generation, pack_lease, pack_value
from tests.support.fleet import Member

if TYPE_CHECKING:
    from tests.support.servers import Server

Value: TypeAlias = int | str | list[int] | None
Operation: TypeAlias = tuple[Any, ...]

TTL = 60.0
KEYS = st.sampled_from([1, "1", 2, "a:b", ("a", "b"), ""])
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
ENDS = st.sampled_from(["stores", "deletes", "raises", "overlapped", "deleted", "set", "DEL"])
OPERATIONS: st.SearchStrategy[list[Operation]] = st.lists(
    st.one_of(
        st.tuples(st.just("get"), MEMBERS, KEYS),
        st.tuples(st.just("load"), MEMBERS, KEYS, VALUES, TTLS),
        st.tuples(st.just("load many at once"), MEMBERS, KEYS, VALUES),
        st.tuples(st.just("fail"), MEMBERS, KEYS),
        st.tuples(st.just("set"), MEMBERS, KEYS, VALUES, TTLS),
        st.tuples(st.just("delete"), MEMBERS, st.lists(KEYS, max_size=4)),
        st.tuples(st.just("foreign"), MEMBERS, KEYS, FOREIGN),
        st.tuples(st.just("write"), MEMBERS, KEYS, VALUES, ENDS),
        st.tuples(st.just("set many"), MEMBERS, st.dictionaries(KEYS, VALUES, max_size=4), TTLS),
        st.tuples(st.just("touch"), MEMBERS, KEYS, TTLS),
    ),
    max_size=25,
)


class Broken(Exception):
    pass


class Model:
    """The caches under test beside the dict, and each operation on both."""

    def __init__(self, members: list[Member[Any]]) -> None:
        self.members = members
        self.stored: dict[str, Value] = {}
        self.errors = 0

    async def check(self, operations: list[Operation]) -> None:
        for name, member, *arguments in operations:
            operation = getattr(self, name.replace(" ", "_"))
            await operation(self.members[member], *arguments)
        for member in self.members:
            for key in (1, 2, "a:b", ("a", "b"), ""):
                await self.get(member, key)
            assert member.cache.statistics().flights == 0
            assert member.cache.statistics().unleased_loads == 0

    async def get(self, member: Member[Any], key: Any) -> None:
        expected = self.stored.get(member.cache.key(key), MISSING)
        assert await member.cache.get(key) == expected

    async def load(
        self, member: Member[Any], key: Any, value: Value, ttl: float | None = None
    ) -> None:
        calls = 0

        async def load() -> Value:
            nonlocal calls
            calls += 1
            return value

        name = member.cache.key(key)
        was_there = name in self.stored
        expected = self.stored.setdefault(name, value)
        assert await member.cache.get_or_set(key, load, ttl=ttl) == expected
        assert calls == (0 if was_there else 1)
        if not was_there:
            await self.expires(member, name, ttl)

    async def load_many_at_once(self, member: Member[Any], key: Any, value: Value) -> None:
        async def load() -> Value:
            await asyncio.sleep(0)
            return value

        expected = self.stored.setdefault(member.cache.key(key), value)
        found = await asyncio.gather(
            *(each.cache.get_or_set(key, load) for each in self.members * 3)
        )
        assert found == [expected] * 6

    async def fail(self, member: Member[Any], key: Any) -> None:
        async def load() -> Value:
            raise Broken

        name = member.cache.key(key)
        try:
            found = await member.cache.get_or_set(key, load)
        except Broken:
            assert name not in self.stored
        else:
            assert found == self.stored[name]

    async def set(self, member: Member[Any], key: Any, value: Value, ttl: float | None) -> None:
        name = member.cache.key(key)
        assert await member.cache.set(key, value, ttl=ttl) is True
        self.stored[name] = value
        await self.expires(member, name, ttl)

    async def delete(self, member: Member[Any], keys: list[Any]) -> None:
        assert await member.cache.delete(*keys) is True
        for key in keys:
            self.stored.pop(member.cache.key(key), None)

    async def set_many(
        self, member: Member[Any], values: dict[Any, Value], ttl: float | None
    ) -> None:
        assert await member.cache.set_many(values, ttl=ttl) is True
        for key, value in values.items():
            self.stored[member.cache.key(key)] = value

    async def touch(self, member: Member[Any], key: Any, ttl: float | None) -> None:
        name = member.cache.key(key)
        assert await member.cache.touch(key, ttl=ttl) == (name in self.stored)
        if name in self.stored:
            await self.expires(member, name, ttl)
        else:
            assert await member.cache.ttl(key) is None

    async def write(self, member: Member[Any], key: Any, value: Value, end: str) -> None:
        name = member.cache.key(key)
        self.stored.pop(name, None)
        with contextlib.suppress(Broken):
            async with member.cache.writing(key) as write:
                if end != "deletes":
                    write.set(value)
                await self.meanwhile(member, key, end)
                if end == "raises":
                    raise Broken
        if end in {"stores", "set"}:
            self.stored[name] = value
            await self.expires(member, name, None)

    async def meanwhile(self, member: Member[Any], key: Any, end: str) -> None:
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
        for each in self.members:
            await self.get(each, key)

    async def foreign(self, member: Member[Any], key: Any, raw: bytes) -> None:
        name = member.cache.key(key)
        await member.client.call("SET", name, raw, "PX", 60_000)
        self.stored.pop(name, None)

    async def expires(self, member: Member[Any], name: str, ttl: float | None) -> None:
        seconds = TTL if ttl is None else ttl
        left = await member.client.call("PTTL", name)
        assert (seconds - 1) * 1000 - 5000 < left <= seconds * 1000 + 1


async def play(url: str, operations: list[Operation]) -> None:
    policy = CachePolicy(jitter=1e-3, wait_timeout=5)
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


@QUICK
@given(OPERATIONS)
def test_random_calls_on_a_server_agree_with_a_dict(
    server: Server, operations: list[Operation]
) -> None:
    asyncio.run(play(server.url, operations))


@QUICK
@given(OPERATIONS)
def test_random_calls_in_memory_agree_with_a_dict(operations: list[Operation]) -> None:
    asyncio.run(play("memory://shared-by-the-two", operations))
