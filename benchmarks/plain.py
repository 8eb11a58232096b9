"""Plain strings, one GET at a time: what the scenarios have in common that drive a bare client."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, cast

from benchmarks import subjects, throughput
from benchmarks.keys import KEY_PREFIX
from benchmarks.throughput import KEYS, Loop

if TYPE_CHECKING:
    from benchmarks.channel import Channel, Order
    from benchmarks.server import Server

__all__ = ["SIZE", "fill", "work"]

SIZE = 200  # bytes of a value


def fill(server: Server, size: int = SIZE, keys: int = KEYS) -> None:
    """Store the strings that `work` reads."""
    step = 1000 if size <= SIZE else 1
    for first in range(0, keys, step):
        server.fill({_key(size, one): _value(one, size) for one in range(first, first + step)})


async def work(order: Order, channel: Channel) -> None:
    """Measure one subject once; the order's `size` is that of the values, 0 for the usual one."""
    loop = order.read(Loop)
    size, keys = (loop.size, 64) if loop.size else (SIZE, KEYS)
    client = cast("subjects.Commands", subjects.make(order.adapter, order.url, tasks=loop.tasks))
    await client.open()
    try:
        reply = await client.get(_key(size, 7))
        if reply != _value(7, size):
            raise RuntimeError(f"{order.subject} read {reply!r:.200}")
        drawn = random.Random(1 + order.index)
        names = itertools.cycle([_key(size, drawn.randrange(keys)) for _ in range(10 * KEYS)])
        channel.send(await throughput.closed_loop(client.get, names.__next__, loop))
    finally:
        await client.aclose()


def _key(size: int, number: int) -> str:
    return f"{KEY_PREFIX}:get:{size}:{number}"


def _value(number: int, size: int) -> bytes:
    return f"value {number} ".encode().ljust(size, b".")
