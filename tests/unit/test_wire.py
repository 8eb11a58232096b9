"""The wire's judgement of a server's health, on a loop but without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond.core.exchange import pack
from millpond.core.wire import Lost, Wire
from millpond.errors import BackendTimeout, BackendUnavailable
from tests.support.conversation import bulk, text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.both_loops

TIMEOUT = 0.05


class Transport(asyncio.WriteTransport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


class Scene:
    """A wire that is connected to nothing."""

    def __init__(self) -> None:
        self.losses: list[Lost] = []
        self.transport = Transport()
        self.wire = Wire(
            asyncio.get_running_loop(),
            address="nowhere",
            timeout=TIMEOUT,
            limit=1000,
            on_push=lambda _: None,
            on_lost=lambda _, lost: self.losses.append(lost),
        )
        self.wire.connection_made(self.transport)

    def call(self, *args: str) -> asyncio.Future[Any]:
        return self.wire.exchange.call(args)

    def later(self, turns: int, data: bytes) -> None:
        """Let bytes be read so many turns of the loop from now."""
        if turns:
            asyncio.get_running_loop().call_soon(self.later, turns - 1, data)
        else:
            self.wire.data_received(data)


@pytest.mark.parametrize(("asked", "at_once"), [(5, 5), (10, 8), (30, 15), (500, 64)])
async def test_half_of_what_is_unanswered_is_resolved_in_a_turn(asked: int, at_once: int) -> None:
    scene = Scene()
    answers = [scene.call("ECHO", str(number)) for number in range(asked)]
    await asyncio.sleep(0)
    scene.wire.data_received(b"".join(bulk(str(number)) for number in range(asked)))
    assert sum(answer.done() for answer in answers) == at_once
    assert await asyncio.gather(*answers) == [str(number).encode() for number in range(asked)]


async def test_bites_shrink_when_the_crowd_has_gone() -> None:
    scene = Scene()
    for asked, turns in ((100, 1), (30, 60)):
        at_once = 0
        for _ in range(turns):
            answers = [scene.call("ECHO", str(number)) for number in range(asked)]
            await asyncio.sleep(0)
            scene.wire.data_received(b"".join(bulk(str(number)) for number in range(asked)))
            at_once = sum(answer.done() for answer in answers)
            await asyncio.gather(*answers)
        assert at_once == asked // 2


async def test_pushes_do_not_count_among_the_replies_of_a_turn() -> None:
    scene = Scene()
    answer = scene.call("ECHO", "x")
    await asyncio.sleep(0)
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"
    scene.wire.data_received(push * 200 + bulk("x"))
    assert answer.done()
    answers = [scene.call("ECHO", str(number)) for number in range(30)]
    await asyncio.sleep(0)
    scene.wire.data_received(b"".join(push + bulk(str(number)) for number in range(30)))
    assert sum(answer.done() for answer in answers) == 15
    await asyncio.gather(*answers)
    # Nor do they keep the loop for longer than so many take.
    answer = scene.call("ECHO", "x")
    await asyncio.sleep(0)
    scene.wire.data_received(push * 1000 + bulk("x"))
    assert not answer.done()
    assert await answer == b"x"


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_bytes_read_some_turns_after_the_timer_acquit_the_server(turns: int) -> None:
    """On some loops timers run before the sockets are polled."""
    scene = Scene()
    answer = scene.call("PING")
    await asyncio.sleep(0)
    scene.later(turns, b"+PONG\r\n")
    time.sleep(4 * TIMEOUT)
    assert await answer == b"PONG"
    await asyncio.sleep(0)
    assert scene.losses == []


async def test_silence_condemns_once_the_oldest_command_is_overdue() -> None:
    scene = Scene()
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = scene.call("PING")
    await asyncio.sleep(TIMEOUT / 2)
    younger = scene.call("PING")
    with pytest.raises(BackendTimeout, match="nowhere"):
        await answer
    assert TIMEOUT * 0.9 < loop.time() - began < TIMEOUT * 4
    assert isinstance(younger.exception(), BackendTimeout)
    [lost] = scene.losses
    assert lost.hung
    assert scene.transport.aborted


async def test_every_answer_gives_the_rest_another_timeout() -> None:
    scene = Scene()
    answers = [scene.call("PING") for _ in range(5)]
    for answer in answers:
        await asyncio.sleep(TIMEOUT * 0.6)
        scene.wire.data_received(b"+PONG\r\n")
        assert await answer == b"PONG"
    await asyncio.sleep(TIMEOUT * 2)  # nothing is asked, so nothing is owed
    assert scene.losses == []


async def test_full_socket_holds_commands_and_loses_none() -> None:
    scene = Scene()
    scene.wire.pause_writing()
    answers = [scene.call("ECHO", "1")]
    await asyncio.sleep(0)
    answers.append(scene.call("ECHO", "2"))
    await asyncio.sleep(TIMEOUT * 2)
    assert (scene.transport.written, scene.losses) == ([], [])
    scene.wire.resume_writing()
    assert text(b"".join(scene.transport.written)) == ["ECHO 1", "ECHO 2"]
    scene.wire.data_received(b"+1\r\n+2\r\n")
    assert await asyncio.gather(*answers) == [b"1", b"2"]


async def test_loss_is_told_once_and_with_every_command_failed() -> None:
    scene = Scene()
    sent = scene.call("PING")
    await asyncio.sleep(0)
    unsent = scene.call("PING")
    scene.wire.connection_lost(ConnectionResetError("reset by peer"))
    scene.wire.connection_lost(None)
    scene.wire.data_received(b"+PONG\r\n")
    assert [lost.hung for lost in scene.losses] == [False]
    for future, words in ((sent, "whether the command ran is unknown"), (unsent, "nothing was")):
        error = future.exception()
        assert isinstance(error, BackendUnavailable)
        assert "reset by peer" in str(error)
        assert words in str(error)


async def test_first_write_and_first_reply_are_told_once() -> None:
    scene = Scene()
    told: list[str] = []
    scene.wire.on_first_write = lambda: told.append("write")
    scene.wire.on_first_reply = lambda: told.append("reply")
    for _ in range(2):
        scene.call("PING")
        await asyncio.sleep(0)
        scene.wire.data_received(b"+PONG\r\n")
    assert told == ["write", "reply"]


async def take_slowly(scene: Scene, size: int, peer: socket.socket, turns: int) -> None:
    """Read a command of so many bytes in so many pieces, one every third of the timeout."""
    loop = asyncio.get_running_loop()
    left, piece = size, -(-size // turns)
    while left > 0 and not scene.losses:
        await asyncio.sleep(TIMEOUT / 3)
        taken = 0
        while taken < min(piece, left) and not scene.losses:
            async with asyncio.timeout(1):
                taken += len(await loop.sock_recv(peer, piece))
        left -= taken


@contextlib.asynccontextmanager
async def pair() -> AsyncGenerator[tuple[Scene, socket.socket]]:
    """A wire with a real socket, and the socket's other end."""
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    scene = Scene()
    await asyncio.get_running_loop().create_connection(lambda: scene.wire, sock=ours)
    with peer:
        yield scene, peer
        await scene.wire.aclose()


async def test_server_that_takes_a_large_value_slowly_is_waited_for() -> None:
    async with pair() as (scene, peer):
        command = ("SET", "k", "v" * 4_000_000)
        answer = scene.call(*command)
        began = time.monotonic()
        await take_slowly(scene, len(pack(command)), peer, 12)
        assert time.monotonic() - began > 2 * TIMEOUT
        assert scene.losses == []
        peer.send(b"+OK\r\n")
        assert await answer == b"OK"


async def test_server_that_takes_no_more_of_a_large_value_is_condemned_in_one_timeout() -> None:
    async with pair() as (scene, peer):
        scene.call("PING")
        await asyncio.sleep(TIMEOUT / 4)
        peer.send(b"+PONG\r\n")
        answer = scene.call("SET", "k", "v" * 4_000_000)
        began = time.monotonic()
        with pytest.raises(BackendTimeout):
            await answer
        assert TIMEOUT * 0.9 < time.monotonic() - began < TIMEOUT * 1.9


async def test_small_commands_that_a_hung_server_never_reads_are_no_sign_of_life() -> None:
    async with pair() as (scene, _):
        began = time.monotonic()
        answer = scene.call("PING")
        while not answer.done():
            scene.call("PING").add_done_callback(lambda call: call.exception())
            await asyncio.sleep(TIMEOUT / 10)
        assert isinstance(answer.exception(), BackendTimeout)
        assert time.monotonic() - began < TIMEOUT * 1.9
