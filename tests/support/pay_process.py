"""A process that pays under an idempotency key, told what to do by its arguments.

`once <url> <book> <key>`: begins a payment, says `begun`, waits for a line on stdin, writes the
payment down in the book and says what it was given.
`race <url> <book> <n>`: goes through the keys 0 to n-1, each in several tasks at once; says `done`.

The book is what is being paid from: a line for each payment, `<key> <pid>`.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from typing import TYPE_CHECKING

from millpond import Client, Idempotency, Run, RunInProgress
from millpond.errors import BackendError, LockLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LEASE = 0.5  # seconds


def write_down(book: str, key: str) -> None:
    out = os.open(book, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(out, f"{key} {os.getpid()}\n".encode())
    os.close(out)


def say(*words: object) -> None:
    print(*words, flush=True)


async def once(payments: Idempotency[str], book: str, key: str) -> None:
    """Pay once, when told to."""

    async def pay(run: Run) -> str:
        say("begun", run.fence)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        run.ensure_held()
        write_down(book, key)
        return f"paid by {os.getpid()}"

    try:
        say(await payments.run_once(key, pay))
    except LockLost as error:
        say("lost", error.reason)


def paying(book: str, key: str) -> Callable[[Run], Awaitable[str]]:
    async def pay(run: Run) -> str:
        await asyncio.sleep(random.choice([0, 0, 0.001]))
        write_down(book, key)
        return f"{key} {run.fence}"

    return pay


async def race(payments: Idempotency[str], book: str, count: int) -> None:
    """Pay what others pay, too."""
    answers: dict[str, set[str]] = {}

    async def insist(key: str) -> None:
        while True:
            try:
                answer = await payments.run_once(key, paying(book, key), wait=random.choice([0, 1]))
            except (RunInProgress, BackendError):
                await asyncio.sleep(random.uniform(0, 0.002))
            else:
                answers.setdefault(key, set()).add(answer)
                return

    for number in range(count):
        await asyncio.gather(*[insist(str(number)) for _ in range(3)])
    say("done", *[answer.replace(" ", ":") for each in answers.values() for answer in sorted(each)])


async def main(what: str, url: str, book: str, rest: str) -> None:
    """Do it."""
    async with Client.from_url(url, prefix="t", hooks=[]) as client:
        payments = Idempotency(client, "pay", type=str, ttl=600, lease=LEASE)
        await (once(payments, book, rest) if what == "once" else race(payments, book, int(rest)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
