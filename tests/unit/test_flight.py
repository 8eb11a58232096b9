"""A flight stepped by hand: who may take its result, and that everybody is answered.

The store's commands are futures that the test resolves, so that callers can come at every moment:
before a command is sent, between sending and reply, after. No server, no clock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from millpond import (
    BackendTimeout,
    BackendUnavailable,
    CachePolicy,
    RemoteLoadError,
    ReplyError,
)
from millpond.cache.captured import Captured
from millpond.cache.decision import ABSENT, Found, Verdict, barred, dead
from millpond.cache.flight import Flight
from millpond.cache.landing import START_OVER, Landed, StartOver
from millpond.cache.store import Store
from millpond.core.codec import Codec
from millpond.core.entry import NO_ERA, new_generation, pack_error, pack_lease, pack_value
from millpond.core.supervisor import Supervisor
from millpond.core.watch import Watch, Watches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.cache.decision import Seen
    from millpond.events import Event

KEY = "n:1"
CODEC = Codec(int)
Landing = asyncio.Future[Landed[int] | StartOver]


class Redis:
    """The client as a flight sees it: watches whose reads the test answers."""

    pushes = True
    lane = None

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.watches = Watches()
        self.supervisor = Supervisor()
        self.reads: list[asyncio.Future[tuple[bytes | None, float | None]]] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def watch(self, key: str, *, before_read: Callable[[], None]) -> Watch:
        return Watch(self, key, before_read)

    def read_tracked(self, key: str) -> asyncio.Future[tuple[bytes | None, float | None]]:
        self.reads.append(asyncio.get_running_loop().create_future())
        return self.reads[-1]


class Known:
    """Versions that were captured."""

    async def done(self) -> Captured:
        return Captured(NO_ERA, b"epoch.")


class Scripted(Store[int]):
    """A store whose claims and fills the test answers."""

    def __init__(self, **policy: Any) -> None:
        self.redis = Redis()
        super().__init__(
            cast("Any", self.redis),
            CODEC,
            "n:",
            ttl=60_000,
            version=0,
            policy=CachePolicy(**policy),
        )
        self.versions.era = NO_ERA
        self.unchanged = True
        self.claims: list[asyncio.Future[Verdict | None]] = []
        self.seen: list[Seen] = []
        self.fills: list[asyncio.Future[bool]] = []
        self.filled: list[bytes] = []
        self.released: list[bytes] = []

    async def claim(self, key: str, generation: bytes, seen: Seen) -> Verdict | None:
        self.seen.append(seen)
        self.claims.append(asyncio.get_running_loop().create_future())
        return await self.claims[-1]

    async def fill(self, key: str, generation: bytes, entry: bytes, ttl: int) -> bool:
        self.filled.append(entry)
        self.fills.append(asyncio.get_running_loop().create_future())
        return await self.fills[-1]

    def capture(self, tags: Sequence[str], ttl: int | None) -> Any:
        return Known()

    def confirm(self, captured: Captured, ttl: int) -> asyncio.Future[bool]:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.set_result(self.unchanged)
        return answer

    def release(self, key: str, generation: bytes) -> None:
        self.released.append(generation)


class Course:
    """One flight, its store and its loader."""

    def __init__(self, verdict: Verdict = ABSENT, **policy: Any) -> None:
        self.store = Scripted(**policy)
        self.loads: list[asyncio.Future[int]] = []
        self.flight = Flight(self.store, KEY, self.load, ttl=None, verdict=verdict)
        self.store.flights[KEY] = self.flight
        self.first = self.flight.join()
        self.task = asyncio.create_task(self.flight.run())
        self.task.add_done_callback(self.flight.ended)

    async def load(self) -> int:
        self.loads.append(asyncio.get_running_loop().create_future())
        return await self.loads[-1]

    def join(self) -> Landing:
        assert self.is_open, "a caller who comes now starts a flight of its own"
        return self.flight.join()

    @property
    def is_open(self) -> bool:
        return self.store.flights.get(KEY) is self.flight


async def turn() -> None:
    """Let every task go on until it waits for something that only the test brings about."""
    for _ in range(5):
        await asyncio.sleep(0)


def value_of(landing: Landing) -> int | None:
    """The value that a caller was given; None: it was told to start over."""
    answer = landing.result()
    if isinstance(answer, StartOver):
        assert answer is START_OVER
        return None
    if answer.has_value:
        return answer.value
    assert answer.payload is not None
    return CODEC.decode(answer.payload)


def found(value: int) -> Verdict:
    return Verdict(Found.VALUE, new_generation(), payload=CODEC.encode(value))


def lease(generation: bytes) -> bytes:
    return pack_lease(generation, 0, CODEC.fingerprint)


# -- loads under a lease -----------------------------------------------------------------------


async def test_stored_value_goes_to_all_who_joined_before_the_fill_was_sent() -> None:
    course = Course()
    await turn()
    while_claiming = course.join()
    course.store.claims[0].set_result(None)
    await turn()
    while_loading = course.join()
    course.loads[0].set_result(1)
    await turn()
    assert not course.is_open, "a caller could still join while the fill is on its way"
    course.store.fills[0].set_result(True)
    await course.task
    assert [value_of(x) for x in (course.first, while_claiming, while_loading)] == [1, 1, 1]


@pytest.mark.parametrize(
    "outcome",
    [False, BackendUnavailable("lost"), BackendTimeout("?")],
    ids=lambda o: type(o).__name__,
)
async def test_value_that_was_perhaps_not_stored_goes_to_those_who_joined_before_the_load(
    outcome: bool | Exception,
) -> None:
    course = Course()
    await turn()
    while_claiming = course.join()
    course.store.claims[0].set_result(None)
    await turn()
    while_loading = course.join()
    course.loads[0].set_result(1)
    await turn()
    if isinstance(outcome, Exception):
        course.store.fills[0].set_exception(outcome)
    else:
        course.store.fills[0].set_result(outcome)
    await course.task
    assert [value_of(x) for x in (course.first, while_claiming)] == [1, 1]
    assert value_of(while_loading) is None


async def test_error_of_the_loader_goes_to_all_and_later_callers_load_again() -> None:
    course = Course()
    await turn()
    course.store.claims[0].set_result(None)
    await turn()
    while_loading = course.join()
    course.loads[0].set_exception(LookupError("no such row"))
    await turn()
    assert not course.is_open
    assert course.first.exception() is while_loading.exception()
    assert isinstance(course.first.exception(), LookupError)
    (entry,) = course.store.filled
    assert entry.endswith(b"LookupError")
    course.store.fills[0].set_result(True)
    await course.task


async def test_claim_of_a_dead_entry_names_what_was_seen() -> None:
    seen_dead = dead(b"foreign", "not an entry")
    course = Course(seen_dead)
    await turn()
    assert course.store.seen == [seen_dead.seen]
    course.task.cancel()
    await asyncio.wait([course.task])
    await turn()
    assert course.first.exception()


# -- values that were read ---------------------------------------------------------------------


async def test_value_found_by_the_claim_goes_to_those_who_joined_before_it_was_sent() -> None:
    course = Course()
    before = course.join()
    await turn()
    after = course.join()
    course.store.claims[0].set_result(found(1))
    await course.task
    assert [value_of(x) for x in (course.first, before)] == [1, 1]
    assert value_of(after) is None
    assert not course.is_open


async def test_value_found_by_a_watch_goes_to_those_who_joined_before_it_was_read() -> None:
    course = Course()
    await turn()
    theirs = new_generation()
    redis = course.store.redis
    course.store.claims[0].set_result(Verdict(Found.LEASE, theirs))
    await turn()
    redis.reads[0].set_result((lease(theirs), 3.0))
    await turn()
    while_waiting = course.join()
    redis.watches.wake([KEY.encode()])
    await turn()
    after_the_read = course.join()
    raw = pack_value(theirs, 0, CODEC.fingerprint, CODEC.encode(1), created_ms=1)
    redis.reads[1].set_result((raw, 60.0))
    await course.task
    assert [value_of(x) for x in (course.first, while_waiting)] == [1, 1]
    assert value_of(after_the_read) is None


async def test_renewal_wakes_the_watch_and_nothing_else_happens() -> None:
    course = Course()
    await turn()
    theirs = new_generation()
    redis = course.store.redis
    course.store.claims[0].set_result(Verdict(Found.LEASE, theirs))
    await turn()
    for _ in range(3):
        redis.reads[-1].set_result((lease(theirs), 3.0))
        await turn()
        redis.watches.wake([KEY.encode()])
        await turn()
    assert len(redis.reads) == 4
    assert len(course.store.claims) == 1
    assert not course.first.done()
    redis.reads[-1].set_result((None, None))
    await turn()
    assert len(course.store.claims) == 2
    course.task.cancel()
    await asyncio.wait([course.task])


async def test_error_of_the_load_that_was_waited_for_is_raised_and_another_is_a_miss() -> None:
    for is_the_one, visible in [(True, False), (False, False), (False, True)]:
        course = Course()
        await turn()
        theirs = new_generation()
        course.store.claims[0].set_result(Verdict(Found.LEASE, theirs))
        await turn()
        raw = pack_error(
            theirs if is_the_one else new_generation(),
            0,
            CODEC.fingerprint,
            "LookupError",
            created_ms=1,
            for_waiters=not visible,
        )
        course.store.redis.reads[0].set_result((raw, 2.0))
        await turn()
        if is_the_one or visible:
            error = course.first.exception()
            assert isinstance(error, RemoteLoadError)
            assert (error.key, error.type_name) == (KEY, "LookupError")
        else:
            assert not course.first.done()
            assert course.store.seen[1] == dead(raw, "").seen
            course.task.cancel()
            await asyncio.wait([course.task])


# -- loads without a lease ---------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["unavailable", "foreign type"])
async def test_value_loaded_without_a_lease_goes_to_those_who_joined_before_the_load(
    reason: str,
) -> None:
    course = Course(barred(reason))
    before = course.join()
    await turn()
    assert len(course.loads) == 1
    while_loading = course.join()
    course.loads[0].set_result(1)
    await course.task
    assert [value_of(x) for x in (course.first, before)] == [1, 1]
    assert value_of(while_loading) is None
    assert not course.store.claims
    assert not course.store.fills


async def test_redis_lost_at_the_claim_still_lets_those_in_who_came_before_the_load() -> None:
    course = Course()
    await turn()
    while_claiming = course.join()
    course.store.claims[0].set_exception(BackendUnavailable("lost"))
    await turn()
    while_loading = course.join()
    course.loads[0].set_result(1)
    await course.task
    assert [value_of(x) for x in (course.first, while_claiming)] == [1, 1]
    assert value_of(while_loading) is None


@pytest.mark.parametrize("kind", [Found.NEWER, Found.WRITE])
async def test_what_must_not_be_replaced_is_loaded_past(kind: Found) -> None:
    course = Course()
    await turn()
    course.store.claims[0].set_result(Verdict(kind, new_generation()))
    await turn()
    course.loads[0].set_result(1)
    await course.task
    assert value_of(course.first) == 1
    assert not course.store.fills


@pytest.mark.parametrize("how", ["unleased load", "remote error", "refused claim"])
async def test_flight_that_fails_is_left_before_its_callers_hear_of_it(how: str) -> None:
    """Otherwise a caller who comes in that very turn joins a flight that never lands."""
    course = Course(barred("unavailable") if how == "unleased load" else ABSENT)
    was_open: list[bool] = []
    course.first.add_done_callback(lambda _: was_open.append(course.is_open))
    await turn()
    if how == "unleased load":
        course.loads[0].set_exception(LookupError())
    elif how == "remote error":
        course.store.claims[0].set_result(Verdict(Found.ERROR, type_name="E", visible=True))
    else:
        course.store.claims[0].set_exception(ReplyError("NOPERM this user has no permissions"))
    await turn()
    assert course.first.exception()
    assert was_open == [False]


# -- everybody is answered ---------------------------------------------------------------------


async def test_caller_who_has_gone_is_passed_over() -> None:
    course = Course()
    await turn()
    course.first.cancel()
    other = course.join()
    course.store.claims[0].set_result(None)
    await turn()
    course.loads[0].set_result(1)
    await turn()
    course.store.fills[0].set_result(True)
    await course.task
    assert value_of(other) == 1


async def test_callers_are_answered_whenever_the_flight_is_cancelled() -> None:
    for steps in range(4):
        course = Course()
        if steps > 0:  # else it is cancelled before its first step
            await turn()
        if steps > 1:
            course.store.claims[0].set_result(None)
            await turn()
        if steps > 2:
            course.loads[0].set_result(1)
            await turn()
        await course.store.redis.supervisor.aclose()
        course.task.cancel()
        await asyncio.wait([course.task])
        await turn()
        assert course.first.done(), f"nobody answered after {steps} steps"
        assert "closed" in str(course.first.exception())
        assert course.task.cancelled()
        assert not course.is_open
        assert len(course.store.released) == (1 if steps > 1 else 0)


@pytest.mark.parametrize("shareable", [True, False])
async def test_only_the_first_caller_is_given_the_loaders_own_object(shareable: bool) -> None:
    course = Course()
    course.store.codec.shareable = shareable
    await turn()
    other = course.join()
    course.store.claims[0].set_result(None)
    await turn()
    course.loads[0].set_result(1)
    await turn()
    course.store.fills[0].set_result(True)
    await course.task
    course.store.codec.shareable = True
    answers = [cast("Landed[int]", landing.result()) for landing in (course.first, other)]
    assert [answer.has_value for answer in answers] == [True, shareable]
