"""What a request holds while it waits behind a rate limit: objects for the garbage collector.

A full collection looks through every object that there is, and is due when enough of them have
outlived the quick ones. A request that never waits is gone before any. What one holds that does
wait is counted here, by having a hundred of them wait at once; it depends on nothing but versions.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.keys import KEY_PREFIX
from millpond import Client, Limiter, SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Held", "measure", "render"]

_REQUESTS = 100


class Held(msgspec.Struct):
    """What was counted, and with which versions."""

    versions: str
    objects: list[tuple[str, int]]  # where it waits, objects of one request


async def measure(url: str) -> Held | None:
    """Count them; None where FastAPI is not installed.

    Args:
        url: A server.
    """
    if importlib.util.find_spec("fastapi") is None:
        return None
    async with Client.from_url(url, prefix=KEY_PREFIX, hooks=[]) as client:
        limiter = Limiter(client, "held", SlidingWindow(_REQUESTS * 10, per=1))
        objects = [(where, await _held(app)) for where, app in _applications(limiter).items()]
    packages = ", ".join(f"{name} {version(name)}" for name in ("fastapi", "starlette"))
    return Held(f"{packages}, CPython {platform.python_version()}", objects)


def render(held: Held | None) -> str:
    """Write the table of the page."""
    if held is None:
        return ""
    lines = [f"{held.versions}.", "", "| a request that waits in | objects |", "|---|--:|"]
    return "\n".join([*lines, *(f"| {where} | {count} |" for where, count in held.objects), ""])


def _applications(limiter: Limiter) -> dict[str, Callable[..., Any]]:
    """Make one for each place to wait in, from the outermost to the innermost."""
    from fastapi import Depends, FastAPI, Request, Response  # noqa: PLC0415 - it may be absent

    from millpond.ext.fastapi import LimitMiddleware, limit  # noqa: PLC0415

    async def wait(request: Any, response: Any) -> None:
        del request, response
        await asyncio.get_running_loop().create_future()

    wait.__annotations__.update(request=Request, response=Response)

    async def handle() -> dict[str, bool]:
        return {"ok": True}

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive, send
        await asyncio.get_running_loop().create_future()

    def routed(*dependencies: Any) -> FastAPI:
        app = FastAPI()
        app.get("/", dependencies=dependencies)(handle)
        return app

    in_front = routed()
    in_front.add_middleware(LimitMiddleware, limiter=limiter)
    return {
        "an ASGI application of three lines": bare,
        "`LimitMiddleware`": in_front,
        "a dependency that awaits one future, without millpond": routed(Depends(wait)),
        "`Depends(limit(...))`": routed(Depends(limit(limiter))),
    }


async def _held(app: Callable[..., Any]) -> int:
    """Have requests wait, and count what is there more than before."""
    await _waiting(app, 1)  # what is made once
    gc.collect()
    before = len(gc.get_objects())
    return round((await _waiting(app, _REQUESTS) - before) / _REQUESTS)


async def _waiting(app: Callable[..., Any], requests: int) -> int:
    tasks = [asyncio.create_task(app(_scope(), _receive, _send)) for _ in range(requests)]
    await asyncio.sleep(0)  # all have come to where they wait, and no answer has come yet
    gc.collect()
    count = len(gc.get_objects())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return count


def _scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"bench")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None:
    del message
