"""`Idempotency`: what is asked for twice is done once, and answered twice.

A key stands for one request, however often it is sent. What must stay true:

1. Whether it was done, whether it is being done, and taking it on are one step, a script's:
       A looks for a result and finds none; B, who runs, keeps its result and ends its lease; A
       takes the lease, which is free, and does it again.
   Asked as one, A finds B's lease or B's result.
2. Nothing is called before Redis has said that it is ours. Out of reach, it is an error.
3. Whoever leaves before it is done gives up in the same turn, by the token, by a command that is
   queued behind what took the lease.
4. A result that cannot be read is no reason to run again, and neither is a fingerprint that
   differs, or one that is being compared while the first still runs.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast, overload

from millpond.core.codec import Codec
from millpond.core.durations import milliseconds, seconds
from millpond.core.eviction import Examination
from millpond.core.keys import Keyspace
from millpond.core.lease import give_back, lease_seconds, new_token
from millpond.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ClosedError,
    ConfigError,
    FingerprintMismatch,
    RunInProgress,
)
from millpond.structures.ledger import BEGUN, DONE, Ledger
from millpond.structures.record import digest_of, read_digest, read_result
from millpond.structures.run import GRACE, RETRY, Run
from millpond.structures.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from millpond.core.client import Client
    from millpond.core.keys import Key
    from millpond.structures.tally import IdempotencyStatistics

__all__ = ["Idempotency"]

T = TypeVar("T")

_LATE = 0.002  # seconds past a lease's end before asking: Redis' own clock must have passed it
_FIX = (
    "set maxmemory-policy noeviction on the server that keeps results, or use a server of its own"
)


class Idempotency(Generic[T]):
    """Results of what must not be done twice, by the key under which it was asked for.

    The first call of a key runs; later ones are given its result, for as long as that is kept. Two
    at once do not run both, in any process, while the lease of the one that runs lasts, provided
    that the server keeps what it acknowledged (`maxmemory-policy noeviction`, no failover to a
    replica that lags) and that the clocks of server and process run at the same rate.

    A process that dies between doing and keeping leaves nothing behind, so a later call runs again
    once its lease is over: what must be right even then hands `run.fence`, or the key itself, to
    whatever it writes to.

    May be made at import, before the client is open.
    """

    @overload
    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        ttl: float | timedelta,
        type: type[T],
        lease: float | timedelta = 10.0,
    ) -> None: ...
    @overload
    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        ttl: float | timedelta,
        type: Any = Any,
        lease: float | timedelta = 10.0,
    ) -> None: ...
    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        ttl: float | timedelta,
        type: Any = Any,  # noqa: A002  (as a cache calls it)
        lease: float | timedelta = 10.0,
    ) -> None:
        """Describe what is kept; no I/O.

        Args:
            client: The way to Redis.
            namespace: The second part of every key: letters, digits, `_`, `-` and `.`.
            ttl: Seconds or timedelta for which a result is kept, counted from its end: longer
                than anybody sends the same request again.
            type: Of the results, as for a cache.
            lease: Seconds or timedelta after which another may run whose predecessor's process
                died; at least 0.05. It is renewed at a third while the function runs, so it is not
                how long that may take.

        Raises:
            ConfigError: A namespace, TTL, type or lease that cannot be.
        """
        self._client = client
        self._codec = Codec(type)
        self._ttl = milliseconds(ttl, "ttl")
        self._lease = lease_seconds(lease)
        self._lease_ms = milliseconds(lease, "lease")
        self._key = Keyspace(client.prefix, namespace).__call__
        self._examination = Examination((client,), _FIX)
        self._tally = Tally()
        self._runners: set[tuple[str, asyncio.Task[Any] | None]] = set()

    def key(self, key: Key) -> str:
        """Return the Redis key of a result; needs no connection.

        `DEL` of it by anybody lets the next call run again.
        """
        return Ledger(self._client, self._named(key)).result

    async def run_once(
        self,
        key: Key,
        fn: Callable[[Run], Awaitable[T]],
        *,
        fingerprint: str | bytes = b"",
        wait: float | timedelta = 0,
    ) -> T:
        """Call the function, or give the result of the call that was made before.

        The function runs in the calling task. Cancelled while it runs, or raising, it leaves
        nothing behind, and the next call runs; cancelled when it has returned, its result is kept
        nevertheless. Should Redis not confirm that it keeps the result, the result is returned,
        `ResultUnconfirmed` told, and keeping it is tried again for ten minutes.

        Args:
            key: Of the request, as its sender chose it: an `Idempotency-Key`, a message's id. A
                part that says who sends keeps senders apart: `(user_id, sent_key)`.
            fn: Called with a `Run`, whose `fence` is for what it writes to. Its result must not be
                an answer that is to be tried again: raise for that.
            fingerprint: Of what is asked for, so that one key used for two things is found out: a
                request's body. Only a digest is stored.
            wait: Seconds or timedelta to wait while another call runs, for its result; or, should
                it fail, for the turn to run; 0: not at all.

        Returns:
            What the function returned, now or then.

        Raises:
            RunInProgress: Another call runs, and did not end within `wait`.
            FingerprintMismatch: The key stands for something else.
            LockLost: The lease of this run ended, so that another may have run beside it. The
                function was cancelled; or it had returned, and its result is not kept.
            CodecError: The result cannot be kept, or cannot be read: it is not done again.
            ConfigError: A key, fingerprint or wait that cannot be; or this very task runs it.
            BackendError: Redis is out of reach, or refuses: nothing was called.
            Exception: What the function raised.

        Redis:
            One EVALSHA to begin and one to end, or one for a result that is there; one at each
            third of the lease; while waiting, what `client.watch` does.
        """
        ledger = Ledger(self._client, self._named(key))
        digest = digest_of(ledger.result, fingerprint)
        until = time.monotonic() + _wait(wait)
        runner = (ledger.result, asyncio.current_task())
        if runner in self._runners:
            raise ConfigError(
                f"this task runs {ledger.result!r} already: its result is not there before the "
                "function has returned; give what is called inside a key of its own"
            )
        self._examination.begin()
        begun = await self._begin(ledger, digest, until)
        if not isinstance(begun, Run):
            return self._replay(ledger, digest, begun)
        self._tally.runs += 1
        self._runners.add(runner)
        try:
            return await begun.perform(fn, self._codec, self._ttl)
        finally:
            self._runners.discard(runner)

    def statistics(self) -> IdempotencyStatistics:
        """Counters of this process, since this was made."""
        return self._tally.statistics()

    # -- beginning ----------------------------------------------------------------------------

    async def _begin(self, ledger: Ledger, digest: str, until: float) -> Run | bytes:
        """Become the one who runs, or get what a run has left behind."""
        mark = f"{digest}:{new_token()}"
        asked = waited = False
        failing: float | None = None
        try:
            while True:
                sent = time.monotonic()
                future = ledger.begin(mark, self._lease_ms)
                asked = asked or not future.done()  # the connection took it
                try:
                    said, what, *more = await future
                except (BackendUnavailable, BackendTimeout):
                    # By the token it may be asked again: for a restart, or a lost answer.
                    now = time.monotonic()
                    failing = now if failing is None else failing
                    if not asked or now - failing > GRACE:
                        raise
                    await asyncio.sleep(random.uniform(RETRY / 2, RETRY))  # noqa: S311
                    continue
                failing = None
                if said == BEGUN:
                    if time.monotonic() - sent < self._lease:
                        return self._run(ledger, mark, what, sent)
                    continue  # an answer that took longer than the lease says nothing
                asked = False
                if said == DONE:
                    return what
                if more[0].decode("ascii", "replace") != digest:
                    self._mismatch(ledger)
                left = until - time.monotonic()
                if left <= 0:
                    self._refuse(ledger, what / 1000)
                self._tally.waits += not waited
                waited = True
                await self._ended(ledger, left)
        except BaseException:
            if asked:
                self._withdraw(ledger, mark)
            raise

    def _refuse(self, ledger: Ledger, left: float) -> NoReturn:
        self._tally.refusals += 1
        raise RunInProgress(ledger.result, left)

    def _run(self, ledger: Ledger, mark: str, fence: int, sent: float) -> Run:
        return Run(ledger, mark, fence, seconds=self._lease, sent=sent, tally=self._tally)

    async def _ended(self, ledger: Ledger, seconds: float) -> None:
        """Return when the run of another may have ended; pushed awake."""
        async with self._client.watch(ledger.run) as watch:
            if watch.value is None:
                return
            if watch.expires is not None:  # expiries are pushed late: the timer is the net
                now = asyncio.get_running_loop().time()
                seconds = min(seconds, watch.expires - now + _LATE)
            await watch.changed(max(seconds, 0.001))

    def _withdraw(self, ledger: Ledger, mark: str) -> None:
        """Give up what Redis may have given us; queued now, and repeated until it is confirmed."""
        give_up = partial(ledger.give_up, mark)
        try:
            future = give_up()
        except (BackendError, ClosedError, ConfigError):
            return
        future.add_done_callback(partial(_repeat, give_up, self._lease))

    # -- replaying ----------------------------------------------------------------------------

    def _replay(self, ledger: Ledger, digest: str, record: bytes) -> T:
        if read_digest(record) != digest:
            self._mismatch(ledger)
        self._tally.replays += 1
        return cast("T", read_result(self._codec, ledger.result, record))

    def _mismatch(self, ledger: Ledger) -> NoReturn:
        self._tally.mismatches += 1
        raise FingerprintMismatch(ledger.result)

    def _named(self, key: Key) -> str:
        if key in ("", ("",)):  # no set: what is no key may have no hash
            raise ConfigError("an idempotency key must not be empty: it tells requests apart")
        return self._key(key)


def _repeat(
    give_up: Callable[[], asyncio.Future[int]], seconds: float, future: asyncio.Future[int]
) -> None:
    if not future.cancelled() and isinstance(future.exception(), BackendError):
        give_back(give_up, seconds)


def _wait(wait: float | timedelta) -> float:
    if type(wait) in {int, float} and wait == 0:
        return 0.0
    return seconds(wait, "wait")
