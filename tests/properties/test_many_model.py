"""Random calls for many keys by two processes' caches, against a dict that knows no better.

Calls run one after another, or several at once: then each key is loaded once, whatever overlaps
with what. The table of the model has rows, failing rows, and none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from millpond import LoadManyFailed
from tests.support.fleet import Member
from tests.support.rows import Rows

if TYPE_CHECKING:
    from tests.support.servers import Server

Operation: TypeAlias = tuple[Any, ...]

IDS = st.sampled_from([0, 1, 2, "2", 3, "3", 4, 5])
LISTS = st.lists(IDS, max_size=8)
MEMBERS = st.integers(0, 1)
OPERATIONS: st.SearchStrategy[list[Operation]] = st.lists(
    st.one_of(
        st.tuples(st.just("fetch"), MEMBERS, LISTS),
        st.tuples(st.just("fetch"), MEMBERS, LISTS),
        st.tuples(st.just("fetch_at_once"), st.lists(st.tuples(MEMBERS, LISTS), max_size=5)),
        st.tuples(st.just("refresh"), MEMBERS, LISTS),
        st.tuples(st.just("get"), MEMBERS, LISTS),
        st.tuples(st.just("alone"), MEMBERS, IDS),
        st.tuples(st.just("warm"), MEMBERS, LISTS, st.integers(1, 4)),
        st.tuples(st.just("delete"), MEMBERS, LISTS),
        st.tuples(st.just("set"), MEMBERS, LISTS, st.integers(0, 99)),
        st.tuples(st.just("commit"), IDS, st.sampled_from([1, 2, None, LookupError("row")])),
    ),
    max_size=20,
)


class Model:
    """The caches under test, the rows that they load, and what ought to be stored."""

    def __init__(self, members: list[Member[int]]) -> None:
        self.members = members
        self.rows = Rows[int]({})
        self.stored: dict[str, int] = {}
        self.calls = 0

    async def load(self, ids: list[Any]) -> dict[Any, int | Exception]:
        texts = [str(one) for one in ids]
        assert len(set(texts)) == len(texts), "two spellings of one key"
        assert not set(texts) & self.stored.keys(), "it is there"
        return await self.rows.load(texts)

    async def load_anew(self, ids: list[Any]) -> dict[Any, int | Exception]:
        return await self.rows.load([str(one) for one in ids])

    def expected(self, ids: list[Any]) -> tuple[dict[Any, int], dict[str, Exception]]:
        """Say what a call for these ids gives, and store what it loads."""
        values: dict[Any, int] = {}
        errors: dict[str, Exception] = {}
        for one in ids:
            row = self.stored.get(str(one), self.rows.rows.get(str(one)))
            if isinstance(row, Exception):
                errors[str(one)] = row
            elif row is not None:
                values[one] = self.stored[str(one)] = row
        return values, errors

    async def fetch(self, member: int, ids: list[Any]) -> None:
        call = self.members[member].cache.get_or_set_many(ids, self.load)
        before = dict(self.stored)
        values, errors = self.expected(ids)
        after, self.stored = self.stored, before  # what the loader may not be asked for
        calls = len(self.rows.calls)
        await self.agrees(call, ids, values, errors)
        self.stored = after
        missing = {str(one) for one in ids} - before.keys()
        assert len(self.rows.calls) - calls == bool(missing)

    async def agrees(
        self, call: Any, ids: list[Any], values: dict[Any, int], errors: dict[str, Exception]
    ) -> None:
        told: dict[Any, Exception] = {}
        try:
            found = await call
        except LoadManyFailed as failed:
            found, told = failed.values, dict(failed.errors)
        assert {str(one) for one in told} == errors.keys()
        assert found == values
        assert list(found) == [one for one in dict.fromkeys(ids) if one in values]

    async def fetch_at_once(self, calls: list[tuple[int, list[Any]]]) -> None:
        flown = [
            self.members[member].cache.get_or_set_many(ids, self.load_anew) for member, ids in calls
        ]
        results = await asyncio.gather(*flown, return_exceptions=True)
        for (_, ids), result in zip(calls, results, strict=True):
            values, errors = self.expected(ids)
            if isinstance(result, LoadManyFailed):
                assert {str(one) for one in result.errors} == errors.keys() != set()
                assert result.values == values
            else:
                assert (result, errors) == (values, {})
        assert self.rows.most <= 1

    async def refresh(self, member: int, ids: list[Any]) -> None:
        for one in ids:
            self.stored.pop(str(one), None)
        values, errors = self.expected(ids)
        call = self.members[member].cache.refresh_many(ids, self.load_anew)
        await self.agrees(call, ids, values, errors)

    async def get(self, member: int, ids: list[Any]) -> None:
        found = await self.members[member].cache.get_many(ids)
        assert found == {one: self.stored[str(one)] for one in ids if str(one) in self.stored}

    async def alone(self, member: int, one: Any) -> None:
        async def load() -> int:
            return 7

        found = await self.members[member].cache.get_or_set(one, load)
        assert found == self.stored.setdefault(str(one), 7)

    async def warm(self, member: int, ids: list[Any], batch: int) -> None:
        before = self.stored.copy()
        done = await self.members[member].cache.warm(ids, self.load_anew, batch=batch)
        self.expected(ids)
        assert done.loaded == done.stored == len(self.stored) - len(before)

    async def delete(self, member: int, ids: list[Any]) -> None:
        assert await self.members[member].cache.delete(*ids) is True
        for one in ids:
            self.stored.pop(str(one), None)

    async def set(self, member: int, ids: list[Any], value: int) -> None:
        assert await self.members[member].cache.set_many(dict.fromkeys(ids, value)) is True
        self.stored |= {str(one): value for one in ids}

    async def commit(self, one: Any, row: int | Exception | None) -> None:
        if row is None:
            self.rows.rows.pop(str(one), None)
        else:
            self.rows.rows[str(one)] = row


async def play(url: str, operations: list[Operation]) -> None:
    async with Member[int](url) as one, Member[int](url) as other:
        await one.client.call("FLUSHALL")
        model = Model([one, other])
        for name, *arguments in operations:
            await getattr(model, name)(*arguments)
        for member in (0, 1):
            await model.get(member, list(range(6)))
            statistics = model.members[member].cache.statistics()
            assert statistics.flights == statistics.unleased_loads == 0


QUICK = settings(
    max_examples=150,
    deadline=None,  # a busy machine is no failure
    derandomize=True,  # the same run every time
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@QUICK
@given(OPERATIONS)
def test_random_calls_for_many_on_a_server_agree_with_a_dict(
    server: Server, operations: list[Operation]
) -> None:
    asyncio.run(play(server.url, operations))


@QUICK
@given(OPERATIONS)
def test_random_calls_for_many_in_memory_agree_with_a_dict(operations: list[Operation]) -> None:
    asyncio.run(play("memory://many-shared-by-the-two", operations))
