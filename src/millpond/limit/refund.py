"""Giving back what a decision has counted: once, and so that nobody is denied because of it.

What must stay true:

1. A decision is given back once in this process, whichever limiter is asked. In Redis, hits of one
   microsecond are alike: a second refund of one would take another.
2. Once the refund has returned, no denial from before it is repeated, by any limiter that shares
   the counts. One may be on its way when it is called, so they are forgotten before and after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import force_setattr

from millpond.errors import BackendError, ConfigError, ReplyError
from millpond.limit.programs import REFUND

if TYPE_CHECKING:
    from millpond.limit.decision import Decision
    from millpond.limit.desk import Desk

__all__ = ["give_back"]


async def give_back(desk: Desk, head: str, decision: Decision) -> bool:
    """Refund a decision; tell whether anything was given back.

    Args:
        desk: Of the limiter that was asked.
        head: What all keys of its namespace begin with.
        decision: Of any limiter of the namespace, or of several, one of which is.

    Raises:
        ConfigError: A decision of another namespace.
        BackendError: With `on_unavailable="raise"`, or what must not be hidden.
    """
    several = decision.rules.subjects
    if not decision.key.startswith(head) and all(space is not desk.space for space, _ in several):
        raise ConfigError(
            f"this decision is about {decision.key!r}, which is no key of the namespace "
            f"{desk.namespace!r}; let the limiter refund it that made it, or one of the same "
            "namespace"
        )
    if not decision.counted or decision.refunded:
        return False
    force_setattr(decision, "refunded", True)
    if decision.parts:
        return any([await limiter.refund(part) for limiter, part in decision.parts])
    if decision.source == "local":
        desk.undo_locally(decision)
        desk.counters.refunds += 1
        return True
    if decision.source != "redis":
        return False
    subjects = several or ((desk.space, decision.key),)
    for space, key in subjects:
        space.flush()
        space.forget(key)
    try:
        given = await _ask(desk, decision)
    except BackendError as error:
        desk.refused(error)
        return False
    finally:
        for space, key in subjects:
            space.forget(key)
    desk.counters.refunds += bool(given)
    return bool(given)


async def _ask(desk: Desk, decision: Decision) -> int:
    rules = decision.rules
    states = rules.states or tuple(f"{decision.key}:{label}" for label in rules.labels)
    what = [decision.at, decision.counted]
    numbers = [number for policy in rules.policies for number in policy.numbers]
    try:
        return await desk.client.run(REFUND, keys=states, args=[*what, *numbers])
    except ReplyError as error:
        if error.code != "CROSSSLOT":
            raise
    each = zip(states, rules.policies, strict=True)
    return sum(
        [
            await desk.client.run(REFUND, keys=[state], args=[*what, *policy.numbers])
            for state, policy in each
        ]
    )
