"""Loaders that raise, run too long or will not end: whom it concerns, and for how long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import CachePolicy, ClosedError, LoadTimeout, MillpondError, RemoteLoadError
from millpond.core.watch import Watches
from millpond.events import LoadFailed, LoadUnleased
from tests.support.fleet import Member, Source, ask, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable


@pytest.fixture
async def one(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


@pytest.fixture
async def other(url: str) -> AsyncIterator[Member[int]]:
    async with Member[int](url) as member:
        yield member


class Gone(Exception):
    pass


class Failing(Source[int]):
    async def load(self) -> int:
        await super().load()
        raise Gone(f"call {self.calls}")


async def test_failing_load_fails_all_who_share_it_at_once_and_the_next_caller_loads(
    one: Member[int], other: Member[int]
) -> None:
    source = Failing(0, held=True)
    here = [ask(one, source.load) for _ in range(20)]
    await source.called()
    there = [ask(other, source.load) for _ in range(20)]
    await other.waiting()
    source.release()
    for caller in here:
        with pytest.raises(Gone, match="call 1"):
            await caller
    for caller in there:
        with pytest.raises(RemoteLoadError) as caught:
            await caller
        assert (caught.value.key, caught.value.type_name) == ("t:n:1", "Gone")
    assert source.calls == 1
    (told,) = one.told(LoadFailed)
    assert (told.key, told.type_name) == ("t:n:1", "Gone")
    assert await one.cache.get(1, None) is None
    for member in (one, other):
        with pytest.raises(Gone):
            await ask(member, source.load)
    assert source.calls == 3
    assert await ask(other, Source(5).load) == 5


async def test_caller_who_comes_together_with_the_news_of_a_failure_is_answered(
    one: Member[int], other: Member[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its GET leaves with the waiter's, and is answered with it: the flight is just ending."""
    source = Failing(0, held=True)
    leader = ask(one, source.load)
    await source.called()
    waiter = ask(other, source.load)
    await other.waiting()
    late: list[asyncio.Task[int]] = []
    original = Watches.wake

    def wake(self: Watches, keys: Iterable[bytes]) -> None:
        original(self, keys)
        if self is other.client.watches and not late:
            late.append(ask(other, Source(5).load))

    monkeypatch.setattr(Watches, "wake", wake)
    source.release()
    with pytest.raises(Gone):
        await leader
    with pytest.raises(RemoteLoadError):
        await waiter
    async with asyncio.timeout(2):
        assert await late[0] == 5


async def test_error_ttl_remembers_the_failure_for_everyone_and_then_forgets(url: str) -> None:
    policy = CachePolicy(error_ttl=30)
    async with Member[int](url, policy=policy) as one, Member[int](url) as other:
        source = Failing(0)
        with pytest.raises(Gone):
            await ask(one, source.load)
        for member in (one, other):
            with pytest.raises(RemoteLoadError, match="Gone"):
                await ask(member, source.load)
            assert await member.cache.get(1, None) is None
        assert source.calls == 1
        assert 29_000 < await one.client.call("PTTL", "t:n:1") <= 30_000
        assert await other.cache.delete(1)
        assert await ask(one, Source(5).load) == 5


async def test_error_is_never_stored_over_what_a_delete_or_set_has_put_there(
    one: Member[int], other: Member[int]
) -> None:
    source = Failing(0, held=True)
    early = ask(one, source.load)
    await source.called()
    assert await other.cache.set(1, 7)
    source.release()
    with pytest.raises(Gone):
        await early
    await until(lambda: not one.client.statistics().in_flight)
    assert await other.cache.get(1) == 7


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (TimeoutError("the database's own"), TimeoutError),
        (asyncio.CancelledError(), MillpondError),
        (ClosedError("another client"), ClosedError),
        (RemoteLoadError("another:key", "Gone"), RemoteLoadError),
        (ExceptionGroup("both", [Gone()]), ExceptionGroup),
        (StopIteration(), RuntimeError),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else "",
)
async def test_whatever_the_loader_raises_reaches_the_callers_as_a_failure(
    one: Member[int], raised: BaseException, expected: type[Exception]
) -> None:
    source = Source(1, held=True)

    async def load() -> int:
        await source.load()
        raise raised

    callers = [ask(one, load) for _ in range(2)]
    await source.called()
    source.release()
    for caller in callers:
        with pytest.raises(expected) as caught:
            await caller
        assert not isinstance(caught.value, LoadTimeout)
        assert not caller.cancelled()
    assert one.cache.statistics().load_failures == 1
    assert await ask(one, Source(5).load) == 5


async def test_loader_that_is_no_coroutine_function_fails_its_callers(one: Member[int]) -> None:
    loader: Any = lambda: 5  # noqa: E731
    with pytest.raises(TypeError):
        await one.cache.get_or_set(1, loader)


class Odd(BaseException):
    """Such as pytest.fail raises: no Exception."""


async def test_loader_that_raises_no_exception_but_a_base_exception_still_answers_its_callers(
    one: Member[int],
) -> None:
    async def load() -> int:
        raise Odd

    caller = ask(one, load)
    async with asyncio.timeout(1):
        with pytest.raises((Odd, MillpondError)):
            await caller
    assert await one.client.call("GET", "t:n:1") is None, "the lease was not given up"


async def test_loader_that_cancels_itself_is_not_taken_for_a_client_that_is_closed(
    one: Member[int],
) -> None:
    async def load() -> int:
        here = asyncio.current_task()
        assert here is not None
        here.cancel()
        await asyncio.sleep(0)
        return 1

    with pytest.raises(MillpondError, match="must not cancel the task") as caught:
        await one.cache.get_or_set(1, load)
    assert type(caught.value) is MillpondError
    assert await one.client.call("GET", "t:n:1") is None, "the lease was not given up"


async def test_load_past_its_timeout_is_cancelled_and_fails_here_and_elsewhere(
    url: str, other: Member[int]
) -> None:
    async with Member[int](url, policy=CachePolicy(load_timeout=0.2)) as one:
        source = Source(1, held=True)
        leader, joiner = ask(one, source.load), ask(one, source.load)
        await source.called()
        waiter = ask(other, source.load)
        await other.waiting()
        for caller in (leader, joiner):
            with pytest.raises(LoadTimeout) as caught:
                await caller
            assert (caught.value.key, caught.value.seconds) == ("t:n:1", 0.2)
        with pytest.raises(RemoteLoadError, match="LoadTimeout"):
            await waiter
        assert source.running == 0


async def test_loader_that_will_not_be_cancelled_loses_its_lease_and_its_callers(
    url: str, other: Member[int]
) -> None:
    policy = CachePolicy(load_timeout=0.2, lease_ttl=0.4)
    release = asyncio.Event()

    async def load() -> int:
        try:
            await release.wait()
        except asyncio.CancelledError:
            await release.wait()
        return 1

    async with Member[int](url, policy=policy) as one:
        stubborn = ask(one, load)
        try:
            await until(lambda: one.cache.statistics().loads == 1)
            async with asyncio.timeout(1.5):
                assert await ask(other, Source(2).load) == 2
            with pytest.raises(LoadTimeout):
                async with asyncio.timeout(2.5):
                    await asyncio.shield(stubborn)
        finally:
            release.set()
            await asyncio.gather(stubborn, return_exceptions=True)


async def test_waiter_whose_patience_ends_loads_for_itself_and_stores_nothing(
    one: Member[int], url: str
) -> None:
    async with Member[int](url, policy=CachePolicy(wait_timeout=0.2)) as other:
        slow, own = Source(1, held=True), Source(2)
        leader = ask(one, slow.load)
        await slow.called()
        assert await ask(other, own.load) == 2
        assert [event.reason for event in other.told(LoadUnleased)] == ["wait_timeout"]
        assert other.cache.statistics().unleased_loads == 1
        slow.release()
        assert await leader == 1
        assert await other.cache.get(1) == 1
