"""`outage`: what a read through the cache costs while Redis refuses, hangs, is slow or is gone.

Each subject has a proxy before a server of its own. It fills its cache and reads; then the fault
sets in, and a call begins every 100 ms for three seconds, whether those before it have ended or
not (an open loop). The source of truth answers at once, so a call's time is what the cache adds.
A call is given up after 12 seconds, and counts as those.

- refused: connections are cut, new ones refused, as when the server's process ends.
- hung: the server is stopped (SIGSTOP); the kernel still accepts connections for it.
- slow: every reply comes 300 ms late.
- black hole: nothing is answered, not even an attempt to connect, as when a route is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

import msgspec

from benchmarks import subjects
from benchmarks.faults import FaultyProxy
from benchmarks.results import Result, percentile
from benchmarks.source import Product, sample
from benchmarks.throughput import Ready, Setting, failed
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.session import Plan, Session
    from benchmarks.subjects import Shop
    from millpond.core.embedded import EmbeddedServer

__all__ = ["NEEDS", "QUICK", "SUBJECTS", "SUMMARY", "run", "work"]

SUMMARY = "reads while the server refuses, hangs, is slow or out of reach: milliseconds a call"
NEEDS: Final = "shop"
SUBJECTS: tuple[str, ...] = ("recipe", "cashews", "aiocache", "millpond")
QUICK: tuple[str, ...] = ()

_Fault: TypeAlias = Literal["refused", "hung", "slow", "black hole"]

_SECONDS = 3.0
_EVERY = 0.1  # seconds
_SLOW = 0.3  # seconds
_GIVEN_UP = 12.0  # seconds
_TTL = 60.0


class Options(msgspec.Struct, frozen=True):
    """What a worker needs to know."""

    seconds: float


class Failing(msgspec.Struct, frozen=True):
    """The fault has set in."""


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the calls of one subject under one fault."""

    took_ms: list[float]  # in the order in which they began
    errors: int
    loads: int


async def run(session: Session, plan: Plan) -> list[Result]:
    """Let every subject live through every fault."""
    rounds = plan.rounds or 1
    options = Options(plan.seconds or _SECONDS)
    faults: tuple[_Fault, ...] = get_args(_Fault)
    session.progress.begin("outage", len(faults) * rounds * len(plan.subjects))
    results: list[Result] = []
    for fault in faults:
        setting = Setting(name=fault, tasks=1)

        async def suffer(subject: str, number: int, fault: _Fault = fault) -> Calls:
            del number
            return await _suffer(session, subject, fault, options)

        taken = await take_turns(
            session, "outage", plan.subjects, suffer, Calls, rounds=rounds, setting=setting.label
        )
        for subject, some in taken.items():
            if not some:
                results.append(failed(session, "outage", subject, setting))
                continue
            results.append(_summary(subject, fault, some))
            session.progress.say(
                f"outage · {fault:<10} · {subject:<16} p50 {results[-1].p50_ms:,.1f} ms, "
                f"max {results[-1].max_ms:,.1f} ms, {results[-1].errors:.0%} raised"
            )
    return results


async def work(order: Order, channel: Channel) -> None:
    """Read, say so, and read on while the server fails."""
    options = order.read(Options)
    made = subjects.make(order.adapter, order.url, tasks=10, ttl=_TTL)
    shop = cast("Shop", made)
    await shop.open()
    await shop.store(sample(7))
    caller = _Caller(shop)
    await caller.call()
    if caller.errors or caller.loads:
        raise RuntimeError(f"{order.subject} did not read what it had stored")
    channel.send(Ready())
    if await channel.receive(Failing) is None:
        return
    channel.send(await caller.calls(options.seconds))
    # Closing a client whose server is out of reach is not what this measures, and may take long.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(2.0):
            await shop.aclose()


class _Caller:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.errors = self.loads = 0

    async def calls(self, seconds: float) -> Calls:
        running: list[asyncio.Task[float]] = []
        begun = time.monotonic()
        for number in range(round(seconds / _EVERY)):
            # By the clock, not after the call before: a slow call must not hide those behind it.
            await asyncio.sleep(begun + number * _EVERY - time.monotonic())
            running.append(asyncio.create_task(self.call()))
        took = await asyncio.gather(*running)
        return Calls(took_ms=took, errors=self.errors, loads=self.loads)

    async def call(self) -> float:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(_GIVEN_UP):
                await self._shop.fetch(7, self._load)
        except Exception:  # noqa: BLE001 - whatever the library raises reaches the handler
            self.errors += 1
        return round((time.monotonic() - begun) * 1e3, 3)

    async def _load(self) -> Product:
        self.loads += 1
        return sample(7)


async def _suffer(session: Session, subject: str, fault: _Fault, options: Options) -> Calls:
    # Imported here: a rival's worker reads this module, too, and must not import millpond.
    from benchmarks.server import private_server  # noqa: PLC0415

    server = await asyncio.to_thread(private_server)
    with server:
        async with (
            FaultyProxy(server.port) as proxy,
            session.team(
                "outage", NEEDS, subject, options, url=f"redis://127.0.0.1:{proxy.port}/0"
            ) as team,
        ):
            await team.receive(Ready)
            try:
                await _break(fault, proxy, server)
                await team.send(Failing())
                (calls,) = await team.receive(Calls)
            finally:
                os.kill(server.pid, signal.SIGCONT)
    return calls


async def _break(fault: _Fault, proxy: FaultyProxy, server: EmbeddedServer) -> None:
    match fault:
        case "refused":
            await proxy.refuse()
        case "hung":
            os.kill(server.pid, signal.SIGSTOP)
        case "slow":
            proxy.slow_down(_SLOW)
        case "black hole":
            await proxy.swallow()


def _summary(subject: str, fault: str, taken: list[Calls]) -> Result:
    took = [one for calls in taken for one in calls.took_ms]
    return Result(
        subject=subject,
        tasks=1,
        processes=1,
        rounds=len(taken),
        setting=fault,
        p50_ms=percentile(took, 0.5),
        p99_ms=percentile(took, 0.99),
        max_ms=max(took),
        loads=sum(calls.loads for calls in taken),
        errors=round(sum(calls.errors for calls in taken) / len(took), 3),
    )
