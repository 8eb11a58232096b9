"""What must run after something else is sent behind its acknowledgement, and owed with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from millpond.core.journal import Invalidation, Journal
from millpond.core.scripts import Script
from millpond.errors import ClosedError, ReplyError
from millpond.events import InvalidationsReplayed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.core.commands import Arg
    from millpond.core.slots import Slot
    from millpond.events import Event

SCRIPT = Script("return 1", name="change")
EPOCH = Invalidation(SCRIPT, ("epoch",))
TAG = Invalidation(SCRIPT, ("tag",), after=EPOCH)
BUSY = ReplyError("BUSY Redis is busy running a script")


class Line:
    """A lane that keeps what it is given until a test answers it.

    Attributes:
        sent: The keys that are not answered yet, in order.
    """

    batches = 0

    def __init__(self) -> None:
        self.closed = False
        self._slots: list[tuple[str, Slot]] = []

    @property
    def sent(self) -> list[str]:
        return [key for key, _ in self._slots]

    def get(self, key: str) -> asyncio.Future[Any]:
        raise NotImplementedError

    def call(self, args: tuple[Arg, ...]) -> asyncio.Future[Any]:
        raise NotImplementedError

    @property
    def queued(self) -> int:
        raise NotImplementedError

    def group(self, commands: Sequence[tuple[Arg, ...]], slots: tuple[Slot, ...]) -> None:
        if self.closed:
            raise ClosedError("closed")
        for command, slot in zip(commands, slots, strict=True):
            self._slots.append((str(command[3]), slot))

    def answer(self, *keys: str, at: int = 0, error: BaseException | None = None) -> None:
        """Answer these keys, each the first time it stands there, from a place on."""
        for key in keys:
            slot = self._slots.pop(self.sent.index(key, at))[1]
            if error is None:
                slot.set_result(1)
            else:
                slot.set_exception(error)


class Owing:
    """A journal with a lane, and what it has told."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.journal = Journal(self.told.append)
        self.line = Line()
        self.journal.connected(self.line)

    def delete_tag(self) -> asyncio.Future[str]:
        return self.journal.send(asyncio.get_running_loop(), self.line, [EPOCH, TAG])

    @property
    def replayed(self) -> list[int]:
        return [event.count for event in self.told if isinstance(event, InvalidationsReplayed)]

    def close(self) -> None:
        self.journal.closed()


async def test_later_change_is_sent_when_the_first_was_acknowledged() -> None:
    owing = Owing()
    answer = owing.delete_tag()
    assert owing.line.sent == ["epoch"]
    owing.line.answer("epoch")
    assert owing.line.sent == ["tag"]
    assert not answer.done()
    owing.line.answer("tag")
    assert await answer == ""
    assert len(owing.journal) == 0


async def test_later_change_is_tried_where_the_first_was_refused_and_both_are_owed() -> None:
    owing = Owing()
    answer = owing.delete_tag()
    owing.line.answer("epoch", error=BUSY)
    assert owing.line.sent == ["tag"]
    owing.line.answer("tag")
    assert "BUSY" in await answer
    assert len(owing.journal) == 2
    owing.close()


async def test_what_ran_ahead_of_what_it_comes_after_is_said_once_more() -> None:
    """Over several connections commands change places: here the tag's comes first."""
    owing = Owing()
    owing.delete_tag()
    owing.line.answer("epoch", error=BUSY)
    owing.line.answer("tag")
    owing.journal.connected(owing.line)
    assert owing.line.sent == ["epoch", "tag"]
    owing.line.answer("tag", "epoch")
    assert owing.line.sent == ["tag"]
    assert len(owing.journal) == 1
    owing.line.answer("tag")
    assert len(owing.journal) == 0
    assert owing.replayed == [2]
    owing.close()


async def test_what_it_comes_after_is_refused_again_and_again() -> None:
    owing = Owing()
    owing.delete_tag()
    owing.line.answer("epoch", error=BUSY)
    owing.line.answer("tag")
    for _ in range(3):
        owing.journal.connected(owing.line)
        owing.line.answer("epoch", error=BUSY)
        owing.line.answer("tag")
        assert owing.line.sent == []
        assert len(owing.journal) == 2
    assert owing.replayed == []
    owing.close()


async def test_tag_of_an_earlier_call_that_is_sent_last_ends_nothing_of_the_later() -> None:
    """The earlier's epoch was changed before the later's commit; its acknowledgement is late."""
    owing = Owing()
    earlier, later = owing.delete_tag(), owing.delete_tag()
    owing.line.answer("epoch", at=1, error=BUSY)
    owing.line.answer("tag", "epoch", "tag")
    assert await earlier == ""
    assert "BUSY" in await later
    assert len(owing.journal) == 2
    owing.close()


async def test_later_call_that_was_acknowledged_ends_what_an_earlier_one_owed() -> None:
    owing = Owing()
    owing.delete_tag()
    owing.line.answer("epoch", error=BUSY)
    owing.line.answer("tag")
    answer = owing.delete_tag()
    owing.line.answer("epoch")
    owing.line.answer("tag")
    assert await answer == ""
    assert len(owing.journal) == 0
    owing.close()


async def test_way_that_is_closed_between_the_two_leaves_the_later_owed() -> None:
    owing = Owing()
    answer = owing.delete_tag()
    owing.line.closed = True
    owing.line.answer("epoch")
    assert "closed" in await answer
    assert len(owing.journal) == 1
    owing.close()
