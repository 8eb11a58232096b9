"""What loaders say besides a value: how long it lives, or that the old one still holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from millpond import (
    MISSING,
    NOT_MODIFIED,
    CachePolicy,
    ConfigError,
    Loaded,
    LoadManyFailed,
    NotModified,
    RefreshFailed,
)
from millpond.events import FillRefused
from tests.support.fleet import Member, Source, ask, at_rest, until
from tests.support.proxy import Proxy
from tests.support.rows import Rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

KEY = "t:n:1"


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    policy = CachePolicy(stale_while_revalidate=60, jitter=5)
    async with Member[int](url, policy=policy) as member:
        yield member


# -- Loaded --------------------------------------------------------------------------------------


async def test_loader_decides_how_long_its_value_lives(server: Server) -> None:
    async with Member[int | None](server.url, type=int | None) as one:

        async def load() -> Loaded[int | None]:
            return Loaded(5, ttl=20)

        assert await one.cache.get_or_set(1, load, ttl=40) == 5
        assert await one.cache.get(1) == 5
        assert 15_000 < int(server.execute("PTTL", KEY)) <= 20_000

        async def nothing() -> Loaded[int | None]:
            return Loaded(None, ttl=10)

        assert await one.cache.refresh(1, nothing) is None
        assert 5_000 < int(server.execute("PTTL", KEY)) <= 10_000

        async def silent() -> Loaded[int | None]:
            return Loaded(6)

        assert await one.cache.refresh(1, silent, ttl=40) == 6
        assert 35_000 < int(server.execute("PTTL", KEY)) <= 40_000


async def test_what_is_loaded_past_the_cache_is_unwrapped_too(one: Member[int]) -> None:
    async def load() -> Loaded[int]:
        return Loaded(5, ttl=20)

    assert await one.cache.get_or_set(1, load, mode="bypass") == 5
    async with one.cache.writing(1):
        assert await one.cache.get_or_set(1, load) == 5
    async with Member[int]("redis://127.0.0.1:1/0") as alone:
        assert await alone.cache.get_or_set(1, load) == 5


async def test_cached_function_may_say_it(one: Member[int]) -> None:
    @one.cache.cached("{key}")
    async def count(key: int) -> int | Loaded[int]:
        return Loaded(key, ttl=20)

    assert await count(1) == await count(1) == await count.bypass(1) == 1
    left = await one.cache.ttl(1)
    assert left is not None
    assert left <= 20 + 60


@pytest.mark.parametrize(
    ("loaded", "said"),
    [
        (Loaded(1, ttl=0), "Loaded.ttl must be above 0"),
        (Loaded(1, ttl=float("nan")), "Loaded.ttl must be"),
        (Loaded(1, ttl=5), "jitter=5 s is not below the TTL of 5 s"),
        (Loaded(1, tags="ab"), "tags are a list or tuple of keys, not a str"),
        (Loaded(1, tags=cast("Any", (1.5,))), "float"),
        (Loaded(1, tags=range(51)), "51 tags are more than the 50"),
        (NOT_MODIFIED, "only what is passed as revalidate= may return it"),
    ],
)
async def test_what_it_cannot_say_is_an_error_of_the_call_and_nothing_is_stored(
    one: Member[int], loaded: Any, said: str
) -> None:
    async def load() -> Any:
        return loaded

    with pytest.raises(ConfigError, match=said):
        await one.cache.get_or_set(1, load)
    assert await one.cache.get(1) is MISSING
    if loaded is NOT_MODIFIED:
        with pytest.raises(ConfigError, match=said):
            await one.cache.get_or_set(1, load, mode="bypass")


# -- tags that only the loader knows -------------------------------------------------------------


async def test_value_goes_with_the_tags_that_its_loader_named(one: Member[int]) -> None:
    async def load() -> Loaded[int]:
        return Loaded(5, tags=["author", ("book", 7)])

    for tag in ("author", ("book", 7), "call"):
        assert await one.cache.get_or_set(1, load, tags=["call"]) == 5
        assert await one.cache.get(1) == 5
        assert await one.cache.delete_tags("other")
        assert await one.cache.get(1) == 5
        assert await one.cache.delete_tags(tag)
        assert await one.cache.get(1) is MISSING
    assert one.cache.statistics().refused_fills == 0


async def test_value_whose_tag_may_have_been_deleted_during_its_load_is_not_stored(
    one: Member[int],
) -> None:
    async def load() -> Loaded[int]:
        await one.cache.delete_tags("author")
        return Loaded(5, tags=["author"])

    assert await one.cache.get_or_set(1, load) == 5
    assert await one.cache.get(1) is MISSING
    assert [event.reason for event in one.told(FillRefused)] == ["invalidated"]
    assert await one.cache.get_or_set(1, Source(6).load) == 6  # at once: no lease was left
    assert await one.cache.get(1) == 6


async def test_tag_that_is_deleted_while_its_version_is_learned_is_seen_to_have_gone(
    one: Member[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the commands that read epoch and version others' may run: here they do."""
    versions, run, done = one.cache._versions, one.client.run, False  # pyright: ignore[reportPrivateUsage]
    await one.cache.set(2, 2, tags=["author"])
    await one.cache.delete_tags("author")  # the server knows both scripts

    def then_delete(*args: Any, **more: Any) -> Any:
        nonlocal done
        answer = run(*args, **more)
        if not done:
            done = True
            one.client.invalidate(versions.delete(["author"]))
        return answer

    async def load() -> Loaded[int]:
        monkeypatch.setattr(one.client, "run", then_delete)
        return Loaded(5, tags=["author"])

    assert await one.cache.get_or_set(1, load) == 5
    assert done
    assert await one.cache.get(1) is MISSING


async def test_tag_is_changed_only_once_the_change_of_the_epoch_was_acknowledged(
    server: Server,
) -> None:
    async with (
        Proxy(server.port) as proxy,
        Member[int](proxy.url) as one,
        Member[int](server.tcp_url) as two,
    ):
        await two.cache.set(2, 2, tags=["author"])
        await one.cache.delete_tags("another")  # the server knows the script
        source = Source(1, held=True)

        async def load() -> Loaded[int]:
            return Loaded(await source.load(), tags=["author"])

        early = asyncio.create_task(two.cache.get_or_set(1, load))
        await source.called()
        versions = ("MGET", "t:n:{}era", "t:n:{}tag:author")
        era, tag = server.execute(*versions)
        (connection,) = proxy.connections
        connection.to_client.hold()
        deleting = asyncio.create_task(one.cache.delete_tags("author"))
        await until(lambda: server.execute(*versions) != [era, tag])
        after, as_before = server.execute(*versions)
        assert [after[:6], as_before] == [era[:6], tag]
        connection.to_client.release()
        assert await deleting is True
        source.release()
        assert await early == 1
        assert await two.cache.get(1) is MISSING


async def test_who_joined_a_load_whose_tag_was_deleted_starts_over(one: Member[int]) -> None:
    source = Source(1, held=True)

    async def load() -> Loaded[int]:
        return Loaded(await source.load(), tags=["author"])

    early = asyncio.create_task(one.cache.get_or_set(1, load))
    await source.called()
    source.value = 2
    assert await one.cache.delete_tags("author")
    late = asyncio.create_task(one.cache.get_or_set(1, load))
    await one.joined(2)
    source.release()
    assert [await early, await late] == [1, 2]
    assert await one.cache.get(1) == 2


async def test_loader_of_many_says_it_key_by_key(server: Server) -> None:
    async with Member[int](server.url) as one, Member[int](server.url) as two:
        rows = Rows[Any](
            {1: Loaded(10, ttl=20, tags=["a"]), 2: 20, 3: Loaded(30), 4: Loaded(40, tags=["b"])}
        )
        found = await one.cache.get_or_set_many(range(1, 5), rows.load, tags=["all"])
        assert found == {1: 10, 2: 20, 3: 30, 4: 40}
        assert 15_000 < int(server.execute("PTTL", "t:n:1")) <= 20_000
        assert int(server.execute("PTTL", "t:n:4")) > 20_000
        assert await two.cache.get_many(range(1, 5)) == found
        assert await two.cache.delete_tags("a")
        assert await one.cache.get_many(range(1, 5)) == {2: 20, 3: 30, 4: 40}
        assert await one.cache.delete_tags("all")
        assert await two.cache.get_many(range(1, 5)) == {}


async def test_what_a_loader_of_many_cannot_say_fails_its_key_alone(one: Member[int]) -> None:
    no_tag: Any = 1.5
    rows = Rows[Any]({1: Loaded(10, ttl=5), 2: 20, 3: Loaded(30, tags=[no_tag])})
    with pytest.raises(LoadManyFailed) as told:
        await one.cache.get_or_set_many([1, 2, 3], rows.load)
    assert told.value.values == {2: 20}
    assert {key: type(error) for key, error in told.value.errors.items()} == {
        1: ConfigError,  # the jitter would use it up
        3: ConfigError,
    }
    assert await one.cache.get_many([1, 2, 3]) == {2: 20}


async def test_expired_tag_makes_values_stale_that_can_be(one: Member[int], url: str) -> None:
    async with Member[int](url) as plain:
        source = Source(1)

        async def load() -> Loaded[int]:
            return Loaded(await source.load(), tags=["author"])

        for cache in (one.cache, plain.cache):
            await cache.get_or_set((cache is one.cache and 1) or 2, load)
        source.value = 2
        source.hold()
        assert await one.cache.expire_tags("author")
        assert await plain.cache.get(2) is MISSING
        assert [await one.cache.get_or_set(1, load) for _ in range(5)] == [1] * 5
        await source.called(3)
        source.release()
        await at_rest(one)
        assert await one.cache.get(1) == 2
        assert source.calls == 3


async def test_stale_value_of_a_deleted_tag_or_a_cleared_namespace_is_never_served(
    one: Member[int],
) -> None:
    async def load() -> Loaded[int]:
        return Loaded(await source.load(), tags=["author"])

    for end in ("tags", "clear"):
        source = Source(1)
        await one.cache.get_or_set(1, load)
        await one.cache.expire(1)
        source.value = 2
        source.hold()
        assert await one.cache.get_or_set(1, load) == 1
        await source.called(2)
        assert await (one.cache.delete_tags("author") if end == "tags" else one.cache.clear())
        assert await one.cache.get(1) is MISSING
        source.value = 3
        late = asyncio.create_task(one.cache.get_or_set(1, load))
        await asyncio.sleep(0)
        source.release()
        assert await late == 3
        await at_rest(one)
        assert await one.cache.get(1) == 3
        await one.cache.delete(1)


# -- revalidate ----------------------------------------------------------------------------------


class Asked:
    """A source that is shown what one has."""

    def __init__(self, answer: int | Loaded[int] | NotModified) -> None:
        self.answer = answer
        self.shown: list[int] = []

    async def __call__(self, old: int) -> int | Loaded[int] | NotModified:
        self.shown.append(old)
        return self.answer


async def test_revalidate_is_shown_the_stale_value_and_may_bring_another(one: Member[int]) -> None:
    source, asked = Source(1), Asked(2)
    assert await one.cache.get_or_set(1, source.load, revalidate=asked) == 1
    await one.cache.expire(1)
    assert await one.cache.get_or_set(1, source.load, revalidate=asked) == 1
    await at_rest(one)
    assert await one.cache.get(1) == 2
    assert (source.calls, asked.shown) == (1, [1])


async def test_value_that_is_not_modified_is_fresh_for_another_ttl(one: Member[int]) -> None:
    source, asked = Source(1), Asked(NOT_MODIFIED)
    await ask(one, source.load)
    await one.cache.expire(1)
    assert await one.cache.get_or_set(1, source.load, revalidate=asked) == 1
    await at_rest(one)
    entry = await one.cache.get_entry(1)
    assert entry is not None
    assert (entry.value, entry.stale) == (1, False)
    assert entry.fresh_for > 50
    assert (source.calls, asked.shown) == (1, [1])


async def test_value_that_is_not_modified_keeps_its_tags(one: Member[int]) -> None:
    async def load() -> Loaded[int]:
        return Loaded(1, tags=["author"])

    asked = Asked(NOT_MODIFIED)
    await one.cache.get_or_set(1, load)
    await one.cache.expire(1)
    assert await one.cache.get_or_set(1, load, revalidate=asked) == 1
    await at_rest(one)
    entry = await one.cache.get_entry(1)
    assert entry is not None
    assert not entry.stale
    assert await one.cache.delete_tags("author")
    assert await one.cache.get(1) is MISSING


async def test_other_value_than_the_one_shown_has_the_tags_that_are_named_with_it(
    one: Member[int],
) -> None:
    async def load() -> Loaded[int]:
        return Loaded(1, tags=["author"])

    await one.cache.get_or_set(1, load)
    await one.cache.expire(1)
    await one.cache.get_or_set(1, load, revalidate=Asked(2))
    await at_rest(one)
    assert await one.cache.delete_tags("author")
    assert await one.cache.get(1) == 2


async def test_none_is_shown_and_kept_too(url: str) -> None:
    policy = CachePolicy(stale_if_error=60)
    async with Member[int | None](url, type=int | None, policy=policy) as one:
        await one.cache.set(1, None)
        await one.cache.expire(1)
        shown: list[int | None] = []

        async def revalidate(old: int | None) -> NotModified:
            shown.append(old)
            return NOT_MODIFIED

        entry = await one.cache.get_or_set_entry(1, Source(5).load, revalidate=revalidate)
        assert (entry.value, entry.stale, entry.source) == (None, False, "loader")
        assert shown == [None]


async def test_overdue_value_is_revalidated_while_callers_wait(url: str) -> None:
    async with Member[int](url, policy=CachePolicy(stale_if_error=60)) as one:
        source, asked = Source(1), Asked(Loaded(2, ttl=20))
        await ask(one, source.load)
        await one.cache.expire(1)
        assert await one.cache.get_or_set(1, source.load, revalidate=asked) == 2
        left = await one.cache.ttl(1)
        assert left is not None
        assert left <= 80
        assert asked.shown == [1]


async def test_where_there_is_no_value_the_loader_is_called(one: Member[int]) -> None:
    source, asked = Source(1), Asked(NOT_MODIFIED)
    assert await one.cache.get_or_set(1, source.load, revalidate=asked) == 1
    await one.cache.delete(1)
    assert await one.cache.get_or_set(1, source.load, revalidate=asked) == 1
    assert (source.calls, asked.shown) == (2, [])


async def test_delete_while_it_is_revalidated_is_stronger(one: Member[int]) -> None:
    source = Source(1)
    await ask(one, source.load)
    await one.cache.expire(1)

    async def revalidate(old: int) -> NotModified:
        await one.cache.delete(1)
        return NOT_MODIFIED

    assert await one.cache.get_or_set(1, source.load, revalidate=revalidate) == 1
    await at_rest(one)
    assert await one.cache.get(1) is MISSING


async def test_failure_to_revalidate_is_that_of_a_load(one: Member[int]) -> None:
    source = Source(1)
    await ask(one, source.load)
    await one.cache.expire(1)

    async def revalidate(old: int) -> int:
        raise LookupError

    assert await one.cache.get_or_set(1, source.load, revalidate=revalidate) == 1
    await until(lambda: one.told(RefreshFailed))
    assert [event.type_name for event in one.told(RefreshFailed)] == ["LookupError"]


async def test_entry_that_was_served_because_the_load_failed_is_redis_and_stale(url: str) -> None:
    async with Member[int](url, policy=CachePolicy(stale_if_error=60)) as one:
        await ask(one, Source(1).load)
        await one.cache.expire(1)

        async def fail() -> int:
            raise LookupError

        entry = await one.cache.get_or_set_entry(1, fail)
        assert (entry.value, entry.stale, entry.source) == (1, True, "redis")
