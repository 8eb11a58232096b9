"""`get_or_set_many`: one call for all that is missing, and for each key what one key has."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from millpond import (
    MISSING,
    BackendUnavailable,
    CachePolicy,
    ClosedError,
    CodecError,
    ConfigError,
    LoadManyFailed,
    LoadTimeout,
    MillpondError,
    RemoteLoadError,
    cache_mode,
)
from millpond.cache.decision import ABSENT
from millpond.events import FillRefused, LoadFailed
from tests.support.fleet import Member, Source, ask, until
from tests.support.rows import Rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.support.servers import Server

NOWHERE = "redis://127.0.0.1:1/0"
TENS = {n: n * 10 for n in range(100)}


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.fixture
async def two(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


def ask_many(
    member: Member[int], rows: Rows[int], keys: Iterable[Any]
) -> asyncio.Task[dict[Any, int]]:
    return asyncio.create_task(member.cache.get_or_set_many(keys, rows.load))


# -- one call for all that is missing ----------------------------------------------------------


@pytest.mark.both_loops
async def test_what_is_missing_is_loaded_with_one_call_and_stored(flavoured_server: Server) -> None:
    async with Member[int](flavoured_server.url) as one:
        rows = Rows(TENS)
        await one.cache.set(2, 5)
        assert list((await one.cache.get_or_set_many([3, 2, 1], rows.load)).items()) == [
            (3, 30),
            (2, 5),
            (1, 10),
        ]
        assert rows.calls == [[3, 1]]
        assert await one.cache.get_or_set_many([1, 2, 3, 4], rows.load, ttl=20) == {
            1: 10,
            2: 5,
            3: 30,
            4: 40,
        }
        assert rows.calls == [[3, 1], [4]]
        left = await one.cache.ttl(4)
        assert left is not None
        assert left <= 20
        statistics = one.cache.statistics()
        assert (statistics.hits, statistics.misses, statistics.loads) == (4, 3, 3)


async def test_in_memory_it_is_the_same() -> None:
    async with Member[int]("memory://") as one:
        rows = Rows(TENS)
        assert await one.cache.get_or_set_many(range(3), rows.load) == {0: 0, 1: 10, 2: 20}
        assert await one.cache.get_many(range(3)) == {0: 0, 1: 10, 2: 20}
        assert rows.calls == [[0, 1, 2]]


async def test_no_keys_load_nothing(one: Member[int]) -> None:
    rows = Rows(TENS)
    assert await one.cache.get_or_set_many([], rows.load) == {}
    assert rows.calls == []


async def test_thousands_are_one_call(one: Member[int]) -> None:
    rows = Rows({n: n for n in range(2000)})
    assert await one.cache.get_or_set_many(range(2000), rows.load) == rows.rows
    assert rows.calls == [list(range(2000))]


async def test_every_spelling_of_a_key_is_one_load_and_one_entry_of_the_result(
    one: Member[int],
) -> None:
    rows = Rows({1: 10, 2: 20})
    found: dict[Any, int] = await one.cache.get_or_set_many([1, "1", 1, 2], rows.load)
    assert found == {1: 10, "1": 10, 2: 20}
    assert rows.calls == [[1, 2]]

    async def load_text(keys: list[Any]) -> dict[str, int]:
        return {str(key): 5 for key in keys}  # as a driver may spell them

    untyped: Any = load_text
    assert await one.cache.get_or_set_many([3, 4], untyped) == {3: 5, 4: 5}


async def test_eager_tasks_make_one_call_too(one: Member[int]) -> None:
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("Python 3.11 has no eager tasks")
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        rows = Rows(TENS)
        assert await one.cache.get_or_set_many([1, 2], rows.load) == {1: 10, 2: 20}
        assert rows.calls == [[1, 2]]
    finally:
        loop.set_task_factory(None)


# -- shared, key by key ------------------------------------------------------------------------


async def test_crowd_of_overlapping_calls_loads_each_key_once(
    one: Member[int], two: Member[int]
) -> None:
    rows = Rows(TENS, held=True)
    members = [one, two]
    calls = [ask_many(members[n % 2], rows, range(n, n + 10)) for n in range(20)]
    await rows.called()
    await until(lambda: sum(len(keys) for keys in rows.calls) == 29)
    rows.release()
    for n, found in enumerate(await asyncio.gather(*calls)):
        assert found == {k: TENS[k] for k in range(n, n + 10)}
    assert rows.most == 1


async def test_caller_of_one_key_joins_the_call_for_many_and_the_other_way_round(
    one: Member[int],
) -> None:
    rows, source = Rows(TENS, held=True), Source(7, held=True)
    alone = ask(one, source.load, key=5)
    await source.called()
    many = ask_many(one, rows, [4, 5, 6])
    await rows.called()
    joined = ask(one, source.load, key=6)
    await one.joined(5)
    rows.release()
    assert await joined == 60
    source.release()
    assert await many == {4: 40, 5: 7, 6: 60}
    assert await alone == 7
    assert rows.calls == [[4, 6]]
    assert source.calls == 1


async def test_two_calls_with_the_same_keys_in_opposite_order_wait_for_each_other_in_peace(
    one: Member[int], two: Member[int]
) -> None:
    ours, theirs = Rows(TENS, held=True), Rows(TENS, held=True)
    first = ask_many(one, ours, [1, 2, 3])
    await ours.called()
    second = ask_many(two, theirs, [4, 3, 2, 1])
    await theirs.called()
    third = ask_many(one, ours, [5, 4])
    await ours.called(2)
    ours.release()
    theirs.release()
    assert await first == {1: 10, 2: 20, 3: 30}
    assert await second == {4: 40, 3: 30, 2: 20, 1: 10}
    assert await third == {5: 50, 4: 40}
    assert ours.calls == [[1, 2, 3], [5]]
    assert theirs.calls == [[4]]


async def test_own_keys_are_loaded_while_those_of_others_are_waited_for(
    one: Member[int], two: Member[int]
) -> None:
    slow, rows = Source(5, held=True), Rows(TENS)
    elsewhere = ask(two, slow.load, key=1)
    await slow.called()
    many = ask_many(one, rows, [1, 2])
    await one.waiting()
    await until(lambda: one.cache.statistics().flights == 1)
    assert rows.calls == [[2]]
    assert await two.cache.get(2) == 20
    slow.release()
    assert await many == {1: 5, 2: 20}
    assert await elsewhere == 5


async def test_leases_of_a_process_that_is_gone_are_taken_over_with_one_call(url: str) -> None:
    policy = CachePolicy(lease_ttl=0.3)
    rows = Rows(TENS)
    async with Member[int](url) as one:
        async with Member[int](url, policy=policy) as two:
            store = two.cache._store  # pyright: ignore[reportPrivateUsage]
            seen = ABSENT.seen
            await asyncio.gather(  # as one that was killed leaves them
                *[store.claim(two.cache.key(key), b"%08d" % key, seen) for key in range(50)]
            )
        assert await one.cache.get_or_set_many(range(51), rows.load) == {
            n: n * 10 for n in range(51)
        }
    assert rows.calls[0] == [50]
    assert sorted(key for keys in rows.calls[1:] for key in keys) == list(range(50))
    assert len(rows.calls) <= 10


# -- fresh -------------------------------------------------------------------------------------


async def test_delete_revokes_one_key_of_many_and_later_callers_start_over(
    one: Member[int], two: Member[int]
) -> None:
    rows = Rows(TENS, held=True)
    early = ask_many(one, rows, [1, 2])
    await rows.called()
    rows.rows[1] = 11
    assert await two.cache.delete(1)
    late, late_alone = ask_many(one, rows, [1, 2]), ask(one, Source(11).load, key=1)
    await one.joined(5)
    rows.release()
    assert await early == {1: 10, 2: 20}
    assert await late == {1: 11, 2: 20}
    assert await late_alone == 11
    assert await two.cache.get(1) == 11
    assert [event.key for event in one.told(FillRefused)] == ["t:n:1"]


async def test_under_a_write_mark_a_key_is_loaded_and_not_stored(
    one: Member[int], two: Member[int]
) -> None:
    rows = Rows(TENS)
    async with two.cache.writing(1) as write:
        assert await one.cache.get_or_set_many([1, 2], rows.load) == {1: 10, 2: 20}
        assert rows.calls == [[1, 2]]
        write.set(5)
    assert await one.cache.get_many([1, 2]) == {1: 5, 2: 20}


async def test_newer_version_of_a_key_is_loaded_past(url: str) -> None:
    async with Member[int](url) as one, Member[int](url, version=1) as two:
        await two.cache.set(1, 5)
        assert await one.cache.get_or_set_many([1, 2], Rows(TENS).load) == {1: 10, 2: 20}
        assert await two.cache.get(1) == 5


async def test_cancelled_caller_leaves_the_load_to_the_others(one: Member[int]) -> None:
    rows = Rows(TENS, held=True)
    first = ask_many(one, rows, [1, 2])
    await rows.called()
    second = ask_many(one, rows, [2, 3])
    await rows.called(2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    rows.release()
    assert await second == {2: 20, 3: 30}
    await until(lambda: not one.cache.statistics().flights)
    assert await one.cache.get(1) == 10
    assert rows.calls == [[1, 2], [3]]


async def test_tags_of_a_call_are_those_of_all_that_it_loads(
    one: Member[int], two: Member[int]
) -> None:
    rows = Rows(TENS)
    await one.cache.set(3, 30, tags=["b"])
    assert await one.cache.get_or_set_many([1, 2, 3], rows.load, tags=["a"]) == {
        1: 10,
        2: 20,
        3: 30,
    }
    assert await two.cache.delete_tags("b") is True
    assert await one.cache.get_many([3, 2, 1]) == {2: 20, 1: 10}
    assert list(await one.cache.get_many([2, 1])) == [2, 1]
    assert await two.cache.delete_tags("a") is True
    assert await one.cache.get_many([1, 2]) == {}
    assert await one.cache.get_or_set_many([1, 2], rows.load) == {1: 10, 2: 20}
    assert await two.cache.clear() is True
    assert await one.cache.get_many([1, 2]) == {}
    with pytest.raises(ConfigError, match="tags are a list"):
        await one.cache.get_or_set_many([1], rows.load, tags="a")


@pytest.mark.parametrize("how", ["tag", "all"])
async def test_what_is_invalidated_during_the_load_of_many_is_not_served_later(
    one: Member[int], two: Member[int], how: str
) -> None:
    rows = Rows(TENS, held=True)
    early = asyncio.create_task(one.cache.get_or_set_many([1, 2], rows.load, tags=["a"]))
    await rows.called()
    rows.rows[1] = 11
    assert await (two.cache.delete_tags("a") if how == "tag" else two.cache.clear()) is True
    late = ask_many(one, rows, [1, 2])
    await one.joined(4)
    rows.release()
    assert await early == {1: 10, 2: 20}
    assert await late == {1: 11, 2: 20}
    assert await two.cache.get_many([1, 2]) == {1: 11, 2: 20}


# -- no value ----------------------------------------------------------------------------------


async def test_key_that_the_loader_leaves_out_has_no_value_and_is_asked_for_again(
    one: Member[int],
) -> None:
    rows = Rows({1: 10})
    assert await one.cache.get_or_set_many([1, 2], rows.load) == {1: 10}
    assert await one.client.call("EXISTS", one.cache.key(2)) == 0
    rows.rows[2] = 20
    assert await one.cache.get_or_set_many([1, 2], rows.load) == {1: 10, 2: 20}
    assert rows.calls == [[1, 2], [2]]
    assert one.cache.statistics().load_failures == 0


async def test_who_waits_for_a_key_that_has_no_value_loads_for_himself(
    url: str, two: Member[int]
) -> None:
    policy = CachePolicy(lease_ttl=60)  # given up, and not waited for
    async with Member[int](url, policy=policy) as one:
        rows = Rows({1: 10}, held=True)
        many = ask_many(one, rows, [1, 2])
        await rows.called()
        here, there = ask(one, Source(5).load, key=2), ask(two, Source(5).load, key=2)
        await two.waiting()
        await one.joined(3)
        rows.release()
        assert await many == {1: 10}
        async with asyncio.timeout(10):
            assert await asyncio.gather(here, there) == [5, 5]


async def test_crowd_that_asks_for_what_is_not_there_is_told_so_together(one: Member[int]) -> None:
    rows = Rows[int]({}, held=True)
    first = ask_many(one, rows, [1])
    await rows.called()
    late = [ask_many(one, rows, [1]) for _ in range(50)]
    await one.joined(51)
    rows.release()
    assert await first == {}
    assert await asyncio.gather(*late) == [{}] * 50
    # Those who came during the first load share the second; but what that did not find may be there
    # for those who are told when it has been called already, so they share a third.
    assert 2 <= len(rows.calls) <= 4


async def test_none_is_a_value_and_is_remembered(url: str) -> None:
    async with Member[int | None](url, type=int | None) as one:
        rows = Rows[int | None]({1: None})
        for _ in range(2):
            assert await one.cache.get_or_set_many([1], rows.load) == {1: None}
        assert rows.calls == [[1]]


# -- failures ----------------------------------------------------------------------------------


async def test_exception_as_a_value_fails_that_key_alone(
    one: Member[int], two: Member[int]
) -> None:
    problem = LookupError("no such row")
    rows = Rows[int]({1: 10, 2: problem}, held=True)
    many = ask_many(one, rows, [1, 2])
    await rows.called()
    here, there = ask(one, Source(5).load, key=2), ask(two, Source(5).load, key=2)
    await two.waiting()
    await one.joined(3)
    rows.release()
    with pytest.raises(
        LoadManyFailed, match="1 of 2 keys failed, first 2 with LookupError"
    ) as told:
        await many
    assert told.value.values == {1: 10}
    assert told.value.errors == {2: problem}
    assert told.value.__cause__ is problem
    with pytest.raises(LookupError):
        await here
    with pytest.raises(RemoteLoadError, match="LookupError"):
        await there
    assert await two.cache.get(1) == 10
    assert [event.key for event in one.told(LoadFailed)] == ["t:n:2"]


async def test_what_the_loader_raises_reaches_every_caller_unwrapped_after_one_call(
    one: Member[int],
) -> None:
    rows = Rows(TENS, held=True)
    problem = LookupError("no database")

    async def fail(keys: list[int]) -> dict[int, int]:
        await rows.load(keys)
        raise problem

    await one.cache.set(3, 3)
    calls = [asyncio.create_task(one.cache.get_or_set_many([1, 2, 3], fail)) for _ in range(20)]
    alone = ask(one, Source(5).load, key=1)
    await rows.called()
    await one.joined(41)
    rows.release()
    first, *joined = await asyncio.gather(*calls, return_exceptions=True)
    assert first is problem
    for each in joined:  # whose own loader did not raise anything
        assert isinstance(each, LoadManyFailed)
        assert each.values == {3: 3}
        assert each.errors == {1: problem, 2: problem}
    with pytest.raises(LookupError):
        await alone
    assert len(rows.calls) == 1


async def test_failure_of_many_keys_has_one_traceback_and_not_those_of_all(
    one: Member[int],
) -> None:
    async def fail(keys: list[int]) -> dict[int, int]:
        raise LookupError(len(keys))

    with pytest.raises(LookupError) as caught:
        await one.cache.get_or_set_many(range(200), fail)
    assert len(caught.traceback) < 30


async def test_stored_error_fails_its_key_alone(url: str) -> None:
    async with Member[int](url, policy=CachePolicy(error_ttl=60)) as one:
        rows = Rows[int]({1: LookupError(), 2: 20})
        with pytest.raises(LoadManyFailed):
            await one.cache.get_or_set_many([1, 2], rows.load)
        rows.rows[1] = 10
        with pytest.raises(LoadManyFailed) as told:
            await one.cache.get_or_set_many([1, 2, 3], rows.load)
        assert told.value.values == {2: 20}
        assert isinstance(told.value.errors[1], RemoteLoadError)
        assert rows.calls == [[1, 2], [3]]


async def test_value_of_another_type_fails_its_key_alone(one: Member[int]) -> None:
    async def load(keys: list[int]) -> dict[int, Any]:
        return {1: 10, 2: "twenty"}

    with pytest.raises(LoadManyFailed) as told:
        await one.cache.get_or_set_many([1, 2], load)
    assert told.value.values == {1: 10}
    assert isinstance(told.value.errors[2], CodecError)


async def test_key_that_nobody_asked_for_is_an_error_that_loses_nothing(one: Member[int]) -> None:
    async def load(keys: list[int]) -> dict[Any, int]:
        return {1: 10, 7: 70, "e@x": 5, 1.5: 5}

    with pytest.raises(LoadManyFailed) as told:
        await one.cache.get_or_set_many([1], load)
    assert told.value.values == {1: 10}
    assert set(told.value.errors) == {7, "e@x", 1.5}
    assert "was not asked for (7, 'e@x', 1.5)" in str(told.value.errors[7])
    assert await one.cache.get_many([1, 7]) == {1: 10}


@pytest.mark.parametrize("answer", [[1], None, 5, "1"], ids=repr)
async def test_loader_that_returns_no_mapping_is_an_error_that_says_what_to_return(
    one: Member[int], answer: Any
) -> None:
    async def load(keys: list[int]) -> Any:
        return answer

    with pytest.raises(ConfigError, match=r"return a mapping from key to value"):
        await one.cache.get_or_set_many([1, 2], load)
    with pytest.raises(ConfigError, match=r"return a mapping from key to value"):
        await one.cache.get_or_set_many([1, 2], load, mode="bypass")


async def test_loader_that_is_not_async_is_an_error_that_says_so(one: Member[int]) -> None:
    def load(keys: list[int]) -> Any:
        return {}

    with pytest.raises(ConfigError, match="async def"):
        await one.cache.get_or_set_many([1], load)


async def test_mapping_that_raises_fails_the_load(one: Member[int]) -> None:
    class Broken(dict[int, int]):
        def items(self) -> Any:
            raise LookupError

    async def load(keys: list[int]) -> dict[int, int]:
        return Broken()

    with pytest.raises(LookupError):
        await one.cache.get_or_set_many([1], load)


@pytest.mark.parametrize("given", [asyncio.CancelledError(), KeyboardInterrupt(), StopIteration()])
async def test_exceptions_that_would_end_tasks_fail_their_key_and_nothing_else(
    one: Member[int], given: BaseException
) -> None:
    async def load(keys: list[int]) -> dict[int, Any]:
        return {1: 10, 2: given}

    with pytest.raises(LoadManyFailed) as told:
        await one.cache.get_or_set_many([1, 2], load)
    assert told.value.values == {1: 10}
    assert isinstance(told.value.errors[2], MillpondError | RuntimeError)


async def test_loader_that_cancels_itself_is_a_failure_and_no_cancellation(
    one: Member[int],
) -> None:
    async def load(keys: list[int]) -> dict[int, int]:
        raise asyncio.CancelledError

    with pytest.raises(LoadManyFailed) as told:
        await one.cache.get_or_set_many([1, 2], load)
    assert "was cancelled" in str(told.value.errors[1])


@pytest.mark.parametrize("stubborn", [False, True])
async def test_loader_that_runs_too_long_is_cancelled_and_answered_for(
    url: str, *, stubborn: bool
) -> None:
    ended, end = asyncio.Event(), asyncio.Event()

    async def load(keys: list[int]) -> dict[int, int]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            if not stubborn:
                raise
        await end.wait()
        return dict.fromkeys(keys, 5)

    async with Member[int](url, policy=CachePolicy(load_timeout=0.05)) as one:
        with pytest.raises(LoadTimeout):
            await one.cache.get_or_set_many([1, 2], load)
        await ended.wait()
        end.set()
        await until(lambda: not one.cache.statistics().flights)
        assert await one.cache.get_many([1, 2]) == {}


async def test_closing_the_client_answers_every_caller(url: str) -> None:
    async with Member[int](url) as one:
        rows = Rows(TENS, held=True)
        many = ask_many(one, rows, [1, 2])
        await rows.called()
    with pytest.raises(ClosedError):
        await many


async def test_failure_that_nobody_waits_for_is_consumed(one: Member[int]) -> None:
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: unheard.append(what))
    rows = Rows[int]({1: LookupError(), 2: LookupError()}, held=True)
    many = ask_many(one, rows, [1, 2])
    await rows.called()
    many.cancel()
    with pytest.raises(asyncio.CancelledError):
        await many
    rows.release()
    await until(lambda: not one.cache.statistics().flights)
    del many
    gc.collect()
    assert unheard == []


# -- without Redis, past the cache -------------------------------------------------------------


async def test_without_redis_it_loads_with_one_call_or_raises_as_the_policy_wants() -> None:
    async with Member[int](NOWHERE) as one:
        rows = Rows(TENS)
        assert await one.cache.get_or_set_many(range(3), rows.load) == {0: 0, 1: 10, 2: 20}
        assert rows.calls == [[0, 1, 2]]
    async with Member[int](NOWHERE, policy=CachePolicy(on_unavailable="raise")) as one:
        with pytest.raises(BackendUnavailable):
            await one.cache.get_or_set_many([1], Rows(TENS).load)


@pytest.mark.parametrize("mode", ["bypass", "disable"])
async def test_past_the_cache_the_loader_is_asked_for_everything(
    one: Member[int], mode: Any
) -> None:
    rows = Rows[int]({1: 10, 2: LookupError()})
    await one.cache.set(1, 5)
    with pytest.raises(LoadManyFailed) as told:
        await one.cache.get_or_set_many([1, 2, 3], rows.load, mode=mode)
    assert told.value.values == {1: 10}
    with cache_mode(mode):
        assert await one.cache.get_or_set_many([1, "1", 3], rows.load) == {1: 10, "1": 10}
        assert await one.cache.get_or_set_many([], rows.load) == {}
    assert rows.calls == [[1, 2, 3], [1, 3]]
    assert await one.cache.get_many([1, 2, 3]) == {1: 5}


# -- refresh -----------------------------------------------------------------------------------


async def test_refresh_many_loads_over_what_is_there(one: Member[int]) -> None:
    rows = Rows({1: 10, 2: 20})
    await one.cache.set_many({1: 1, 3: 3})
    assert await one.cache.refresh_many([1, 2, 3], rows.load, ttl=20) == {1: 10, 2: 20}
    assert rows.calls == [[1, 2, 3]]
    assert await one.cache.get_many([1, 2, 3]) == {1: 10, 2: 20}
    with cache_mode("refresh"):
        rows.rows[1] = 11
        assert await one.cache.get_or_set_many([1], rows.load) == {1: 11}


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_refresh_many_takes_no_load_that_began_before(
    one: Member[int], two: Member[int], *, elsewhere: bool
) -> None:
    rows = Rows(TENS, held=True)
    early = ask_many(two if elsewhere else one, rows, [1, 2])
    await rows.called()
    rows.rows[1] = 11
    late = asyncio.create_task(one.cache.refresh_many([1, 3], rows.load))
    await rows.called(2)
    rows.release()
    assert await late == {1: 11, 3: 30}
    assert await early == {1: 10, 2: 20}
    assert await one.cache.get(1) == 11
    assert rows.calls == [[1, 2], [3], [1]]


# -- warm --------------------------------------------------------------------------------------


async def test_warm_loads_what_is_missing_in_batches_and_says_what_it_did(
    one: Member[int],
) -> None:
    rows = Rows[int]({**TENS, 5: LookupError()})
    await one.cache.set_many({0: 1, 1: 1})
    done = await one.cache.warm(iter(range(103)), rows.load, batch=10, ttl=20)
    assert (done.present, done.loaded, done.stored, done.absent, done.failed) == (2, 97, 97, 3, 1)
    assert list(done.errors) == [5]
    assert [len(keys) for keys in rows.calls] == [8, *[10] * 9, 3]
    assert await one.cache.get_many([0, 1, 2]) == {0: 1, 1: 1, 2: 20}
    again = await one.cache.warm(range(100), rows.load)
    assert (again.present, again.loaded, again.failed) == (99, 0, 1)


async def test_processes_that_warm_the_same_keys_load_each_once(
    one: Member[int], two: Member[int]
) -> None:
    rows = Rows(TENS)
    done = await asyncio.gather(
        one.cache.warm(range(100), rows.load, batch=20),
        two.cache.warm(range(99, -1, -1), rows.load, batch=20),
    )
    assert sum(each.loaded for each in done) == sum(each.stored for each in done) == 100
    assert sum(each.present for each in done) == 100
    assert rows.most == 1


async def test_warm_counts_what_was_deleted_meanwhile_as_loaded_and_not_stored(
    one: Member[int], two: Member[int]
) -> None:
    rows = Rows(TENS, held=True)
    warming = asyncio.create_task(one.cache.warm([1, 2], rows.load))
    await rows.called()
    assert await two.cache.delete(1)
    rows.release()
    done = await warming
    assert (done.loaded, done.stored) == (2, 1)
    assert await one.cache.get(1) is MISSING


async def test_warm_ends_with_a_loader_that_raises(one: Member[int]) -> None:
    calls = 0

    async def load(keys: list[int]) -> dict[int, int]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise LookupError
        return dict.fromkeys(keys, 1)

    with pytest.raises(LookupError):
        await one.cache.warm(range(100), load, batch=10)
    assert calls == 2
    assert len(await one.cache.get_many(range(100))) == 10


async def test_warm_does_nothing_past_the_cache(one: Member[int]) -> None:
    rows = Rows(TENS)
    with cache_mode("disable"):
        done = await one.cache.warm([1], rows.load)
    assert done.loaded == 0
    assert rows.calls == []


@pytest.mark.parametrize("batch", [0, -1, True, 1.5, "10", None], ids=repr)
async def test_batch_that_is_none_is_refused(one: Member[int], batch: Any) -> None:
    with pytest.raises(ConfigError, match="batch must be a number of keys"):
        await one.cache.warm([1], Rows(TENS).load, batch=batch)


async def test_one_key_instead_of_a_list_is_refused_by_all_with_the_fix(one: Member[int]) -> None:
    rows = Rows(TENS)
    untyped: Any = one.cache
    for call in (untyped.get_or_set_many, untyped.refresh_many, untyped.warm):
        with pytest.raises(ConfigError, match=r"takes several keys.*put it into a list"):
            await call("42", rows.load)
        with pytest.raises(ConfigError, match="takes a list of keys"):
            await call(42, rows.load)
        with pytest.raises(ConfigError, match="a key part must not be"):
            await call([1.5], rows.load)
    with pytest.raises(ConfigError, match="ttl must be"):
        await one.cache.get_or_set_many([1], rows.load, ttl=0)
    assert rows.calls == []
