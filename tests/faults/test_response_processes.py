"""Pages before real web servers in processes of their own: crowds, and one who is killed."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ROOT = Path(__file__).parents[2]


class WebServer:
    """One running process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().strip()

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()


@asynccontextmanager
async def web_servers(
    url: str, count: int, *, lease_ttl: float
) -> AsyncGenerator[tuple[httpx.AsyncClient, list[WebServer]]]:
    async with AsyncExitStack() as stack:
        running: list[WebServer] = []
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.page_process", url, str(lease_ttl)),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            one = WebServer(process)
            stack.push_async_callback(process.wait)
            stack.callback(one.kill)
            running.append(one)
        for one in running:
            one.port = int(await one.line())
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                headers={"Host": "shop.example"},
                trust_env=False,
                timeout=20,
                limits=httpx.Limits(max_connections=200),
            )
        )
        yield http, running


def crowd(http: httpx.AsyncClient, one: WebServer, size: int) -> list[asyncio.Task[httpx.Response]]:
    return [asyncio.create_task(http.get(f"http://127.0.0.1:{one.port}/page")) for _ in range(size)]


async def missed(http: httpx.AsyncClient, one: WebServer, requests: int) -> None:
    """Wait until so many have asked in vain, and wait for the page."""
    async with asyncio.timeout(10):
        while (await http.get(f"http://127.0.0.1:{one.port}/misses")).json() < requests:
            pass


async def test_crowds_before_two_web_servers_are_one_run(url: str) -> None:
    async with web_servers(url, 2, lease_ttl=5) as (http, (one, other)):
        first = crowd(http, one, 1)
        assert await one.line() == "run"
        rest = [*crowd(http, one, 40), *crowd(http, other, 40)]
        await missed(http, one, 41)
        await missed(http, other, 40)
        one.release()
        other.release()
        answers = await asyncio.gather(*first, *rest)
        assert {answer.json() for answer in answers} == {one.process.pid}


async def test_web_server_that_is_killed_costs_the_others_its_lease_and_no_request(
    url: str,
) -> None:
    async with web_servers(url, 2, lease_ttl=0.5) as (http, (one, other)):
        other.release()
        lost = crowd(http, one, 3)
        assert await one.line() == "run"
        waiting = crowd(http, other, 20)
        await missed(http, other, 20)
        assert not any(request.done() for request in waiting)
        one.kill()
        assert {(await request).json() for request in waiting} == {other.process.pid}
        assert await other.line() == "run"
        failures = await asyncio.gather(*lost, return_exceptions=True)
        assert all(isinstance(failure, httpx.TransportError) for failure in failures)
