"""Several limiters and keys, all or none: an address and a user, say.

Where one script call may touch keys of different slots, which is everywhere but on a Redis
Cluster, it decides them all, and nothing is counted that is not admitted by all.

On a Cluster (the server answers CROSSSLOT, and has run nothing) they are asked one after another,
and when one denies, what the ones before it have counted is given back. No limit is ever exceeded
by that, but for a moment the ones before count a hit that comes to nothing, and may deny another
because of it. Put the limiter that denies most often first. What must stay true there:

1. Whatever ends the asking (a denial, an error, a cancelled caller), everything that was counted
   is given back. The refund of a hit whose answer is still on its way is queued when that comes:
       address counts  ->  user is asked  ->  the caller is cancelled: the refund of the address
       leaves now  ->  user has counted, too  ->  its refund leaves.
2. After a refund, no denial that it has made untrue is repeated.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from millpond.errors import BackendError, ConfigError, ReplyError
from millpond.limit.decision import Decision, Rules
from millpond.limit.limiter import Limiter, check_cost
from millpond.limit.programs import deciding

if TYPE_CHECKING:
    from millpond.core.keys import Key

__all__ = ["hit_all"]

_Asked = list[tuple[Limiter, "Key", str]]  # with the limiter's own name of the key


async def hit_all(*asked: tuple[Limiter, Key], cost: int = 1) -> Decision:
    """Count a hit with every limiter, if all of them admit it.

    Args:
        asked: Limiters of one client, each with its key: `(by_address, ip), (by_user, uid)`.
        cost: What it counts for, with each of them.

    Returns:
        One decision on all policies of all limiters, in order. `refund` of any of the limiters
        gives it back, to all. A denial that was known already, or that a Cluster gave, is that of
        the limiter that denies.

    Raises:
        ConfigError: Nothing was asked, limiters of different clients, the same state twice, or a
            shadow among limiters that are none. Other errors as for `Limiter.hit`.

    Redis: one EVALSHA; on a Cluster one for each limiter, and one for each refund.
    """
    check_cost(cost)
    named = _checked(asked)
    for limiter, key, _ in named:
        denial = limiter.near_denial(key, cost)
        if denial is not None:
            return denial
    for limiter, _, _ in named:
        limiter.desk.space.flush()
    if len(named) > 1 and named[0][0].desk.apart:
        return await _one_by_one(named, cost)
    desks = [(limiter.desk, name) for limiter, _, name in named]
    policies = tuple(policy for desk, _ in desks for policy in desk.rules.policies)
    states = tuple(state for desk, name in desks for state in desk.states(name))
    labels = tuple(f"{desk.namespace}-{label}" for desk, _ in desks for label in desk.rules.labels)
    blocks = [f"{name}:block" for _, name in desks]
    kinds = "".join(sorted({policy.kind for policy in policies}))
    numbers = [number for policy in policies for number in policy.numbers]
    sent = time.monotonic()
    first = desks[0][0]
    try:
        first.counters.calls += 1
        answer = await first.client.run(
            deciding(kinds),
            keys=[*blocks, *states],
            args=["hit", len(blocks), len(policies), *numbers, cost],
        )
    except ReplyError as error:
        if error.code == "CROSSSLOT":
            for desk, _ in desks:
                desk.part()
            return await _one_by_one(named, cost)
        return _without(named, cost, error)
    except BackendError as error:
        return _without(named, cost, error)
    rules = Rules(policies, labels, states, tuple((desk.space, name) for desk, name in desks))
    now, why, amount, *figures = answer
    decision = first.decided(named[0][2], cost, why, amount, figures, "redis", now, rules=rules)
    for desk, _ in desks[1:]:
        if why == 0:
            desk.counters.allowed += 1
        else:
            desk.counters.denied += 1
    if why > 0:
        _remember(named, decision, sent)
    return decision


def _checked(asked: tuple[tuple[Limiter, Key], ...]) -> _Asked:
    """Name every key, and refuse what cannot be decided together."""
    named: _Asked = []
    states: set[str] = set()
    for pair in asked:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], Limiter):  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison]
            raise ConfigError(f"hit_all takes pairs (limiter, key), not {pair!r}")
        limiter, key = pair
        name = limiter.key(key)
        mine = limiter.desk.states(name)
        if not states.isdisjoint(mine):
            raise ConfigError(
                f"hit_all was given {name!r} twice with the same policy; count it once, with a "
                "cost of 2"
            )
        states.update(mine)
        named.append((limiter, key, name))
    if not named:
        raise ConfigError("hit_all needs at least one pair (limiter, key)")
    if any(limiter.client is not named[0][0].client for limiter, _, _ in named):
        raise ConfigError("the limiters of one hit_all must have the same client")
    if len({limiter.desk.shadow for limiter, _, _ in named}) > 1:
        raise ConfigError(
            "a shadow and a limiter that denies cannot decide together; hit the shadow by itself"
        )
    return named


def _remember(named: _Asked, decision: Decision, sent: float) -> None:
    """Let the limiter that denied know, so that it answers the next one by itself."""
    before = 0
    for limiter, key, name in named:
        rules = limiter.desk.rules
        count = len(rules.policies)
        culprit = decision.culprit - before
        if 0 < culprit <= count:
            denial = Decision(
                decision.allowed,
                decision.retry_after,
                decision.granted,
                decision.cost,
                "redis",
                name,
                decision.shadowed,
                decision.at,
                rules,
                culprit,
                decision.figures[2 * before : 2 * (before + count)],
                0,
            )
            limiter.desk.denials.add(key, denial, sent, time.monotonic())
        before += count


async def _one_by_one(named: _Asked, cost: int) -> Decision:
    """Ask in turn, and give back when one denies, or when it cannot be finished."""
    taken: list[tuple[Limiter, Decision]] = []
    for limiter, key, name in named:
        asked = limiter.desk.hit(name, key, cost)
        try:
            decision = await asyncio.shield(asked)
            if not decision.allowed:
                await _give_back(taken)
                return decision
        except BaseException:
            _queue_refunds(taken)
            asked.add_done_callback(partial(_undo, limiter))
            raise
        taken.append((limiter, decision))
    return _joined(taken)


def _undo(limiter: Limiter, asked: asyncio.Future[Decision]) -> None:
    """Give back a hit for which nobody waits any more."""
    if not asked.cancelled() and asked.exception() is None:
        limiter.desk.give_back_soon(asked.result())


def _queue_refunds(taken: list[tuple[Limiter, Decision]]) -> list[asyncio.Future[int]]:
    """Queue the refunds now, whatever becomes of this caller."""
    queued = [limiter.desk.give_back_soon(decision) for limiter, decision in taken]
    taken.clear()
    return [refund for refund in queued if refund is not None]


async def _give_back(taken: list[tuple[Limiter, Decision]]) -> None:
    for refund in _queue_refunds(taken):
        with suppress(BackendError):
            await refund


def _joined(taken: list[tuple[Limiter, Decision]]) -> Decision:
    """Make one decision of several that allow."""
    decisions = [decision for _, decision in taken]
    rules = [decision.rules for decision in decisions]
    labels = [
        f"{limiter.desk.namespace}-{label}"
        for limiter, decision in taken
        for label in decision.rules.labels
    ]
    policies = tuple(policy for each in rules for policy in each.policies)
    subjects = tuple((limiter.desk.space, decision.key) for limiter, decision in taken)
    return msgspec.structs.replace(
        decisions[0],
        rules=Rules(policies, tuple(labels), subjects=subjects),
        figures=[figure for decision in decisions for figure in decision.figures],
        parts=tuple(taken),
    )


def _without(named: _Asked, cost: int, error: BackendError) -> Decision:
    """Decide without Redis, each limiter by what it does then, and undo when one denies."""
    taken: list[tuple[Limiter, Decision]] = []
    try:
        for limiter, _, name in named:
            decision = limiter.desk.without(name, cost, "hit", error)
            if not decision.allowed:
                _queue_refunds(taken)
                return decision
            taken.append((limiter, decision))
    except BaseException:  # of one with `on_unavailable="raise"`
        _queue_refunds(taken)
        raise
    return _joined(taken)
