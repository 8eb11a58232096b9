"""Random crowds before random responses: nobody is given what was made for somebody else.

Visitors of two processes ask for few pages, some with a tag of the headers that the key has, while
the application changes its mind about who its responses are for, writes commit and are deleted, and
visitors are cancelled wherever they are. What must hold is looked at in every answer:

- what says that it is private, sets a cookie or varies by what the key does not have reaches the
  visitor that it was made for and no other;
- no page is older than a delete that was acknowledged before its request (an error is no page);
- nobody waits for ever, and no run outlives its visitors.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from millpond import CachePolicy
from tests.support.fleet import until
from tests.support.site import Branch, Visit

PATHS = ("/a", "/b", "/c")
OWN = (
    (200, (b"cache-control", b"private")),
    (200, (b"cache-control", b"no-store")),
    (200, (b"set-cookie", b"id=1")),
    (200, (b"vary", b"x-visitor")),
    (403, (b"x-other", b"1")),
    (500, (b"set-cookie", b"id=1")),
)
SHARED = ((200, (b"cache-control", b"s-maxage=60")), (200, (b"x-other", b"1")), (503, (b"x", b"1")))


class Shop:
    """Rows, and an application that shows one of them: to everybody, or to who asks."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.rows = dict.fromkeys(PATHS, 0)
        self.running = 0
        self.kinds = {"own": 0, "shared": 0}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        visitor = dict(scope["headers"])[b"x-visitor"]
        self.running += 1
        try:
            row = self.rows[scope["path"]]  # a transaction of its own, begun inside the run
            await self.pause()
            own = self.dice.random() < 0.4
            status, header = self.dice.choice(OWN if own else SHARED)
            self.kinds["own" if own else "shared"] += 1
            whom = visitor if own else b"everybody"
            headers = [header, (b"x-whom", whom)]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await self.pause()
            text = b"%d" % row
            if self.dice.random() < 0.5:
                await send({"type": "http.response.body", "body": text, "more_body": True})
                await self.pause()
                text = b""
            await send({"type": "http.response.body", "body": text})
        finally:
            self.running -= 1

    async def pause(self) -> None:
        for _ in range(self.dice.randrange(12)):
            await asyncio.sleep(0)


class Crowd:
    """Visitors, each of whom checks what he is given."""

    def __init__(self, shop: Shop, branches: list[Branch]) -> None:
        self.shop = shop
        self.branches = branches
        self.acknowledged = dict.fromkeys(PATHS, 0)
        self.answered = self.cancelled = 0

    async def visit(self, number: int) -> None:
        dice = self.shop.dice
        path, me = dice.choice(PATHS), b"%d" % number
        floor = self.acknowledged[path]
        headers = [(b"x-visitor", me)]
        if dice.random() < 0.3:
            headers.append((b"accept", b"%d" % dice.randrange(2)))
        visit = Visit(dice.choice(self.branches).app, path, *headers)
        if dice.random() < 0.2:
            await self.shop.pause()
            visit.task.cancel()
            await asyncio.wait([visit.task])
            self.cancelled += 1
            if not visit.complete:
                return
        await visit
        assert visit.headers[b"x-whom"] in (me, b"everybody")
        assert visit.status == 503 or int(visit.body) >= floor
        self.answered += 1

    async def write(self) -> None:
        dice = self.shop.dice
        path = dice.choice(PATHS)
        self.shop.rows[path] += 1  # commits
        committed = self.shop.rows[path]
        if await dice.choice(self.branches).cache.delete(f"https://shop.example{path}"):
            self.acknowledged[path] = max(self.acknowledged[path], committed)


@pytest.mark.parametrize("vary", [(), ("accept",)], ids=["by URL", "by variant"])
@pytest.mark.parametrize("stale", [0, 60], ids=["fresh", "stale on error"])
@pytest.mark.parametrize("seed", range(4))
async def test_nobody_is_given_what_was_made_for_another_or_before_a_delete(
    url: str, seed: int, stale: int, vary: tuple[str, ...]
) -> None:
    dice = random.Random(seed)
    shop = Shop(dice)
    policy = CachePolicy(stale_if_error=stale)
    options: dict[str, Any] = {"vary": vary, "pass_ttl": 0.002, "policy": policy}
    async with Branch(url, shop, **options) as one, Branch(url, shop, **options) as other:
        crowd = Crowd(shop, [one, other])
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for number in range(600):
                tasks.create_task(crowd.visit(number))
                if dice.random() < 0.1:
                    tasks.create_task(crowd.write())
                if dice.random() < 0.3:
                    await shop.pause()
        await until(lambda: not shop.running)
        hits = one.cache.statistics().hits + other.cache.statistics().hits
    assert crowd.answered > 400
    assert hits > 20
    assert min(crowd.cancelled, *shop.kinds.values()) > 20
