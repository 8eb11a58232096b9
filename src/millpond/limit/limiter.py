"""The limiter: how much of something each key may have, over all processes."""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal, cast
from uuid import UUID

from millpond.core.durations import milliseconds, seconds
from millpond.core.keys import Keyspace
from millpond.errors import BackendError, ConfigError, LimitExceeded
from millpond.limit.concurrency import Concurrency
from millpond.limit.desk import Desk
from millpond.limit.policies import check_policies
from millpond.limit.refund import give_back

if TYPE_CHECKING:
    from datetime import timedelta

    from millpond.core.client import Client
    from millpond.core.keys import Key
    from millpond.limit.decision import Decision
    from millpond.limit.policies import Policy
    from millpond.limit.statistics import LimiterStatistics

__all__ = ["Limiter", "check_cost"]

_NAMES = frozenset((str, int, UUID))  # types of keys that are equal only if they are one key
_INSTEAD = ("local", "allow", "deny", "raise")
_HIGHEST_COST = 10**9
_WRITTEN = 2048  # texts remembered that had to be looked through for what must be escaped


class Limiter:
    """Decide, for each key, whether one more hit is within all policies.

    One script call decides by all policies at once, by the server's clock: admitted by all, or
    counted by none. What is denied is never counted. A hit costs one round trip, which it shares
    with everything else of its turn of the event loop; hits on one key in one turn are one call.

    State belongs to the namespace and the key, not to this object: limiters of one namespace and
    different numbers, such as one for each tier, count the same hits, and each applies its own
    numbers to them.

    Constructing does no I/O, so a limiter may live at module level.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        *policies: Policy,
        near: float | timedelta = 1.0,
        on_unavailable: Literal["local", "allow", "deny", "raise"] = "local",
        share: float = 1.0,
        shadow: bool = False,
    ) -> None:
        """Choose the policies.

        Args:
            client: The way to Redis.
            namespace: Letters, digits, `_`, `-` and `.`; part of every key.
            policies: One or more, all of which must admit a hit.
            near: Seconds for which a denial may be repeated by this process without asking Redis:
                after a reset, refund or raised limit in another process a key may be denied for
                that long. At most 1 s, the default; 0 asks every time.
            on_unavailable: What decides while Redis is out of reach. `"local"` (default): a
                limiter in this process. `"allow"`, `"deny"`: no count at all. `"raise"`:
                `BackendUnavailable` or `BackendTimeout` reaches the caller.
            share: What the local limiter gives of each limit, above 0 and at most 1: one over the
                number of processes keeps the sum within the limit. Default 1.
            shadow: Decide, count and tell (`LimitShadowed`), but let everything pass.

        Raises:
            ConfigError: No policy, two that share their state, or a bad option.
        """
        self._space = Keyspace(client.prefix, namespace)
        self._head = f"{{{self._space.head}"
        self._written = lru_cache(maxsize=_WRITTEN)(partial(_braced, self._space))
        if on_unavailable not in _INSTEAD:
            raise ConfigError(f"on_unavailable must be one of {_INSTEAD}, not {on_unavailable!r}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                f"share must be above 0 and at most 1, not {share!r}; for 8 processes share=1/8"
            )
        self._policies = check_policies(policies)
        self.desk = Desk(
            client,
            namespace,
            self._policies,
            near=_near(near),
            instead=on_unavailable,
            share=share,
            shadow=bool(shadow),
        )
        self._near = self.desk.denials.by_name

    @property
    def client(self) -> Client:
        """The client."""
        return self.desk.client

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies, in order."""
        return self._policies

    def key(self, key: Key) -> str:
        """Return what the Redis keys of `key` begin with, such as `{shop:api:42}`.

        The braces put all of them into one slot of a Redis Cluster. Each policy's state is under
        `key + ":" + policy.label`, a block under `key + ":block"`. Needs no connection.

        Raises:
            ConfigError: No such key (see `Keyspace`), or an empty one.
        """
        if key == "":
            raise ConfigError(
                "a rate limit's key must not be empty: everybody without one would share a limit; "
                "where that is meant, write a word such as 'anonymous'"
            )
        if type(key) is str and not key.isalnum():  # an address, say: it takes a regex to escape
            return self._written(key)
        return _braced(self._space, key)

    # -- asking -------------------------------------------------------------------------------

    async def hit(self, key: Key, *, cost: int = 1) -> Decision:
        """Count a hit, if every policy admits it.

        A caller that is cancelled before the command has left was not counted; later it was.

        Args:
            key: Who or what is limited.
            cost: What it counts for, at least 1. One above a limit is denied for ever, with
                `retry_after` None.

        Returns:
            The decision; it is true if the hit is allowed: `if await limiter.hit(key)` will do.

        Raises:
            ConfigError: A bad key or cost.
            BackendUnavailable: With `on_unavailable="raise"`.
            BackendTimeout: With `on_unavailable="raise"`.
            ReplyError: A missing permission, or another program's key.

        Redis: one EVALSHA for all hits of one turn of the loop, on up to 24 keys; none for a key
            that was denied a moment ago. Such a denial of a higher cost than the one remembered
            has the `retry_after` of that one: it may take longer.
        """
        if (type(key) in _NAMES or _names(key)) and (spot := self._near.get(key)) is not None:
            now = time.monotonic()
            if now < spot.until and type(cost) is int and spot.cost <= cost <= _HIGHEST_COST:
                return self.desk.near(spot, cost, now)
        return await self.desk.hit(self.key(key), key, check_cost(cost))

    def near_denial(self, key: Key, cost: int) -> Decision | None:
        """Answer at once, if a denial of a moment ago answers this hit, too."""
        spot = self._near.get(key) if type(key) in _NAMES or _names(key) else None
        if spot is None or cost < spot.cost or (now := time.monotonic()) >= spot.until:
            return None
        return self.desk.near(spot, cost, now)

    async def peek(self, key: Key, *, cost: int = 1) -> Decision:
        """Decide as `hit` would, and count nothing. Errors as for `hit`.

        Redis: one EVALSHA.
        """
        return await self.desk.ask("peek", self.key(key), check_cost(cost))

    async def hit_up_to(self, key: Key, cost: int) -> Decision:
        """Count as much of `cost` as there is: `decision.granted` says how much.

        It is denied only when there is nothing, and `retry_after` is the time until there is 1.
        A shadow counts what there is, and grants everything.
        Errors as for `hit`.

        Redis: one EVALSHA.
        """
        return await self.desk.ask("upto", self.key(key), check_cost(cost))

    async def enforce(self, key: Key, *, cost: int = 1) -> Decision:
        """Hit, or raise.

        Raises:
            LimitExceeded: It was denied. Other errors as for `hit`.
        """
        decision = await self.hit(key, cost=cost)
        if not decision.allowed:
            raise LimitExceeded(decision)
        return decision

    async def acquire(self, key: Key, *, cost: int = 1, timeout: float | timedelta) -> Decision:
        """Hit, and while it is denied, wait as long as it says and try again.

        Nothing is held meanwhile, here or in Redis: waiting for one key delays no other, and a
        cancelled wait leaves nothing behind. Who waits is not served in order: whoever asks first
        when there is room has it.

        Args:
            key: Who or what is limited.
            cost: What it counts for.
            timeout: Seconds to wait at most.

        Raises:
            LimitExceeded: It cannot be had in that time; raised as soon as that is known, not
                after having waited for it. Other errors as for `hit`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds(timeout, "timeout")
        while True:
            decision = await self.hit(key, cost=cost)
            if decision.allowed:
                return decision
            wait = decision.retry_after
            if wait is None or loop.time() + wait > deadline:
                raise LimitExceeded(decision)
            await asyncio.sleep(wait)

    # -- changing -----------------------------------------------------------------------------

    async def refund(self, decision: Decision) -> bool:
        """Give back what a decision has counted, as if the hit had never been.

        A window loses exactly that hit, wherever it stands in it. A fixed window is given back
        while it lasts. A bucket gets its tokens back, to full at most, unless it has been full
        since; it keeps one number, so what has flowed back meanwhile it cannot tell from what has
        not. A decision is given back once, in this process. After the server's clock was set
        back, a hit from before is not found, and stays counted.

        Args:
            decision: Of this limiter, or one of its namespace, or of `hit_all` with one of them.

        Returns:
            Whether anything was given back: not a denial, nor what has expired or was reset, nor
            what Redis did not acknowledge.

        Raises:
            ConfigError: A decision of another namespace.
            BackendError: With `on_unavailable="raise"`.
            ReplyError: A missing permission, or another program's key.

        Redis: one EVALSHA.
        """
        return await give_back(self.desk, self._head, decision)

    async def reset(self, key: Key) -> bool:
        """Forget everything about a key: its hits by this limiter's policies, and its block.

        All limiters of this namespace and client hear of it at once. Other processes may repeat a
        denial for `near` seconds more.

        Returns:
            Whether Redis has acknowledged it.

        Raises:
            BackendError: With `on_unavailable="raise"`. Other errors as for `hit`.

        Redis: one DEL.
        """
        name = self.key(key)
        desk = self.desk
        desk.space.flush()
        desk.space.forget(name)
        desk.local.forget(name)
        try:
            await self.client.call("DEL", f"{name}:block", *desk.states(name))
        except BackendError as error:
            desk.refused(error)
            return False
        finally:
            desk.space.forget(name)
        return True

    async def block(self, key: Key, duration: float | timedelta) -> None:
        """Deny everything for a key, whatever it has left, until the time is over or `reset`.

        It is for all limiters of this namespace. Blocking again replaces the time. Other
        processes hear of it with their next hit.

        Args:
            key: Who or what is blocked.
            duration: Seconds.

        Raises:
            ConfigError: No such duration.
            BackendError: Redis has not acknowledged it, whatever `on_unavailable` says.

        Redis: one SET.
        """
        name = self.key(key)
        space = self.desk.space
        space.flush()
        space.forget(name)  # the block may be shorter, too
        try:
            await self.client.call(
                "SET", f"{name}:block", b"1", "PX", milliseconds(duration, "duration")
            )
        finally:
            space.forget(name)

    def concurrency(
        self,
        key: Key,
        limit: int,
        *,
        lease: float | timedelta = 10.0,
        wait: float | timedelta | None = None,
    ) -> Concurrency:
        """Let so many be inside at once, over all processes: `async with limiter.concurrency(...)`.

        The limiter's policies are not asked: this is another question. A process that dies gives
        its places back when their leases end. During an outage `on_unavailable` decides.

        Args:
            key: Who or what is limited.
            limit: How many may be inside.
            lease: Seconds after which the place of a dead process is free; it is renewed at a
                third, and does not limit how long anybody stays. Default 10, at least 1.
            wait: Seconds to wait for a place. Default: none, it is denied at once.

        Raises:
            ConfigError: No such key, limit, lease or wait. Entering raises `LimitExceeded`.
        """
        self.key(key)
        return Concurrency(self.desk, self._space(key), limit, lease=lease, wait=wait)

    def statistics(self) -> LimiterStatistics:
        """What this limiter has decided since it was made."""
        return self.desk.counters.frozen()

    def __repr__(self) -> str:
        """Show the namespace and the policies."""
        return f"<Limiter {self._space.namespace!r} {', '.join(self.desk.rules.labels)}>"


def _braced(space: Keyspace, key: Key) -> str:
    return f"{{{space(key)}}}"


def _names(key: object) -> bool:
    """Whether it is a tuple of such keys: `(1,)` equals `(True,)`, which is none."""
    return type(key) is tuple and all(type(part) in _NAMES for part in cast("tuple[object]", key))


def check_cost(cost: int) -> int:
    """Refuse what is no cost.

    Raises:
        ConfigError: Naming the alternative.
    """
    if type(cost) is not int or not 1 <= cost <= _HIGHEST_COST:
        raise ConfigError(
            f"cost must be a whole number from 1 to {_HIGHEST_COST:,}, not {cost!r}; "
            "to ask without counting, use peek; to give back, refund"
        )
    return cost


def _near(near: float | timedelta) -> float:
    """Check the time that denials are remembered; 0 is none."""
    if type(near) in {int, float} and near == 0:
        return 0.0
    checked = seconds(near, "near")
    if checked > 1.0:
        raise ConfigError(
            f"near must be at most 1 second, not {checked:g}: for so long this process would not "
            "see what others reset; near=0 asks Redis every time"
        )
    return checked
