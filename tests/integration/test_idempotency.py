"""Results of what must not be done twice: replayed, refused, fenced, given up, kept.

Two members stand for two processes; what only real processes can show is in `tests/faults`.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import BaseModel
from redis.asyncio import Redis

from millpond import Client, Idempotency, Locks, Run
from millpond.core.lease import Lease
from millpond.errors import (
    ClosedError,
    CodecError,
    ConfigError,
    FingerprintMismatch,
    LockError,
    LockLost,
    MillpondError,
    ReplyError,
    RunInProgress,
)
from millpond.events import EvictionPossible, LockFailed, ResultUnconfirmed
from tests.support.fleet import until
from tests.support.lockers import cancel_at
from tests.support.payers import Payer, Receipt, Till
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture
async def one(url: str) -> AsyncIterator[Payer]:
    async with Payer(url) as payer:
        yield payer


@pytest.fixture
async def other(url: str) -> AsyncIterator[Payer]:
    async with Payer(url) as payer:
        yield payer


async def running(payer: Payer, till: Till, **options: Any) -> asyncio.Task[Receipt]:
    """Start a payment in a task, and return that once it is under way."""
    begun = till.begun
    task = asyncio.create_task(payer.payments.run_once("a", till.pay, **options))
    await until(lambda: till.begun > begun)
    return task


# -- once --------------------------------------------------------------------------------------


async def test_first_result_is_given_to_every_later_call(flavoured_server: Server) -> None:
    async with Payer(flavoured_server.url) as one, Payer(flavoured_server.url) as other:
        till = Till()
        first = await one.payments.run_once("a", till.pay, fingerprint=b"10 euros")
        again = await one.payments.run_once("a", till.pay, fingerprint=b"10 euros")
        elsewhere = await other.payments.run_once("a", till.pay, fingerprint="10 euros")
        assert [first, again, elsewhere] == till.paid * 3
        assert first.fence > 0
        assert await one.stored() == ["fence", "result"]
        assert (await one.payments.run_once("b", till.pay)).number == 2
        statistics = one.payments.statistics()
        assert (statistics.runs, statistics.replays) == (2, 1)


async def test_result_lives_for_its_ttl_and_bars_fences_for_as_long(url: str) -> None:
    async with Payer(url, ttl=86_400) as one:
        await one.payments.run_once("a", Till().pay)
        assert await one.stored() == ["result"]  # no lower fence can come before it is gone
        key = one.payments.key("a")
        assert key == "{t:pay:a}:result"
        assert 86_300_000 < await one.client.call("PTTL", key) <= 86_400_000


async def test_deleting_the_result_lets_the_next_call_run(one: Payer) -> None:
    till = Till()
    first = await one.payments.run_once("a", till.pay)
    assert await one.client.call("DEL", one.payments.key("a")) == 1
    second = await one.payments.run_once("a", till.pay)
    assert second.number == 2
    assert second.fence > first.fence


async def test_idempotency_works_on_memory() -> None:
    async with Payer("memory://pay") as one, Payer("memory://pay") as other:
        till = Till(held=True)
        task = await running(one, till)
        waiting = asyncio.create_task(other.payments.run_once("a", till.pay, wait=5))
        await until(lambda: other.payments.statistics().waits)
        till.release()
        assert await task == await waiting
        with pytest.raises(FingerprintMismatch):
            await one.payments.run_once("a", till.pay, fingerprint="another")
        assert len(till.paid) == 1


async def test_idempotency_works_through_a_redis_client(server: Server) -> None:
    redis = Redis(unix_socket_path=server.socket_path)
    try:
        async with Client.from_redis(redis, prefix="t") as client, Payer(server.url) as other:
            payments = Idempotency(client, "pay", type=Receipt, ttl=60)
            till = Till(held=True)
            task = await running(other, till)
            waiting = asyncio.create_task(payments.run_once("a", till.pay, wait=5))
            await until(lambda: payments.statistics().waits)
            till.release()
            assert await waiting == await task
    finally:
        await redis.aclose()


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1, "b"]}])
async def test_any_value_is_replayed_none_and_empty_ones_too(url: str, value: Any) -> None:
    async def give(run: Run) -> Any:
        return value

    async def never(run: Run) -> Any:
        pytest.fail("it was done before")

    async with Payer(url, type=Any) as one:
        assert await one.payments.run_once("a", give) == value
        assert await one.payments.run_once("a", never) == value


async def test_pydantic_models_are_replayed(url: str) -> None:
    class Paid(BaseModel):
        number: int

    async def pay(run: Run) -> Paid:
        return Paid(number=7)

    async with Payer(url, type=Paid) as one:
        assert await one.payments.run_once("a", pay) == await one.payments.run_once("a", pay)


async def test_a_lock_of_the_same_namespace_and_name_is_something_else(one: Payer) -> None:
    async with Locks(one.client, "pay").hold("a"):
        await one.payments.run_once("a", Till().pay)


@pytest.mark.both_loops
async def test_many_at_once_run_once_and_are_all_given_the_result(url: str) -> None:
    async with Payer(url) as one, Payer(url) as other:
        till = Till(held=True)
        calls = [
            asyncio.create_task(payer.payments.run_once("a", till.pay, wait=10))
            for _ in range(20)
            for payer in (one, other)
        ]
        waits = [payer.payments.statistics for payer in (one, other)]
        await until(lambda: sum(statistics().waits for statistics in waits) == 39)
        till.release()
        assert await asyncio.gather(*calls) == till.paid * 40
        assert till.begun == 1


# -- refusals ----------------------------------------------------------------------------------


async def test_a_run_in_progress_is_refused_at_once(one: Payer, other: Payer) -> None:
    till = Till(held=True)
    task = await running(one, till)
    for payer in (one, other):
        with pytest.raises(RunInProgress, match="being done") as caught:
            await payer.payments.run_once("a", till.pay)
        assert caught.value.status_hint == 409
        assert caught.value.key == one.payments.key("a")
        assert 9 < caught.value.retry_after <= 10
        assert isinstance(caught.value, MillpondError)
    assert await one.stored() == ["run", "fence"]  # the refused gave up nothing of the runner's
    till.release()
    await task
    assert other.payments.statistics().refusals == 1
    assert await other.payments.run_once("a", till.pay) == till.paid[0]


@pytest.mark.parametrize("ended", [False, True])
async def test_another_fingerprint_is_refused_whether_the_first_has_ended_or_not(
    one: Payer, other: Payer, ended: bool
) -> None:
    till = Till(held=True)
    task = await running(one, till, fingerprint="10 euros")
    if ended:
        till.release()
        await task
    with pytest.raises(FingerprintMismatch, match="another fingerprint") as caught:
        await other.payments.run_once("a", till.pay, fingerprint="99 euros", wait=5)
    assert caught.value.status_hint == 422
    assert caught.value.key == one.payments.key("a")
    assert other.payments.statistics().mismatches == 1
    till.release()
    assert await task == till.paid[0]
    assert till.begun == 1


async def test_only_a_digest_of_the_fingerprint_is_stored_and_another_one_for_each_key(
    one: Payer,
) -> None:
    stored: list[bytes] = []
    for key in ("a", "b"):
        await one.payments.run_once(key, Till().pay, fingerprint="4111 1111 1111 1111")
        stored.append(await one.client.call("GET", one.payments.key(key)))
    assert b"4111" not in stored[0]
    assert stored[0][:32] != stored[1][:32]


async def test_waiting_is_pushed_awake_and_sends_no_commands(
    one: Payer, other: Payer, server: Server
) -> None:
    till = Till(held=True)
    task = await running(one, till)
    waiting = asyncio.create_task(other.payments.run_once("a", till.pay, wait=30))
    await until(lambda: len(other.client.watches) and not other.client.statistics().in_flight)
    before = server.execute("INFO", "stats")["total_commands_processed"]
    await asyncio.sleep(0.4)  # in which a waiter that polls would be seen
    own = 7  # what looking behind its back takes itself
    assert server.execute("INFO", "stats")["total_commands_processed"] - before <= own
    till.release()
    async with asyncio.timeout(1):
        assert await waiting == await task
    assert till.begun == 1


async def test_wait_that_ends_is_a_refusal(one: Payer, other: Payer) -> None:
    till = Till(held=True)
    task = await running(one, till)
    began = time.monotonic()
    with pytest.raises(RunInProgress):
        await other.payments.run_once("a", till.pay, wait=0.1)
    assert 0.1 <= time.monotonic() - began < 0.5
    till.release()
    await task


async def test_who_waits_for_a_run_that_fails_runs_itself(one: Payer, other: Payer) -> None:
    till, second = Till(held=True), Till()
    till.error = OSError("the provider is away")
    task = await running(one, till)
    waiting = asyncio.create_task(other.payments.run_once("a", second.pay, wait=5))
    await until(lambda: other.payments.statistics().waits)
    till.release()
    with pytest.raises(OSError, match="away"):
        await task
    async with asyncio.timeout(1):
        assert await waiting == second.paid[0]


async def test_asking_for_itself_inside_is_an_error_and_no_deadlock(one: Payer) -> None:
    till = Till()

    async def again(run: Run) -> Receipt:
        with pytest.raises(ConfigError, match="runs"):
            await one.payments.run_once("a", till.pay, wait=5)
        return await one.payments.run_once("b", till.pay)

    async with asyncio.timeout(2):
        assert await one.payments.run_once("a", again) == till.paid[0]


# -- failing, leaving --------------------------------------------------------------------------


async def test_exception_is_not_replayed_and_a_retry_runs_at_once(one: Payer, other: Payer) -> None:
    till = Till()
    till.error = OSError("the provider is away")
    with pytest.raises(OSError, match="away"):
        await one.payments.run_once("a", till.pay)
    assert await other.stored() == ["fence"]
    till.error = None
    first = await other.payments.run_once("a", till.pay)
    assert await one.payments.run_once("a", till.pay) == first
    assert till.begun == 2


async def test_fence_rises_from_one_attempt_to_the_next(one: Payer) -> None:
    fences: list[int] = []

    async def fail(run: Run) -> Receipt:
        fences.append(run.fence)
        raise OSError

    ahead = int(time.time() * 1e6) + 10**12  # although the server's clock went back
    await one.client.call("SET", "{t:pay:a}:run:fence", ahead, "EX", 100)
    for _ in range(3):
        with pytest.raises(OSError):
            await one.payments.run_once("a", fail)
    assert fences == [ahead + 1, ahead + 2, ahead + 3]


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("flushed", [False, True])
async def test_cancelled_at_any_await_it_is_either_kept_or_given_up(
    one: Payer, other: Payer, server: Server, answered: bool, flushed: bool
) -> None:
    struck, step = True, 0
    ends: set[str] = set()
    while struck:
        step += 1
        if flushed:  # then every script is sent twice
            server.execute("SCRIPT", "FLUSH")
        done: list[Receipt] = []

        async def pay(run: Run) -> Receipt:
            await asyncio.sleep(0)
            done.append(Receipt(1, run.fence))  # noqa: B023
            return done[0]  # noqa: B023

        struck, end = await cancel_at(
            step, one.payments.run_once(step, pay, fingerprint="x"), answered=answered
        )
        assert isinstance(end, asyncio.CancelledError) or not struck
        for _ in range(3):
            await one.client.call("PING")
        kept = await one.stored(str(step))
        assert "run" not in kept, step
        assert ("result" in kept) == bool(done), step  # what was done is known to be done
        ends.add("kept" if done else "given up")
        retried = await other.payments.run_once(step, Till().pay, fingerprint="x")
        assert not done or retried == done[0]
    assert step >= 4  # begin, the function, keep: and one past the end
    assert ends == {"kept", "given up"}


@pytest.mark.parametrize("answered", [False, True])
async def test_cancelled_at_any_await_of_waiting_it_harms_nobody(
    one: Payer, other: Payer, answered: bool
) -> None:
    struck, step = True, 0
    while struck:
        step += 1
        till = Till(held=True)
        task = asyncio.create_task(one.payments.run_once(step, till.pay))
        await until(lambda: till.begun)  # noqa: B023
        work = other.payments.run_once(step, till.pay, wait=5)
        run = asyncio.create_task(cancel_at(step, work, answered=answered))
        await asyncio.sleep(0.005)
        till.release()
        assert await task == till.paid[0]
        struck, _ = await run
        await other.client.call("PING")
        assert await one.stored(str(step)) == ["fence", "result"], step
        assert till.begun == 1
    assert step >= 4


async def test_cancelled_function_gives_up_and_a_retry_runs(one: Payer, other: Payer) -> None:
    till, second = Till(held=True), Till()
    task = await running(one, till)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await other.payments.run_once("a", second.pay) == second.paid[0]


async def test_cancelled_anyio_scope_gives_up(one: Payer) -> None:
    till = Till(held=True)
    with anyio.move_on_after(0.02) as scope:
        await one.payments.run_once("a", till.pay)
    assert scope.cancelled_caught
    await one.client.call("PING")
    assert await one.stored() == ["fence"]


async def test_timeout_of_the_function_is_its_own(one: Payer) -> None:
    async def slow(run: Run) -> Receipt:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(5)
        pytest.fail("it was too slow")

    with pytest.raises(TimeoutError):
        await one.payments.run_once("a", slow)
    assert await one.stored() == ["fence"]


# -- losing the lease --------------------------------------------------------------------------


@pytest.mark.both_loops
async def test_long_run_is_renewed_under_the_same_fence(url: str) -> None:
    async with Payer(url, lease=0.3) as one, Payer(url) as other:
        remained: list[float] = []

        async def slow(run: Run) -> Receipt:
            for _ in range(10):
                await asyncio.sleep(0.1)
                run.ensure_held()
                remained.append(run.remaining())
                with pytest.raises(RunInProgress):
                    await other.payments.run_once("a", Till().pay)
            return Receipt(1, run.fence)

        receipt = await one.payments.run_once("a", slow)
        assert min(remained) > 0.05
        assert await other.payments.run_once("a", Till().pay) == receipt


async def test_run_that_is_deleted_is_cancelled_and_raises(one: Payer, other: Payer) -> None:
    till = Till(held=True)
    payments = Idempotency(one.client, "pay", type=Receipt, ttl=60, lease=0.3)
    task = asyncio.create_task(payments.run_once("a", till.pay))
    await until(lambda: till.begun)
    await other.client.call("DEL", "{t:pay:a}:run")
    began = time.monotonic()
    with pytest.raises(LockLost, match="no longer has it") as caught:
        await task
    assert time.monotonic() - began < 0.25
    assert caught.value.status_hint == 503
    assert till.inside == 0
    assert [event.reason for event in one.told(LockFailed)] == ["gone"]
    assert payments.statistics().lost == 1
    assert await one.stored() == ["fence"]


async def test_stalled_run_learns_of_it_before_its_next_side_effect(url: str) -> None:
    effects: list[str] = []

    async def stall(run: Run) -> Receipt:
        time.sleep(0.15)
        assert run.remaining() == 0
        run.ensure_held()
        effects.append("late")
        return Receipt(1)

    async with Payer(url, lease=0.1) as one:
        with pytest.raises(LockLost, match="lease ran out"):
            await one.payments.run_once("a", stall)
        assert effects == []
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_stalled_run_beside_which_nobody_began_is_kept(url: str) -> None:
    """It was done, and nobody has done it again: forgetting it would have it done twice."""

    async def stall(run: Run) -> Receipt:
        time.sleep(0.15)
        return Receipt(1, run.fence)

    async with Payer(url, lease=0.1) as one, Payer(url) as other:
        receipt = await one.payments.run_once("a", stall)
        assert await other.payments.run_once("a", Till().pay) == receipt


@pytest.mark.parametrize("ended", [False, True])
async def test_stalled_run_beside_which_another_began_is_told_so_and_not_kept(
    url: str, server: Server, ended: bool
) -> None:
    async with Payer(url, lease=0.1) as one, Payer(url) as other:
        rival = Till(held=not ended)
        rivals: list[asyncio.Task[Receipt]] = []

        async def stall(run: Run) -> Receipt:
            # As if the loop had stalled: no timer of this run is heard, and it is not renewed.
            server.execute("PEXPIRE", "{t:pay:a}:run", 1)
            time.sleep(0.11)
            rivals.append(asyncio.create_task(other.payments.run_once("a", rival.pay)))
            task = asyncio.current_task()
            assert task is not None
            try:
                await until(lambda: rival.begun)
            except asyncio.CancelledError:  # it is told, and goes on all the same
                await until(lambda: rival.begun)
            if ended:
                await rivals[0]
            return Receipt(99, run.fence)

        with pytest.raises(LockLost) as caught:
            await one.payments.run_once("a", stall)
        rival.release()
        receipt = await rivals[0]
        assert receipt.fence > caught.value.fence
        assert await one.payments.run_once("a", Till().pay) == receipt
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_functions_own_exception_is_the_cause_of_the_loss(url: str) -> None:
    async def fail(run: Run) -> Receipt:
        time.sleep(0.15)
        raise OSError("its own")

    async with Payer(url, lease=0.1) as one:
        with pytest.raises(LockLost) as caught:
            await one.payments.run_once("a", fail)
        assert isinstance(caught.value.__cause__, OSError)


async def test_cancellation_from_outside_stays_one_beside_a_loss(url: str) -> None:
    async with Payer(url, lease=0.1) as one:

        async def lose(run: Run) -> Receipt:
            await one.client.call("DEL", "{t:pay:a}:run")
            try:
                await asyncio.sleep(5)
            finally:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()  # as somebody else would, in the same moment
            return Receipt(1)

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(one.payments.run_once("a", lose))


async def test_run_that_is_over_is_no_longer_usable(one: Payer) -> None:
    runs: list[Run] = []

    async def pay(run: Run) -> Receipt:
        runs.append(run)
        return Receipt(1)

    await one.payments.run_once("a", pay)
    assert runs[0].remaining() == 0
    with pytest.raises(LockError, match="over"):
        runs[0].ensure_held()


# -- results that cannot be kept or read -------------------------------------------------------


async def test_result_that_cannot_be_encoded_is_an_error_and_is_not_done_again(
    one: Payer, other: Payer
) -> None:
    done: list[str] = []

    async def pay(run: Run) -> Any:
        done.append("paid")
        return {"not": "a receipt"}

    with pytest.raises(CodecError, match="will not be done again"):
        await one.payments.run_once("a", pay)
    for payer in (one, other):
        with pytest.raises(CodecError, match="was done"):
            await payer.payments.run_once("a", pay)
    assert done == ["paid"]
    await one.client.call("DEL", one.payments.key("a"))
    assert (await other.payments.run_once("a", Till().pay)).number == 1


async def test_result_of_another_type_is_an_error_and_is_not_done_again(
    url: str, one: Payer
) -> None:
    await one.payments.run_once("a", Till().pay)
    async with Payer(url, type=dict[str, int]) as other:
        with pytest.raises(CodecError, match="it is no dict"):
            await other.payments.run_once("a", Till().pay)


@pytest.mark.parametrize("left", [0, 1, 40, 58, -1])
async def test_damaged_result_is_an_error_and_is_not_done_again(one: Payer, left: int) -> None:
    till = Till()
    await one.payments.run_once("a", till.pay)
    raw = await one.client.call("GET", one.payments.key("a"))
    await one.client.call("SET", one.payments.key("a"), raw[:left], "EX", 60)
    with pytest.raises((CodecError, FingerprintMismatch)):
        await one.payments.run_once("a", till.pay)
    assert till.begun == 1


async def test_full_server_refuses_before_anything_is_called(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(maxmemory_policy="noeviction"))
    async with Payer(server.url) as one:
        till = Till(held=True)
        task = await running(one, till)
        server.execute("CONFIG", "SET", "maxmemory", "1mb")  # less than it has
        with pytest.raises(ReplyError, match="OOM"):
            await one.payments.run_once("b", till.pay)
        assert till.begun == 1
        till.release()
        assert await task == till.paid[0]  # it was done; keeping it is tried again
        assert len(one.told(ResultUnconfirmed)) == 1
        server.execute("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: server.execute("EXISTS", one.payments.key("a")))
        assert await one.payments.run_once("a", till.pay) == till.paid[0]


async def test_server_that_may_evict_results_is_warned_of(
    start_server: Callable[[Server], Server],
) -> None:
    server = start_server(Server(maxmemory="50mb", maxmemory_policy="volatile-lru"))
    async with Payer(server.url) as one:
        for key in range(3):
            await one.payments.run_once(key, Till().pay)
        assert [event.policy for event in one.told(EvictionPossible)] == ["volatile-lru"]


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", ("",), None, 1.5, b"x", ["x"], "x" * 2000])
async def test_keys_that_cannot_be_are_refused(one: Payer, key: Any) -> None:
    with pytest.raises(ConfigError):
        await one.payments.run_once(key, Till().pay)
    with pytest.raises(ConfigError):
        one.payments.key(key)


@pytest.mark.parametrize("fingerprint", [None, 5, {"a": 1}, ["x"], bytearray(b"x")])
async def test_fingerprints_that_cannot_be_are_refused(one: Payer, fingerprint: Any) -> None:
    with pytest.raises(ConfigError, match="fingerprint must be str or bytes"):
        await one.payments.run_once("a", Till().pay, fingerprint=fingerprint)


@pytest.mark.parametrize("wait", [-1, float("nan"), float("inf"), "5", None, True])
async def test_waits_that_cannot_be_are_refused(one: Payer, wait: Any) -> None:
    with pytest.raises(ConfigError, match="wait"):
        await one.payments.run_once("a", Till().pay, wait=wait)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"ttl": 0}, "ttl"),
        ({"ttl": -1}, "ttl"),
        ({"ttl": float("inf")}, "ttl"),
        ({"lease": 0}, "lease"),
        ({"lease": 0.04}, "lease"),
        ({"lease": float("nan")}, "lease"),
        ({"type": type}, "cannot be decoded"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Idempotency(Client.from_url("memory://"), "pay", **({"ttl": 60} | options))


async def test_closed_client_is_an_error_before_anything_is_called() -> None:
    till = Till()
    payments = Idempotency(Client.from_url("memory://"), "pay", type=Receipt, ttl=60)
    with pytest.raises(ClosedError):
        await payments.run_once("a", till.pay)
    assert till.begun == 0


async def test_what_a_run_consisted_of_is_freed_without_the_garbage_collector(
    server: Server,
) -> None:
    async def pay(run: Run) -> int:
        run.ensure_held()
        return 1

    async with Client.from_url(server.url, prefix="t") as client:
        payments = Idempotency(client, "n", type=int, ttl=60)
        gc.collect()
        gc.disable()
        try:
            for number in range(10):
                assert await payments.run_once(number, pay) == 1
            left = [each for each in gc.get_objects() if isinstance(each, Run | Lease)]
        finally:
            gc.enable()
        assert left == []
