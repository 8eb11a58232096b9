"""Where a limiter's hits meet Redis: gathered for a turn of the event loop, decided, handed back.

Hits of one turn leave as few script calls, each with the vectors of costs of some keys; the script
decides them in order, at one instant, and each caller gets its own answer. What must stay true:

1. A hit whose caller is cancelled before the turn ends is not sent, and not counted. One that was
   sent is counted, whoever waits for it.
2. Hits leave in the order in which they were made, and before a reset or refund that was called
   after them in the same turn.
3. Every caller is answered: by Redis, or by what `on_unavailable` says, or with an error.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, cast

from millpond.core.futures import own, refuse
from millpond.core.loops import ANOTHER_LOOP, running_loop
from millpond.errors import BackendError, ClosedError, ConfigError, ReplyError
from millpond.events import LimitRestored, LimitShadowed, LimitUnavailable
from millpond.limit.decision import BLOCKED, Decision, Rules
from millpond.limit.fallback import Clock, Local
from millpond.limit.namespace import Namespace
from millpond.limit.near import Denials
from millpond.limit.programs import REFUND, deciding
from millpond.limit.statistics import Counters

if TYPE_CHECKING:
    from collections.abc import Hashable

    from millpond.core.client import Client
    from millpond.core.commands import Arg
    from millpond.limit.decision import Source
    from millpond.limit.near import Spot
    from millpond.limit.policies import Policy

__all__ = ["Desk"]

_REFUSES = frozenset(("OOM", "MISCONF", "BUSY", "NOREPLICAS"))  # the server cannot write now
_DENIED_FOR = 1_000_000  # microseconds to try again after, when nobody knows better

_Waiting = tuple[asyncio.Future[Decision], int, "Hashable"]  # who, cost, the user's key
_Subject = tuple[str, list[_Waiting]]  # the limiter's key, and who hits it

_TOGETHER = 24  # subjects in one call: what a run costs by itself is paid once for them all
_MANY = 500  # hits, beyond which a call takes no further subject: others wait for it


class Desk:
    """One limiter's decisions."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        policies: tuple[Policy, ...],
        *,
        near: float,
        instead: str,
        share: float,
        shadow: bool,
    ) -> None:
        """Prepare what all decisions share."""
        self.client = client
        self.namespace = namespace
        self.space = Namespace.of(client, namespace)
        self.rules = Rules(policies, tuple(policy.label for policy in policies))
        self.kinds = "".join(sorted({policy.kind for policy in policies}))
        numbers = [n for policy in policies for n in policy.numbers]
        self.numbers: tuple[Arg, ...] = (len(policies), *numbers)
        self.counters = Counters()
        self.denials = Denials(near)
        self.instead = instead
        self.share = share
        self.shadow = shadow
        self.local = Local(policies, share, self.space.states)
        self.script = deciding(self.kinds)
        self._suffixes = tuple(f":{label}" for label in self.rules.labels)
        self._stride = 2 + 2 * len(policies)
        self._hits: dict[str, list[_Waiting]] = {}
        self._together = _TOGETHER
        self._arrived: deque[tuple[list[_Subject], float, asyncio.Future[list[int]]]] = deque()
        self._digesting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home = 0  # the thread in which that loop was met
        self._out = False
        self._clock = Clock()
        self._most = min(policy.most for policy in policies)
        self.space.join(self)

    @property
    def apart(self) -> bool:
        """Whether keys of different slots cannot be decided in one call: on a Cluster."""
        return self._together == 1

    def part(self) -> None:
        """Keep to one slot in a call from now on."""
        self._together = 1

    def states(self, key: str) -> list[str]:
        """Name the Redis keys that hold the policies' states."""
        return [key + suffix for suffix in self._suffixes]

    # -- hits ---------------------------------------------------------------------------------

    def hit(self, key: str, name: Hashable, cost: int) -> asyncio.Future[Decision]:
        """Decide a hit with all others of this turn."""
        # A thread runs one loop at a time: where ours runs in this one, it is the running loop.
        # Asking for that would be a system call, for each hit (Python 3.11).
        loop = self._loop
        if loop is None or get_ident() != self._home or not loop.is_running():
            loop = running_loop()
            self.move(loop)
        future: asyncio.Future[Decision] = loop.create_future()
        if not self._hits:
            loop.call_soon(self.flush)
        waiting = self._hits.get(key)
        if waiting is None:
            self._hits[key] = [(future, cost, name)]
        else:
            waiting.append((future, cost, name))
        return future

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in another event loop; hits that the last one left unsent have no callers now."""
        if loop is self._loop:
            self._home = get_ident()
            return
        if self._hits and self._loop is not None and self._loop.is_running():
            raise ConfigError(ANOTHER_LOOP)
        self._loop, self._home = loop, get_ident()
        self._hits, self._digesting = {}, False
        self._arrived.clear()

    def flush(self) -> None:
        """Send what has gathered."""
        hits, self._hits = self._hits, {}
        subjects: list[_Subject] = []
        size = 0
        for key, waiting in hits.items():
            if len(waiting) > 1 or waiting[0][0].done():
                waiting = [hit for hit in waiting if not hit[0].done()]  # noqa: PLW2901
                if not waiting:
                    continue
            subjects.append((key, waiting))
            size += len(waiting)
            if len(subjects) == self._together or size >= _MANY:
                self._send(subjects)
                subjects, size = [], 0
        if subjects:
            self._send(subjects)

    def _send(self, subjects: list[_Subject]) -> None:
        sent = time.monotonic()
        keys = [key + ":block" for key, _ in subjects]
        keys += [key + suffix for key, _ in subjects for suffix in self._suffixes]
        costs: list[int] = []
        for _, waiting in subjects:
            for _, cost, _ in waiting:
                costs.append(-cost)  # another of the same subject follows
            costs[-1] = -costs[-1]
        try:
            reply = self._run("hit", keys, costs)
        except Exception as error:  # noqa: BLE001  (not open, another loop: each caller's own)
            refuse([future for _, waiting in subjects for future, _, _ in waiting], error)
            return

        def answered(reply: asyncio.Future[list[int]]) -> None:
            self._arrived.append((subjects, sent, reply))
            if not self._digesting:
                self._digest()

        reply.add_done_callback(answered)

    def _digest(self) -> None:
        """Hand back one call's answers in each turn.

        All calls of a turn are answered at once. If all their callers went on at once, Redis would
        have nothing to do until the last of them has asked again.
        """
        self._digesting = bool(self._arrived)
        if self._arrived:
            running_loop().call_soon(self._digest)
            self._answer(*self._arrived.popleft())

    def forget(self, key: str) -> None:
        """Forget the denial of a key, that of an answer included which waits to be handed back."""
        while self._arrived:
            self._answer(*self._arrived.popleft())
        self.denials.clear(key)

    def _answer(
        self, subjects: list[_Subject], sent: float, reply: asyncio.Future[list[int]]
    ) -> None:
        error = reply.exception()
        if error is not None:
            self._unanswered(subjects, error)
            return
        if self._out:
            self._restored()
        answer = reply.result()
        now, at, stride, rules, shadow = answer[0], 1, self._stride, self.rules, self.shadow
        for key, waiting in subjects:
            for future, cost, name in waiting:
                following = at + stride
                if answer[at] or shadow:
                    decision = self._decision(key, cost, answer, at)
                    if decision.culprit:
                        self.denials.add(name, decision, sent, time.monotonic())
                else:  # as `decided` has it, without its calls: nearly every answer is one of these
                    self.counters.allowed += 1
                    got, figures = answer[at + 1], answer[at + 2 : following]
                    decision = Decision(
                        True, 0.0, got, cost, "redis", key, False, now, rules, 0, figures, got
                    )
                if not future.done():
                    future.set_result(decision)
                at = following

    def _unanswered(self, subjects: list[_Subject], error: BaseException) -> None:
        if isinstance(error, ReplyError) and len(subjects) > 1:
            # Nothing was counted. A Cluster wants one slot in a call; and one subject's foreign
            # key (WRONGTYPE) is no other's business.
            if error.code == "CROSSSLOT":
                self.part()
            for subject in subjects:
                self._send([subject])
            return
        for key, waiting in subjects:
            for future, cost, _ in waiting:
                if future.done():
                    continue
                try:
                    future.set_result(self.without(key, cost, "hit", error))
                except Exception as raised:  # noqa: BLE001  (it reaches the caller)
                    future.set_exception(own(raised))

    # -- one at a time ------------------------------------------------------------------------

    async def ask(self, mode: str, key: str, cost: int) -> Decision:
        """Decide one hit of another kind, by itself."""
        self.space.flush()
        try:
            answer = await self._run(mode, [f"{key}:block", *self.states(key)], [cost])
        except BackendError as error:
            return self.without(key, cost, mode, error)
        if self._out:
            self._restored()
        return self._decision(key, cost, answer, 1, peek=mode == "peek")

    def _run(self, mode: str, keys: list[str], costs: list[int]) -> asyncio.Future[list[int]]:
        self.counters.calls += 1
        return self.client.run(self.script, keys, [mode, 1, *self.numbers, *costs])

    # -- decisions ----------------------------------------------------------------------------

    def _decision(
        self, key: str, cost: int, answer: list[int], at: int, *, peek: bool = False
    ) -> Decision:
        why, amount = answer[at], answer[at + 1]
        figures = answer[at + 2 : at + self._stride]
        return self.decided(key, cost, why, amount, figures, "redis", answer[0], peek=peek)

    def decided(  # noqa: PLR0917
        self,
        key: str,
        cost: int,
        why: int,
        amount: int,
        figures: list[int],
        source: Source,
        at: int,
        *,
        peek: bool = False,
        rules: Rules | None = None,
    ) -> Decision:
        """Make a decision of what a script, or whoever stands in for it, has answered."""
        if rules is None:
            rules = self.rules
        shadow = self.shadow
        if why == 0:
            if peek:
                return Decision(True, 0.0, 0, cost, source, key, False, at, rules, 0, figures, 0)
            self.counters.allowed += 1
            cut = shadow and amount < cost  # what a shadow grants of `hit_up_to` is not less
            granted = cost if cut else amount
            decision = Decision(
                True, 0.0, granted, cost, source, key, cut, at, rules, 0, figures, amount
            )
            if cut:
                self._tell(key, decision.label)
            return decision
        wait = None if amount < 0 else amount / 1e6
        granted = 0
        if not peek:
            self.counters.denied += 1
            if shadow:
                granted = cost
                self._tell(key, rules.labels[why - 1] if why > 0 else "block")
        return Decision(
            shadow, wait, granted, cost, source, key, shadow, at, rules, why, figures, 0
        )

    def near(self, spot: Spot, cost: int, now: float) -> Decision:
        """Repeat a denial, for the same cost or a higher one."""
        decision, age = cast("Decision", spot.decision), now - spot.since
        self.counters.denied += 1
        self.counters.near += 1
        wait = decision.retry_after
        if wait is not None:
            wait -= age
            if cost > self._most and decision.culprit != BLOCKED:
                wait = None
        if self.shadow:
            culprit = decision.culprit
            self._tell(decision.key, self.rules.labels[culprit - 1] if culprit > 0 else "block")
        return Decision(
            self.shadow,
            wait,
            cost if self.shadow else 0,
            cost,
            "near",
            decision.key,
            self.shadow,
            decision.at,
            self.rules,
            decision.culprit,
            decision.figures,
            0,
            age,
        )

    def _tell(self, key: str, policy: str) -> None:
        self.client.emit(LimitShadowed(key=key, policy=policy))

    # -- without Redis ------------------------------------------------------------------------

    def without(self, key: str, cost: int, mode: str, error: BaseException) -> Decision:
        """Decide although Redis has not.

        Raises:
            BaseException: The error itself: with `on_unavailable="raise"`, or where deciding would
                hide a mistake (a missing permission, another program's key).
        """
        self.refused(error)
        self.counters.fallback += 1
        peek = mode == "peek"
        now = self.now()
        if self.instead == "local":
            why, amount, figures = self.local.decide(key, cost, now, mode)
            return self.decided(key, cost, why, amount, figures, "local", now, peek=peek)
        allow = self.instead == "allow"
        full = [n for policy in self.rules.policies for n in (policy.most if allow else 0, 0)]
        why, amount = (0, cost) if allow else (1, _DENIED_FOR)
        return self.decided(key, cost, why, amount, full, "unavailable", now, peek=peek)

    def refused(self, error: BaseException) -> None:
        """Take note that Redis did not do what was asked; raise what must not be hidden."""
        if not isinstance(error, BackendError) or (
            isinstance(error, ReplyError) and error.code not in _REFUSES
        ):
            raise error
        if not self._out:
            self._out = True
            self._clock.adjust()
            self.client.emit(
                LimitUnavailable(namespace=self.namespace, instead=self.instead, reason=str(error))
            )
        if self.instead == "raise":
            raise error

    def undo_locally(self, decision: Decision) -> None:
        """Give back what the local limiter has counted."""
        self.local.give_back(decision.key, decision.counted, decision.at, self.now())

    def give_back_soon(self, decision: Decision) -> asyncio.Future[int] | None:
        """Give back without waiting; the command is queued when this returns."""
        if decision.source == "local":
            self.undo_locally(decision)
        if decision.source != "redis" or not decision.counted:
            return None
        try:
            future = self.client.run(
                REFUND,
                keys=self.states(decision.key),
                args=[decision.at, decision.counted, *self.numbers[1:]],
            )
        except (BackendError, ClosedError, ConfigError):
            return None
        self.space.forget(decision.key)
        future.add_done_callback(partial(self._given_back, decision.key))
        return future

    def _given_back(self, key: str, future: asyncio.Future[int]) -> None:
        self.space.forget(key)  # a denial that had been on its way
        if not future.cancelled():
            future.exception()

    def now(self) -> int:
        """Tell this process's time, in microseconds."""
        return self._clock.now()

    def _restored(self) -> None:
        self._out = False
        self.client.emit(LimitRestored(namespace=self.namespace))
