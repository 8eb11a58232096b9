"""Watching without a socket: who is woken by which byte, and that no change is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client
from millpond.core.watch import Watch, Watches
from millpond.errors import BackendUnavailable, ClosedError, ConfigError, ReplyError
from tests.support.conversation import NULL, OK, ConversationBackend, bulk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

TRACKED_READ = ["CLIENT CACHING YES", "GET k", "PTTL k"]
NEVER = b":-1\r\n"
ABSENT = b":-2\r\n"


class Scene:
    """A client on a conversation, and tasks that do not outlive it."""

    def __init__(self, client: Client, backend: ConversationBackend) -> None:
        self.client = client
        self.backend = backend
        self.tasks: list[asyncio.Task[Any]] = []

    async def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run until it waits for something."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        await turns()
        return task

    def sent(self) -> list[str]:
        return self.backend.talk.sent()

    async def reads(self, value: bytes | None, ttl: bytes = NEVER) -> None:
        """Answer a tracked read."""
        assert self.sent() == TRACKED_READ
        self.backend.talk.answer(OK, NULL if value is None else bulk(value), ttl)
        await turns()

    async def enter(self, value: bytes | None, ttl: bytes = NEVER) -> Watch:
        watch = self.client.watch("k")
        task = await self.start(watch.__aenter__())
        await self.reads(value, ttl)
        assert await task is watch
        return watch


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    backend = ConversationBackend()
    async with Client(backend) as client:
        scene = Scene(client, backend)
        yield scene
        for task in scene.tasks:
            task.cancel()
        await asyncio.gather(*scene.tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("value", "pttl", "ttl"),
    [
        (b"v", b":1500\r\n", 1.5),
        (b"v", NEVER, None),
        (b"v", b":0\r\n", 0.0),
        (None, ABSENT, None),
        (b"", NEVER, None),
    ],
)
async def test_entering_reads_the_value_and_its_remaining_seconds(
    scene: Scene, value: bytes | None, pttl: bytes, ttl: float | None
) -> None:
    watch = await scene.enter(value, pttl)
    assert (watch.value, watch.ttl) == (value, ttl)
    assert (watch.expires is None) == (ttl is None)
    assert len(scene.client.watches) == 1
    await watch.__aexit__(None, None, None)
    assert len(scene.client.watches) == 0


async def test_key_that_expires_between_get_and_pttl_is_absent(scene: Scene) -> None:
    watch = await scene.enter(b"v", ABSENT)
    assert (watch.value, watch.ttl) == (None, None)


async def test_push_wakes_and_the_new_value_is_there(scene: Scene) -> None:
    watch = await scene.enter(b"old")
    waiting = await scene.start(watch.changed())
    assert scene.sent() == []
    scene.backend.push(b"other")
    await turns()
    assert scene.sent() == []
    scene.backend.push(b"k")
    await turns()
    await scene.reads(b"new", b":1000\r\n")
    assert await waiting is True
    assert (watch.value, watch.ttl) == (b"new", 1.0)


async def test_push_in_the_same_read_as_the_reply_is_not_lost(scene: Scene) -> None:
    watch = scene.client.watch("k")
    entering = await scene.start(watch.__aenter__())
    assert scene.sent() == TRACKED_READ
    scene.backend.talk.answer(OK, bulk("old"), NEVER)
    scene.backend.push(b"k")  # the reply is in, but no task has run yet
    await entering
    waiting = await scene.start(watch.changed())
    await scene.reads(b"new")
    assert await waiting is True


async def test_push_between_reply_and_await_is_not_lost(scene: Scene) -> None:
    watch = await scene.enter(b"old")
    scene.backend.push(b"k")
    waiting = await scene.start(watch.changed())
    await scene.reads(b"new")
    assert await waiting is True


async def test_push_while_the_key_is_read_again_reads_it_once_more(scene: Scene) -> None:
    watch = await scene.enter(b"1")
    waiting = await scene.start(watch.changed())
    scene.backend.push(b"k")
    await turns()
    assert scene.sent() == TRACKED_READ
    scene.backend.push(b"k")
    scene.backend.talk.answer(OK, bulk("1"), NEVER)
    await turns()
    await scene.reads(b"2")
    assert await waiting is True
    assert watch.value == b"2"


async def test_push_without_a_change_arms_again_in_silence(scene: Scene) -> None:
    watch = await scene.enter(b"v", b":1000\r\n")
    waiting = await scene.start(watch.changed())
    for ttl in (2, 3, 4):  # PEXPIRE pushes too
        scene.backend.push(b"k")
        await turns()
        await scene.reads(b"v", b":%d000\r\n" % ttl)
        assert not waiting.done()
        assert watch.ttl == float(ttl)
    scene.backend.push(b"k")
    await turns()
    await scene.reads(None, ABSENT)
    assert await waiting is True


async def test_null_push_wakes_everybody(scene: Scene) -> None:
    watch = await scene.enter(b"v")
    waiting = await scene.start(watch.changed())
    scene.backend.push()
    await turns()
    await scene.reads(None, ABSENT)
    assert await waiting is True


async def test_watchers_of_one_key_are_all_woken_and_leave_alone(scene: Scene) -> None:
    first, second = await scene.enter(b"v"), await scene.enter(b"v")
    await first.__aexit__(None, None, None)
    waiting = await scene.start(second.changed())
    scene.backend.push(b"k")
    await turns()
    await scene.reads(b"w")
    assert await waiting is True
    assert first.value == b"v"


async def test_timeout_ends_the_wait_without_a_read(scene: Scene) -> None:
    watch = await scene.enter(b"v")
    assert await watch.changed(timeout=0.001) is False
    assert await watch.changed(timeout=0) is False
    assert await watch.changed(timeout=-1) is False
    assert scene.sent() == []


async def test_change_is_found_even_with_no_time_left(scene: Scene) -> None:
    watch = await scene.enter(b"v")
    scene.backend.push(b"k")
    waiting = await scene.start(watch.changed(timeout=0))
    await scene.reads(b"w")
    assert await waiting is True


async def test_wait_cancelled_before_a_push_leaves_the_watch_usable(scene: Scene) -> None:
    watch = await scene.enter(b"v")
    (await scene.start(watch.changed())).cancel()
    await turns()
    scene.backend.push(b"k")
    waiting = await scene.start(watch.changed())
    await scene.reads(b"w")
    assert await waiting is True


async def test_wait_cancelled_between_push_and_read_leaves_the_change_to_be_found(
    scene: Scene,
) -> None:
    watch = await scene.enter(b"v")
    waiting = await scene.start(watch.changed())
    scene.backend.push(b"k")
    waiting.cancel()
    await turns()
    waiting = await scene.start(watch.changed())
    await scene.reads(b"w")
    assert await waiting is True


async def test_wait_cancelled_while_it_reads_leaves_the_change_to_be_found(scene: Scene) -> None:
    watch = await scene.enter(b"v")
    waiting = await scene.start(watch.changed())
    scene.backend.push(b"k")
    await turns()
    assert scene.sent() == TRACKED_READ
    waiting.cancel()
    scene.backend.talk.answer(OK, bulk("w"), NEVER)  # nobody takes it, and no push follows it
    await turns()
    assert watch.value == b"v"
    waiting = await scene.start(watch.changed())
    await scene.reads(b"w")
    assert await waiting is True


async def test_entering_cancelled_leaves_nothing_registered(scene: Scene) -> None:
    entering = await scene.start(scene.client.watch("k").__aenter__())
    assert len(scene.client.watches) == 1
    entering.cancel()
    await turns()
    assert len(scene.client.watches) == 0


async def test_entering_on_a_lost_connection_raises_and_leaves_nothing_registered(
    scene: Scene,
) -> None:
    entering = await scene.start(scene.client.watch("k").__aenter__())
    scene.backend.talk.fail()
    with pytest.raises(BackendUnavailable):
        await entering
    assert len(scene.client.watches) == 0


async def test_error_reply_to_the_read_is_raised(scene: Scene) -> None:
    entering = await scene.start(scene.client.watch("k").__aenter__())
    assert scene.sent() == TRACKED_READ
    scene.backend.talk.answer(OK, b"-WRONGTYPE no string\r\n", NEVER)
    with pytest.raises(ReplyError, match="WRONGTYPE"):
        await entering


async def test_second_task_that_waits_on_one_watch_is_refused(scene: Scene) -> None:
    watch = await scene.enter(b"v")
    waiting = await scene.start(watch.changed())
    with pytest.raises(ConfigError, match=r"client\.watch\(\) for each task"):
        await watch.changed()
    scene.backend.push(b"k")
    await turns()
    await scene.reads(b"w")
    assert await waiting is True


async def test_watch_that_is_not_entered_is_refused_instead_of_waiting_for_ever(
    scene: Scene,
) -> None:
    with pytest.raises(ConfigError, match="async with client"):
        await scene.client.watch("k").changed()
    watch = await scene.enter(b"v")
    await watch.__aexit__(None, None, None)
    with pytest.raises(ConfigError, match="async with client"):
        await watch.changed()


async def test_closing_the_client_ends_the_wait(scene: Scene) -> None:
    watch = await scene.enter(b"v")
    waiting = await scene.start(watch.changed())
    await scene.client.aclose()
    with pytest.raises(ClosedError):
        await asyncio.wait_for(waiting, 5)


BAD: list[Any] = [b"k", 42, None, "\ud800", ("a", "b")]


@pytest.mark.parametrize("key", BAD, ids=repr)
async def test_key_that_is_no_text_is_refused(scene: Scene, key: Any) -> None:
    with pytest.raises(ConfigError, match="key"):
        scene.client.watch(key)


def test_watches_ignore_pushes_about_other_things() -> None:
    watches = Watches()
    watches.pushed([b"message", b"channel", b"text"])
    watches.pushed([b"invalidate", [b"unknown"]])
    watches.pushed([b"invalidate", None])
    assert len(watches) == 0
