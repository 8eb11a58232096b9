"""One fresh process: reads its order from stdin, drives one subject, answers on stdout.

A process that has measured something is never used again, so no subject inherits another's heap,
caches, connections or garbage collector. Every subject runs on uvloop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import signal

import uvloop

from benchmarks.channel import Channel, Order
from benchmarks.scenarios import scenario

__all__ = ["main"]


async def main() -> None:
    """Receive the order and do it."""
    channel = Channel()
    listening = asyncio.create_task(channel.listen())
    try:
        order = await channel.receive(Order)
        if order is not None:
            if order.alone and importlib.util.find_spec("millpond") is not None:
                raise RuntimeError(f"the environment of {order.subject} must not have millpond")
            await scenario(order.scenario).work(order, channel)
    finally:
        listening.cancel()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(main())
