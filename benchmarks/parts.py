"""Where a microsecond goes: the parts of a call, a hit and a decision, each timed by itself.

`python -m benchmarks parts` prints them, `--publish` keeps them as the project's own and writes the
tables in docs/explanation/performance.md. Each is the best of several repetitions of a loop in one
process, the loop's own cost included; they add up roughly, not exactly, since a part by itself has
the processor's caches to itself.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hiredis
import msgspec
import uvloop

from benchmarks import held
from benchmarks.environment import describe
from benchmarks.keys import KEY_PREFIX
from benchmarks.readme import replace_table
from benchmarks.server import opened_server
from benchmarks.source import Product
from millpond import Cache, CachePolicy, Client, Limiter, Locks, NearCache, SlidingWindow
from millpond.core.entry import HEAD_SIZE
from millpond.core.exchange import Exchange, pack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["FIGURES", "PAGE", "Parts", "measure", "publish", "render"]

ROOT = Path(__file__).parent.parent
FIGURES = Path(__file__).parent / "measured_parts.json"
PAGE = ROOT / "docs" / "explanation" / "performance.md"

_LOOPS = 20_000
_REPEATS = 7
_TASKS = 100
_APART = 7919  # between the numbers that two tasks begin with
_PRODUCT = Product(
    id=1,
    name="A kettle",
    description="x" * 140,
    department=7,
    price_cents=1999,
    version=1,
    similar=12,
    similar_average_cents=2100,
)


class Parts(msgspec.Struct):
    """What was measured, in microseconds, and on what."""

    machine: str
    parts: list[tuple[str, str, float]]  # group, part, microseconds
    waiting: held.Held | None = None  # what a request holds that waits


def measure(url: str | None) -> Parts:
    """Time every part, on uvloop.

    Args:
        url: A server; None: a private one.
    """
    with opened_server(url) as server:
        parts = uvloop.run(_measure(server.url))
        waiting = uvloop.run(held.measure(server.url))
        server.remove_keys()
        where = describe(server)
    machine = (
        f"{where['cpu']}, {where['python']}, uvloop, {where['server']['name']} "
        f"{where['server']['version']} over {where['server']['transport']}, {where['time'][:10]}"
    )
    return Parts(machine, parts, waiting)


def render(parts: Parts) -> str:
    """Write the table of the page."""
    lines = [f"{parts.machine}. Only the proportions travel.", "", "| | | µs |", "|---|---|--:|"]
    last = ""
    for group, part, cost in parts.parts:
        lines.append(f"| {group if group != last else ''} | {part} | {cost:.2f} |")
        last = group
    return "\n".join([*lines, ""])


def publish(parts: Parts) -> None:
    """Keep the figures, and write the page's tables from them."""
    FIGURES.write_bytes(msgspec.json.format(msgspec.json.encode(parts), indent=1) + b"\n")
    replace_table(PAGE, render(parts), "parts")
    replace_table(PAGE, held.render(parts.waiting), "held")


async def _measure(url: str) -> list[tuple[str, str, float]]:
    found: list[tuple[str, str, float]] = []

    def add(group: str, part: str, cost: float) -> None:
        found.append((group, part, cost))

    loop = asyncio.get_running_loop()
    floor = "the floor"
    add(floor, "a future, resolved, and the task that awaits it woken", await _woken(loop))
    add(floor, "packing a GET by hiredis", _timed(lambda: pack(("GET", "key:123"))))
    add(floor, "parsing its reply", _parsed(_TASKS))
    add(floor, "the same, with 10,000 replies given to the parser at once", _parsed(10_000))
    add(floor, "decoding a 200-byte struct", _decoded())
    exchange, reply = _exchange(loop)
    add("`client.call`", "checking, framing and queueing a GET", _queued(exchange))
    add("`client.call`", "finding whose the reply is", _matched(exchange, reply))
    async with Client.from_url(url, prefix=KEY_PREFIX, hooks=[]) as client:
        cache = Cache(client, "c", type=Product, ttl=60)
        near = Cache(
            client, "n", type=Product, ttl=60, policy=CachePolicy(near=NearCache(heartbeat=60))
        )
        await cache.set(1, _PRODUCT)
        await near.set(1, _PRODUCT)
        await near.get(1)
        limiter = Limiter(client, "l", SlidingWindow(1, per=60))
        await limiter.hit("a")
        await limiter.hit("a")
        await cache.set_many(dict.fromkeys(range(1000), _PRODUCT))
        wide = Limiter(client, "w", SlidingWindow(1_000, per=60))

        async def load() -> Product:
            return _PRODUCT

        whole = f"whole, {_TASKS} tasks"
        add("a hit", "naming its key", _timed(lambda: cache.key(123)))
        before = await _scripts(client)
        asked = await _crowd(lambda n: wide.hit(str(n % 1000)))
        served = (await _scripts(client) - before) / (_REPEATS * _LOOPS)
        add("a decision", "naming its key", _timed(lambda: wide.key("123")))
        add("a decision", "the script, by the server's own count", served)
        add(
            whole,
            "`client.call('GET')`, server included",
            await _crowd(lambda n: client.call("GET", f"{KEY_PREFIX}:c:{n % 1000}")),
        )
        add(whole, "`get_or_set`, a hit", await _crowd(lambda n: cache.get_or_set(n % 1000, load)))
        add(whole, "`hit` of an exact window", asked)
        locks = Locks(client, "k")

        async def hold(number: int) -> None:
            async with locks.hold(number // _APART):
                pass

        add(whole, "`hold`, a lock taken and released", await _crowd(hold))
        one = "whole, one task"
        add(one, "`get`, a near hit of a frozen value", await _alone(lambda: near.get(1)))
        add(one, "`hit`, denied from memory", await _alone(lambda: limiter.hit("a")))
    return found


async def _scripts(client: Client) -> int:
    """Return the microseconds that the server has spent in scripts."""
    told = cast("bytes", await client.call("INFO", "commandstats")).decode()
    spent = re.findall(r"(?m)^cmdstat_eval(?:sha)?:calls=\d+,usec=(\d+)", told)
    return sum(map(int, spent))


def _timed(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        for _ in range(_LOOPS):
            call()
        best = min(best, time.perf_counter() - began)
    return best / _LOOPS * 1e6


async def _alone(call: Callable[[], Awaitable[object]]) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        for _ in range(_LOOPS):
            await call()
        best = min(best, time.perf_counter() - began)
    return best / _LOOPS * 1e6


async def _crowd(call: Callable[[int], Awaitable[object]]) -> float:
    async def task(place: int) -> None:
        for number in range(_LOOPS // _TASKS):
            await call(place * _APART + number)

    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        await asyncio.gather(*[task(place) for place in range(_TASKS)])
        best = min(best, time.perf_counter() - began)
    return best / _LOOPS * 1e6


async def _woken(loop: asyncio.AbstractEventLoop) -> float:
    async def task() -> None:
        for _ in range(_LOOPS // _TASKS):
            future = loop.create_future()
            waiting.append(future)
            await future

    waiting: list[asyncio.Future[None]] = []

    async def wake(tasks: list[asyncio.Task[None]]) -> None:
        while not all(task.done() for task in tasks):
            ready, waiting[:] = list(waiting), []
            for future in ready:
                future.set_result(None)
            await asyncio.sleep(0)

    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        tasks = [asyncio.ensure_future(_as_coroutine(task())) for _ in range(_TASKS)]
        await wake(tasks)
        best = min(best, time.perf_counter() - began)
    return best / _LOOPS * 1e6


async def _as_coroutine(work: Coroutine[Any, Any, None]) -> None:
    await work


def _parsed(together: int) -> float:
    reader = hiredis.Reader()
    data = (b"$200\r\n" + b"x" * 200 + b"\r\n") * together
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        for _ in range(max(1, _LOOPS // together)):
            reader.feed(data)
            for _ in range(together):
                reader.gets()
        best = min(best, time.perf_counter() - began)
    return best / max(_LOOPS, together) * 1e6


def _decoded() -> float:
    decoder, payload = msgspec.msgpack.Decoder(Product), msgspec.msgpack.encode(_PRODUCT)
    entry = bytes(HEAD_SIZE) + payload
    return _timed(lambda: decoder.decode(entry[HEAD_SIZE:]))


def _exchange(loop: asyncio.AbstractEventLoop) -> tuple[Exchange, bytes]:
    exchange = Exchange(
        future=loop.create_future, wake=lambda: None, on_push=lambda _: None, limit=10_000
    )
    return exchange, (b"$200\r\n" + b"x" * 200 + b"\r\n") * _TASKS


def _queued(exchange: Exchange) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        spent = 0.0
        for _ in range(_LOOPS // _TASKS):
            began = time.perf_counter()
            for number in range(_TASKS):
                exchange.issue("GET", f"key:{number}")
            exchange.take(0.0)
            spent += time.perf_counter() - began
            exchange.feed(b"+OK\r\n" * _TASKS)
        best = min(best, spent)
    return best / _LOOPS * 1e6


def _matched(exchange: Exchange, replies: bytes) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        spent = 0.0
        for _ in range(_LOOPS // _TASKS):
            for number in range(_TASKS):
                exchange.issue("GET", f"key:{number}")
            exchange.take(0.0)
            began = time.perf_counter()
            exchange.feed(replies)
            spent += time.perf_counter() - began
        best = min(best, spent)
    return best / _LOOPS * 1e6
