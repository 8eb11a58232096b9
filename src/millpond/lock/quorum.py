"""Redlock: one lock over several independent masters, held by whoever has a majority of them.

What must stay true:

1. Two majorities share a node, so two holders would need one node to hold two leases: it holds
   one. That is all the protection there is, so a node that may have forgotten a lease has no vote:
   one whose uptime is below the longest lease (and a second, since uptimes are told in seconds).
   It is asked for that once a connection; and with every vote, where connections are the business
   of somebody else's client, who replaces them without a word.
       A holds nodes 1 and 2; 2 restarts without its data, and B's client with another connection:
       were 2 still trusted, B would have 2 and 3.
2. The lease counts from before the first request left, less a hundredth and two milliseconds for
   clocks that run at different rates, and is checked after everything else was done.
3. The fence is the highest that any node minted, and it counts only once a majority has been
   raised to it: the next holder's majority shares a node with that, and mints a higher one.
       raise sent; one node of three obeys; the next holder's majority is the other two: its fence
       would be the lower one. So an unconfirmed raise is no acquisition.
4. Requests go to all nodes at once, and nobody waits for a node once the others have decided. One
   that answers late is given its release in the same order on the same connection. One that has
   forgotten the script is asked again by its source, which is behind that release; so whoever
   grants what was given up meanwhile is told once more.
5. What was won on a minority is given back at once, and tried again after a pause of random
   length: otherwise three who have a node each would collide for ever.
6. What is tried again is tried under another token:
       given back, but one node cannot be told; tried again, and won with that node; the release
       that it was owed arrives, and frees it for another, whose majority it makes.
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from millpond.core.exchange import Exchange
from millpond.core.futures import consumed
from millpond.core.lease import FENCE_TTL, acquire, give_back, lease_keys, new_token, release, renew
from millpond.core.scripts import Script
from millpond.errors import BackendError, ClosedError, ConfigError, NoQuorum

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.core.client import Client

__all__ = ["Node", "Quorum"]

_RAISE = Script.load("millpond.lock", "raise_fence")
_DRIFT = 0.01  # of the lease: as in the Redlock paper
_DRIFT_FIXED = 0.002  # seconds: the grain of expiries
_UNSURE = 1.0  # seconds: uptimes are told in whole ones

Answer = int | BaseException | None


class Node:
    """One of the masters, and since when it can be trusted to remember every lease.

    Attributes:
        client: The way to it.
        name: As errors call it.
        longest: The longest lease, in seconds.
    """

    def __init__(self, client: Client, name: str, longest: float) -> None:
        """Begin without trust."""
        self.client = client
        self.name = name
        self.run_id = ""
        self.longest = longest
        self._seen: object = None  # the connection over which that was learnt
        self._trusted_at = math.inf

    def examine(self) -> asyncio.Future[bool] | None:
        """Ask for its uptime, if it may have been restarted since that was asked.

        Returns:
            Whether it has said so, once that has been taken note of; None: it was not asked.
        """
        connection = self.client.lane
        if connection is not self._seen:
            self._seen, self._trusted_at = None, math.inf
        elif isinstance(connection, Exchange):
            return None  # over one wire there is one server, which has not been restarted
        asked = self.client.call("INFO", "server")
        told: asyncio.Future[bool] = asked.get_loop().create_future()
        asked.add_done_callback(partial(self._examined, connection, told))
        return told

    def _examined(
        self, connection: object, told: asyncio.Future[bool], asked: asyncio.Future[Any]
    ) -> None:
        said = not asked.cancelled() and asked.exception() is None
        if said:
            self._note(connection, asked.result())
        if not told.done():
            told.set_result(said)

    def _note(self, connection: object, info: Any) -> None:
        text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
        pairs = [line.strip().partition(":") for line in text.splitlines()]
        fields = {name: value for name, _, value in pairs}
        self._seen = connection
        self.run_id = fields.get("run_id", "")
        uptime = float(fields.get("uptime_in_seconds", "0"))
        self._trusted_at = time.monotonic() - uptime + self.longest + _UNSURE

    def untrusted_for(self) -> float:
        """Tell for how many seconds more it may have forgotten a lease."""
        return max(0.0, self._trusted_at - time.monotonic())


class Quorum:
    """One lock on a majority of nodes."""

    shared = False
    fenced = True
    shows_holder = False
    queues = False
    signal = ""

    def __init__(self, nodes: Sequence[Node], key: str, timeout: float) -> None:
        """Name the keys; a node that answers nothing for `timeout` seconds is passed over."""
        self._nodes = nodes
        self._most = len(nodes) // 2 + 1
        self._timeout = timeout
        self._tokens: dict[str, str] = {}  # in place of a caller's, once that was given back
        self._wanted: set[str] = set()  # tokens that were not given up yet
        self.longest = nodes[0].longest
        self._keys = lease_keys(key)
        self.key = self.place = self.group = self._keys[0]

    def trust(self, seconds: float) -> float:
        """All but what the clocks may differ by."""
        return seconds * (1 - _DRIFT) - _DRIFT_FIXED

    def enqueue(self, token: str, contender: str) -> asyncio.Future[int] | None:  # noqa: ARG002
        """Nothing."""
        return None

    def acquire(self, token: str, ms: int, contender: str, *, marked: bool) -> asyncio.Future[int]:  # noqa: ARG002
        """Ask every node; the requests are queued now."""
        infos = [_try(node.examine) for node in self._nodes]
        own, token = token, self._tokens.get(token, token)
        self._wanted.add(token)
        votes = [_try(partial(acquire, node.client, self._keys, token, ms)) for node in self._nodes]
        for node, vote in zip(self._nodes, votes, strict=True):
            if vote is not None:
                vote.add_done_callback(partial(self._voted, node, token, ms))
        return self._supervised(self._elect(infos, votes, own, token, ms), "elect")

    def release(self, token: str, contender: str) -> asyncio.Future[int]:  # noqa: ARG002
        """Give up on every node, on the ones that do not answer again and again."""
        token = self._tokens.pop(token, token)
        self._wanted.discard(token)
        votes = [_try(partial(self._release_at, node, token)) for node in self._nodes]
        for node, vote in zip(self._nodes, votes, strict=True):
            if vote is not None:
                again = partial(self._release_at, node, token)
                vote.add_done_callback(partial(_repeat, again))
        return self._supervised(self._count(votes), "release")

    def renew(self, token: str, ms: int) -> asyncio.Future[int]:
        """Prolong on every node: 1 if a majority did."""
        token = self._tokens.get(token, token)
        votes = [_try(partial(renew, node.client, self._keys, token, ms)) for node in self._nodes]
        return self._supervised(self._count(votes), "renew")

    def pass_on(self, *_: object, over: bool) -> None:  # noqa: ARG002
        """Never: the fence takes a round of its own."""
        return

    def _release_at(self, node: Node, token: str) -> asyncio.Future[int]:
        return release(node.client, self.key, token)

    def _supervised(self, work: Any, what: str) -> asyncio.Future[int]:
        """Run `work` beyond the caller's end; cancelling what is returned does not reach it."""
        outer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                result = await work
            except (BackendError, ClosedError, ConfigError, NoQuorum) as error:
                if not outer.done():
                    outer.set_exception(error)
            except asyncio.CancelledError:
                if not outer.done():
                    outer.set_exception(ClosedError("the client was closed meanwhile"))
                raise
            else:
                if not outer.done():
                    outer.set_result(result)

        self._nodes[0].client.supervisor.start(run(), name=f"millpond quorum {what} {self.key}")
        return outer

    # -- counting -----------------------------------------------------------------------------

    async def _elect(
        self, infos: list[Any], votes: list[Any], own: str, token: str, ms: int
    ) -> int:
        sent = time.monotonic()
        await self._answers(infos, partial(self._enough_trusted, infos))
        self._refuse_twins(token, ms)
        won = partial(self._won, infos)
        answers = await self._answers(votes, won)
        self._refuse_twins(token, ms)  # another node may have said meanwhile who it is
        granted = self._granted(infos, answers)
        if granted >= self._most:
            fence = max([a for a in answers if isinstance(a, int) and a > 0])
            args = (token, fence, ms + FENCE_TTL)
            raises = [
                _try(partial(node.client.run, _RAISE, keys=self._keys[:2], args=args))
                for node in self._nodes
            ]
            raised = await self._answers(raises, won)
            if won(raised) and time.monotonic() - sent < self.trust(ms / 1000):
                return fence
        self._give_back(token, ms)
        self._tokens[own] = new_token()
        taken = sum(isinstance(a, int) and a <= 0 for a in answers)
        if granted + taken >= self._most:
            lefts = [-a for a in answers if isinstance(a, int) and a < 0]
            return -max(1, min(lefts, default=1))
        raise self._no_quorum(answers)

    def _refuse_twins(self, token: str, ms: int) -> None:
        """Refuse two nodes that are one server, as soon as both have said who they are."""
        known = [node.run_id for node in self._nodes if node.run_id]
        if len(set(known)) < len(known):
            self._give_back(token, ms)
            raise ConfigError("two of the nodes are the same server; a quorum needs different ones")

    def _no_quorum(self, answers: list[Answer]) -> NoQuorum:
        pairs = zip(self._nodes, answers, strict=True)
        return NoQuorum(self.key, {node.name: _said(node, answer) for node, answer in pairs})

    def _give_back(self, token: str, ms: int) -> None:
        self._wanted.discard(token)
        for node in self._nodes:
            self._give_back_at(node, token, ms)

    def _give_back_at(self, node: Node, token: str, ms: int) -> None:
        again = partial(self._release_at, node, token)
        future = _try(again)
        if future is not None:
            future.add_done_callback(partial(_repeat, again, seconds=ms / 1000))

    def _voted(self, node: Node, token: str, ms: int, vote: asyncio.Future[int]) -> None:
        granted = not vote.cancelled() and vote.exception() is None and vote.result() > 0
        if granted and token not in self._wanted:
            self._give_back_at(node, token, ms)

    async def _count(self, votes: list[Any]) -> int:
        answers = await self._answers(votes, self._decided)
        yes = sum(isinstance(a, int) and a > 0 for a in answers)
        no = sum(isinstance(a, int) and a == 0 for a in answers)
        if yes >= self._most:
            return 1
        if no > len(answers) - self._most:
            return 0
        raise self._no_quorum(answers)

    def _granted(self, infos: list[Any], answers: list[Answer]) -> int:
        """Count the servers that granted; one that is two nodes counts once."""
        servers = [
            node.run_id or node.name
            for node, info, answer in zip(self._nodes, infos, answers, strict=True)
            if isinstance(answer, int) and answer > 0 and _trusted(node, info)
        ]
        return len(set(servers))

    def _won(self, infos: list[Any], answers: list[Answer]) -> bool:
        return self._granted(infos, answers) >= self._most

    def _enough_trusted(self, infos: list[Any], _answers: list[Any]) -> bool:
        return sum(map(_trusted, self._nodes, infos)) >= self._most

    def _decided(self, answers: list[Answer]) -> bool:
        yes = sum(isinstance(a, int) and a > 0 for a in answers)
        no = sum(isinstance(a, int) and a == 0 for a in answers)
        return yes >= self._most or no > len(answers) - self._most

    async def _answers(
        self, votes: list[asyncio.Future[Any] | None], enough: Callable[[list[Any]], bool]
    ) -> list[Any]:
        """Collect answers until there are enough, or all, or time is up."""
        pending = {vote for vote in votes if vote is not None}
        until = time.monotonic() + self._timeout
        while pending and not enough([_answer(vote) for vote in votes]):
            left = until - time.monotonic()
            if left <= 0:
                break
            _, pending = await asyncio.wait(
                pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
        for vote in pending:
            vote.add_done_callback(consumed)
        return [_answer(vote) for vote in votes]


def _try(send: Callable[[], asyncio.Future[Any] | None]) -> asyncio.Future[Any] | None:
    """Send; a client that is not open does not keep the others from being asked."""
    try:
        return send()
    except ClosedError as error:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        return future


def _answer(vote: asyncio.Future[Any] | None) -> Any:
    if vote is None or not vote.done() or vote.cancelled():
        return None
    return vote.exception() or vote.result()


def _trusted(node: Node, info: asyncio.Future[bool] | None) -> bool:
    """Tell whether its vote counts; not before it has answered, if it was asked with that vote."""
    return (info is None or _answer(info) is True) and not node.untrusted_for()


def _said(node: Node, answer: Answer) -> str:
    if answer is None:
        return "no answer in time"
    if isinstance(answer, BaseException):
        return f"{type(answer).__name__}: {answer}"
    if answer <= 0:
        return "taken"
    doubt = node.untrusted_for()
    if doubt == math.inf:
        return "granted, but does not say how long it has run"
    return f"granted, but restarted too lately to count for {doubt:.1f} s" if doubt else "granted"


def _repeat(
    again: Callable[[], asyncio.Future[Any]],
    future: asyncio.Future[Any],
    seconds: float = 60.0,
) -> None:
    """Give back again what a node did not confirm."""
    if not future.cancelled() and isinstance(future.exception(), BackendError):
        give_back(again, seconds)
