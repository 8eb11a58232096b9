"""Whatever is called, cancelled, written and read in whatever pieces: the order of calls holds.

A toy server runs what is sent, and its replies arrive in arbitrary pieces between arbitrary
calls. Every caller who stays gets what Redis would have told a client that sent its calls one
after the other.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.core.slots import Collector
from tests.support.conversation import NULL, OK, Conversation, bulk, push

KEYS = st.sampled_from("ab")
STEPS = st.one_of(
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("set"), KEYS),
    st.tuples(st.just("echo"), st.just("")),
    st.tuples(st.just("group"), KEYS),
    st.tuples(st.just("cancel"), st.integers(0, 40)),
    st.tuples(st.just("write"), st.just(0)),
    st.tuples(st.just("read"), st.integers(1, 60)),
    st.tuples(st.just("push"), KEYS),
)


class Play:
    """One run: the exchange, the toy server, and what every caller was promised."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, bite: int, piece: int) -> None:
        self.loop = loop
        self.talk = Conversation(loop, limit=limit, piece=piece)
        self.number = 0
        self.callers: list[tuple[int, str, str, asyncio.Future[Any]]] = []
        self.ran: list[tuple[int, str]] = []  # the SETs that reached the server: number, key
        self.values: dict[str, str] = {}
        self.stream = b""
        self.pushed = 0
        self.bite = bite
        self.more = False  # replies that were received and not taken yet

    def step(self, kind: str, what: Any) -> None:
        self.number += 1
        number = self.number
        if kind == "get":
            self.callers.append((number, "get", what, self.talk.call("GET", what)))
        elif kind == "set":
            self.callers.append((number, "set", what, self.talk.call("SET", what, number)))
        elif kind == "echo":
            self.callers.append((number, "echo", "", self.talk.call("ECHO", number)))
        elif kind == "group":
            future: asyncio.Future[Any] = self.loop.create_future()
            slots = (Collector(3, future.set_result, future),) * 3
            self.talk.group([("SET", what, number), ("GET", what), ("ECHO", number)], *slots)
            self.callers.append((number, "group", what, future))
        elif kind == "cancel":
            if self.callers:
                self.callers[int(what) % len(self.callers)][-1].cancel()
        elif kind == "write":
            self.write()
        elif kind == "read":
            self.read(what)
        else:
            self.pushed += 1
            self.stream += push(what.encode())

    def write(self) -> int:
        """Send what is queued and let the server run it."""
        commands = self.talk.sent()
        for command in commands:
            name, *words = command.split()
            if name == "SET":
                self.values[words[0]] = words[1]
                self.ran.append((int(words[1]), words[0]))
                self.stream += OK
            elif name == "GET":
                value = self.values.get(words[0])
                self.stream += NULL if value is None else bulk(value)
            else:
                self.stream += bulk(words[0])
        return len(commands)

    def read(self, count: int) -> None:
        piece, self.stream = self.stream[:count], self.stream[count:]
        self.more = self.talk.exchange.feed(piece, self.bite)

    def promised(self, number: int, key: str) -> bytes | None:
        """The last SET of the key, of those that ran, that was called before."""
        before = [one for one, name in self.ran if name == key and one < number]
        return b"%d" % max(before) if before else None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(STEPS, max_size=60),
    st.sampled_from([1, 2, 3, 5, 1000]),
    st.integers(1, 4),
    st.sampled_from([1, 2, 3, 8, 1000]),
)
def test_every_caller_gets_what_the_order_of_calls_promises(
    steps: list[tuple[str, Any]], limit: int, bite: int, piece: int
) -> None:
    loop = asyncio.new_event_loop()
    try:
        play = Play(loop, limit, bite, piece)
        for kind, what in steps:
            play.step(kind, what)
        while play.write() or play.stream or play.more:
            play.read(len(play.stream))
    finally:
        loop.close()
    assert [one for one, _ in play.ran] == sorted(one for one, _ in play.ran)
    assert play.talk.exchange.in_flight == 0
    assert play.talk.exchange.oldest() is None
    assert len(play.talk.pushes) == play.pushed
    for number, kind, key, future in play.callers:
        if future.cancelled():
            continue
        own = b"%d" % number
        expected: dict[str, Any] = {"set": b"OK", "echo": own, "group": [b"OK", own, own]}
        assert future.result() == (play.promised(number, key) if kind == "get" else expected[kind])
