"""A number of slots under one key, each leased to a token by server time.

Whoever holds a slot renews it; one that is not renewed is free again when its time is over, so a
process that dies costs a slot for one lease and no longer. What must stay true:

1. At most so many tokens whose deadline, by the server's clock, has not passed.
2. A slot that ran out is never prolonged, even while nobody has taken it: its holder has stopped
   counting on it.
3. Whoever finds no slot can wait without asking: the refusal leaves a key, `slots_keys()[1]`,
   which every release deletes, and which expires when the first slot runs out. Its value is the
   moment of the refusal, so that a key deleted and made again between two reads is seen to differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from millpond.core.scripts import Script

if TYPE_CHECKING:
    import asyncio

    from millpond.core.client import Client

__all__ = ["release_slot", "renew_slot", "slots_keys", "take_slot"]

_TAKE = Script.load("millpond.core", "slots_take")
_RENEW = Script.load("millpond.core", "slots_renew")
_RELEASE = Script.load("millpond.core", "slots_release")


def slots_keys(key: str) -> tuple[str, str]:
    """Name the keys of a set of slots, which share a Cluster slot: the tokens, the refusal."""
    return f"{{{key}}}:slots", f"{{{key}}}:full"


def take_slot(
    client: Client, keys: tuple[str, str], token: str, ms: int, slots: int
) -> asyncio.Future[int]:
    """Take a slot, or prolong the one that is this token's already.

    Args:
        client: The way to Redis.
        keys: As `slots_keys` names them.
        token: Of this acquisition; the same again after a lost reply.
        ms: The lease, milliseconds.
        slots: How many there are.

    Returns:
        A future: 1; or the milliseconds until one may be free, negated.

    Redis:
        One EVALSHA.
    """
    return client.run(_TAKE, keys=keys, args=(token, ms, slots))


def renew_slot(client: Client, keys: tuple[str, str], token: str, ms: int) -> asyncio.Future[int]:
    """Prolong a slot that is ours: 1, or 0 if it is not any more.

    Redis: one EVALSHA.
    """
    return client.run(_RENEW, keys=keys[:1], args=(token, ms))


def release_slot(client: Client, keys: tuple[str, str], token: str) -> asyncio.Future[int]:
    """Give up a slot that is ours: 1, or 0 if it was not any more.

    Redis: one EVALSHA.
    """
    return client.run(_RELEASE, keys=keys, args=(token,))
