"""A FastAPI application under load: uvicorn in one process, the callers in another.

The server's process runs one uvicorn worker on uvloop, with httptools where that is installed, as
`uvicorn` does by itself. The callers keep their connections open and send the next request when
they have the answer (a closed loop), from a client that knows just enough HTTP for that: a real
one would take more of the second core than the application takes of the first.
"""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, cast

import msgspec

from benchmarks import throughput
from benchmarks.throughput import Loop, Ready, Sample, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.channel import Channel
    from benchmarks.results import Result
    from benchmarks.session import Plan, Session
    from benchmarks.subjects import Role

__all__ = ["FROZEN", "PRODUCTS", "compare", "work"]

PRODUCTS = 1000  # that are asked for, drawn uniformly
FROZEN = "after gc.freeze()"
"""The setting in which applications do that when they have started."""
_CONNECTIONS = 64
_SERVER, _CALLERS = 0, 1


class Listening(msgspec.Struct, frozen=True):
    """The server's port."""

    port: int


class Served(msgspec.Struct, frozen=True):
    """What serving cost, from the first request to the last."""

    cpu_seconds: float
    requests: int
    rss_mib: float


async def compare(
    session: Session,
    scenario: str,
    role: Role,
    plan: Plan,
    *,
    rounds: int = 3,
    frozen: bool = False,
) -> list[Result]:
    """Measure each subject's application, in turns; latencies are the callers'.

    Args:
        session: The server, the ledger and the display.
        scenario: Whose `work` the processes run.
        role: Which of the subjects' adapters they drive.
        plan: The subjects, and what goes over the next.
        rounds: How often each subject gets fresh processes.
        frozen: Whether to measure all of them once more, `FROZEN`; not in a quick run.
    """

    async def serve(subject: str, setting: Setting, seconds: float) -> Sample:
        order = Loop(tasks=setting.tasks, seconds=seconds, name=setting.name)
        async with session.team(scenario, role, subject, order, size=2) as team:
            listening = await team.receive_from(_SERVER, Listening)
            await team.receive_from(_CALLERS, Ready)
            await team.send(listening)
            sample = await team.receive_from(_CALLERS, Sample)
            await team.send(Ready())
            served = await team.receive_from(_SERVER, Served)
        return msgspec.structs.replace(
            sample,
            cpu_us=served.cpu_seconds / max(served.requests, 1) * 1e6,
            rss_mib=served.rss_mib,
        )

    settings = [Setting(tasks=_CONNECTIONS)]
    if frozen and not plan.quick:
        settings.append(Setting(tasks=_CONNECTIONS, name=FROZEN))
    return await throughput.compare(
        session, scenario, role, plan, settings, seconds=2.0, rounds=rounds, measure=serve
    )


async def work(
    index: int, loop: Loop, channel: Channel, application: Callable[[], Any], path: str
) -> None:
    """Serve, or call.

    Args:
        index: Of this process.
        loop: How many connections, for how long.
        channel: To the parent.
        application: Makes the application; called by the server only.
        path: What is asked for; `{}` in it is replaced by a product's number.
    """
    if index == _SERVER:
        await _serve(application(), channel, frozen=loop.name == FROZEN)
        return
    channel.send(Ready())
    listening = await channel.receive(Listening)
    if listening is None:
        return
    callers = _Callers(listening.port, path)
    await callers.open(loop.tasks)
    channel.send(await throughput.closed_loop(callers.call, callers.draw, loop))
    callers.close()


async def _serve(application: Any, channel: Channel, *, frozen: bool) -> None:
    import uvicorn  # noqa: PLC0415 - the server's process alone has it

    counted = _Counted(application)
    config = uvicorn.Config(
        cast("Any", counted), log_level="warning", access_log=False, lifespan="on", loop="none"
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        if serving.done():
            await serving
            raise RuntimeError("the application did not start")
        await asyncio.sleep(0.01)
    if frozen:
        gc.collect()
        gc.freeze()
    # It has taken over Ctrl-C, which is for the parent to deal with.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel.send(Listening(int(listener.getsockname()[1])))
    begun = time.process_time()
    if await channel.receive(Listening) is not None:
        await channel.receive(Ready)
        channel.send(
            Served(
                cpu_seconds=time.process_time() - begun,
                requests=counted.requests,
                rss_mib=throughput.peak_rss_mib(),
            )
        )
    server.should_exit = True
    await serving


class _Counted:
    """The application, and how many requests it got."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests += scope["type"] == "http"
        await self._application(scope, receive, send)


class _Callers:
    """Connections that are free, one taken for each call."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        drawn = random.Random(1)
        self._requests = [
            f"GET {path.format(drawn.randrange(PRODUCTS))} HTTP/1.1\r\nhost: bench\r\n\r\n".encode()
            for _ in range(10 * PRODUCTS)
        ]
        self._next = 0
        self._free: list[_Connection] = []
        self._all: list[_Connection] = []

    async def open(self, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
            self._all.append(connection)
        self._free = list(self._all)

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def draw(self) -> bytes:
        self._next = (self._next + 1) % len(self._requests)
        return self._requests[self._next]

    async def call(self, request: bytes) -> None:
        connection = self._free.pop()
        await connection.call(request)
        self._free.append(connection)


class _Connection(asyncio.Protocol):
    """One request at a time, answered with 200 and a content-length."""

    def __init__(self) -> None:
        self._data = b""
        self._missing = -1  # bytes of the body to come; -1: the head is not complete
        self._answer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def close(self) -> None:
        self._transport.close()

    def call(self, request: bytes) -> asyncio.Future[None]:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._data += data
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._data[:end].lower(), self._data[end + 4 :]
            self._data = b""
            if not head.startswith(b"http/1.1 200"):
                self._fail(f"not 200: {head[:80]!r} {data[:200]!r}")
                return
            at = head.find(b"content-length:")
            if at < 0:
                self._fail(f"no content-length: {head!r}")
                return
            self._missing = int(head[at + 15 :].split(b"\r\n", 1)[0])
        self._missing -= len(data)
        if self._missing <= 0 and self._answer is not None:
            self._missing = -1
            self._answer.set_result(None)

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(RuntimeError(reason))
