"""`Locks`: named locks over one Redis, each a lease with a fence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from millpond.core.durations import milliseconds, seconds
from millpond.core.keys import Keyspace
from millpond.core.lease import lease_keys, lease_seconds
from millpond.errors import ConfigError
from millpond.lock.hold import Hold, TryHold
from millpond.lock.kinds import Exclusive, Fair, Permit, Reading, Writing
from millpond.lock.quorum import Node, Quorum
from millpond.lock.store import LockStore

if TYPE_CHECKING:
    from datetime import timedelta

    from millpond.core.client import Client
    from millpond.core.keys import Key
    from millpond.lock.kinds import Kind
    from millpond.lock.store import LockStatistics

__all__ = ["Locks"]


class Locks:
    """Locks by name, under one namespace.

    At most one holder whose lease has not expired, each with a higher `fence` than the one
    before, provided that the server keeps what it acknowledged (`maxmemory-policy noeviction`, no
    failover to a replica that lags, no restart without its data) and that the clocks of server
    and process run at the same rate. What must be right even when these fail hands `held.fence`
    to the resource, which refuses lower ones.

    A lock is renewed at a third of its lease while its block runs. Is it lost nevertheless, the
    task in the block is cancelled by the local deadline and the block raises `LockLost`.

    May be made at import, before the client is open.
    """

    def __init__(
        self,
        client: Client | Sequence[Client],
        namespace: str,
        *,
        lease: float | timedelta = 10.0,
        node_timeout: float | timedelta = 0.2,
    ) -> None:
        """Describe the locks; no I/O.

        Args:
            client: The way to Redis. Several, an odd number of at least three, make each lock
                that of a majority of these servers (Redlock), which must be independent masters:
                a Cluster, or a master and its replicas, are one. There, waiting asks again after
                random pauses, a lease per call is at most that given here, and there are neither
                semaphores nor read/write locks nor fair ones.
            namespace: The second part of every key: letters, digits, `_`, `-` and `.`.
            lease: Seconds or timedelta after which a lock is free whose holder died; at least
                0.05. Longer than any stall of the event loop that is to be survived.
            node_timeout: Seconds or timedelta after which, of several servers, one that does not
                answer is passed over. Below the lease by far.

        Raises:
            ConfigError: A namespace or lease that cannot be; an even number of clients, or one of
                them twice.
        """
        self._ms = _milliseconds(lease)
        self._node_timeout = seconds(node_timeout, "node_timeout")
        clients = tuple(client) if isinstance(client, Sequence) else (client,)
        _check_nodes(clients)
        if isinstance(client, Sequence) and self._node_timeout >= self._ms / 1000:
            raise ConfigError(
                f"node_timeout={node_timeout} is not below the lease of {self._ms / 1000:g} s, "
                "which would be over before a node that hangs is passed over"
            )
        self._client = clients[0]
        self._nodes = [
            Node(each, f"node {number}", self._ms / 1000)
            for number, each in enumerate(clients, start=1)
        ]
        self._quorum = len(clients) > 1
        self._key = Keyspace(self._client.prefix, namespace).__call__
        self._store = LockStore(clients, self._ms)

    @property
    def client(self) -> Client:
        """The way to Redis; of several, the first."""
        return self._client

    def key(self, name: Key) -> str:
        """Return the Redis key of a lock; needs no connection.

        `DEL` of it by anybody frees the lock, and its holder learns of that at the next renewal.
        """
        return lease_keys(self._named(name))[0]

    def hold(
        self,
        *names: Key,
        lease: float | timedelta | None = None,
        wait: float | timedelta | None = None,
        max_hold: float | timedelta | None = None,
        fair: bool = False,
    ) -> Hold:
        """Hold a lock while a block runs: `async with locks.hold("order:42", wait=5) as held:`.

        Tasks of one process get it in the order in which they came. Several names are acquired
        one after another, in the same order by everybody, and all or none: what was acquired is
        released when a later one cannot be had.

        A task that is cancelled while it enters or leaves leaves no lock behind.

        Args:
            names: What is to be locked; each as for a cache key.
            lease: Seconds or timedelta for this acquisition; None: as `Locks` has it.
            wait: Seconds or timedelta to wait at most, for all names together; 0: not at all;
                None: for as long as it takes.
            max_hold: Seconds or timedelta after which the block is cancelled with `LockLost`
                although the lock could be renewed; None: no limit.
            fair: Serve tasks of all processes in the order in which they came, at the price of a
                hand-over that takes two round trips, and of one command a second from each
                process that waits, by which it keeps its places; the places of a process that
                died bar the others for at most 3 seconds. Without it tasks of one process are
                served in order, and processes in turns of 5 ms. Both kinds exclude each other, and
                take turns, but one that is not fair does not queue behind those that are.

        Returns:
            A block that gives a `Held`.

        Raises:
            ConfigError: A name, lease, wait or max_hold that cannot be; from the block: the name
                is held by this task already.
            LockTimeout: From the block: not within `wait`.
            LockLost: From the block: it ended before the block did.
            BackendError: From the block: Redis is out of reach, or refuses.

        Redis:
            One EVALSHA to acquire, one to release, for each name; while waiting, what
            `client.watch` does, and one EVALSHA whenever the lock may be free.
        """
        if fair or self._quorum or len(names) != 1:
            return self._hold(names, lease, wait, max_hold, fair=fair)
        kind = Exclusive(self._client, self._named(names[0]))
        return self._block(names, (kind,), lease, wait, max_hold)

    def try_hold(
        self,
        *names: Key,
        lease: float | timedelta | None = None,
        max_hold: float | timedelta | None = None,
    ) -> TryHold:
        """Hold a lock if it is free: `async with locks.try_hold(name) as held: if held: ...`.

        Args:
            names: As for `hold`; all or none.
            lease: As for `hold`.
            max_hold: As for `hold`.

        Returns:
            A block that gives a `Held`, or None if the lock is held by another.

        Raises:
            ConfigError: As for `hold`.
            LockLost: As for `hold`.
            BackendError: As for `hold`: that a lock is taken is never concluded from an error.

        Redis:
            One EVALSHA to acquire, one to release, for each name.
        """
        return TryHold(self._hold(names, lease, 0, max_hold))

    def semaphore(
        self,
        name: Key,
        *,
        permits: int,
        lease: float | timedelta | None = None,
        wait: float | timedelta | None = None,
        max_hold: float | timedelta | None = None,
    ) -> Hold:
        """Hold one of so many permits: `async with locks.semaphore("gpu", permits=4):`.

        Each permit is leased by itself, on the server's clock, and renewed while its block runs;
        one whose holder died is free again when its lease is over. The task in the block is
        cancelled with `LockLost` if its permit is lost. A permit has no fence. A task may hold
        several, and waits for itself for ever if it takes more than there are.

        Args:
            name: What is limited; apart from the locks of that name.
            permits: How many may be held at once. Each call states it: a lower number lets those
                that hold one finish.
            lease: As for `hold`.
            wait: As for `hold`; 0: not at all.
            max_hold: As for `hold`.

        Raises:
            ConfigError: As for `hold`, or permits below 1.
            LockTimeout: As for `hold`.
            LockLost: As for `hold`.
            BackendError: As for `hold`.

        Redis:
            As for `hold`; O(log permits).
        """
        if type(permits) is not int or permits < 1:
            raise ConfigError(f"permits must be an int of at least 1, not {permits!r}")
        self._only_single("a semaphore")
        kind = Permit(self._client, self._named(name), permits)
        return self._block((name,), (kind,), lease, wait, max_hold)

    def read(
        self,
        name: Key,
        *,
        lease: float | timedelta | None = None,
        wait: float | timedelta | None = None,
        max_hold: float | timedelta | None = None,
    ) -> Hold:
        """Hold a read/write lock together with other readers.

        A writer that waits bars new readers, so readers who take turns cannot keep it out; after
        each writer the readers that wait come first, so neither can a row of writers keep those
        out. What is held for reading has no fence. It has nothing to do with `hold` of that name.

        Args:
            name: What is read.
            lease: As for `hold`.
            wait: As for `hold`; 0: not at all.
            max_hold: As for `hold`.

        Raises:
            ConfigError: As for `hold`: also if this task has it for writing.
            LockTimeout: As for `hold`.
            LockLost: As for `hold`.
            BackendError: As for `hold`.

        Redis:
            As for `hold`; O(log readers).
        """
        self._only_single("a read/write lock")
        kind = Reading(self._client, self._named(name))
        return self._block((name,), (kind,), lease, wait, max_hold)

    def write(
        self,
        name: Key,
        *,
        lease: float | timedelta | None = None,
        wait: float | timedelta | None = None,
        max_hold: float | timedelta | None = None,
    ) -> Hold:
        """Hold a read/write lock alone, with a fence; see `read`.

        Args:
            name: What is written.
            lease: As for `hold`.
            wait: As for `hold`; 0: not at all.
            max_hold: As for `hold`.

        Raises:
            ConfigError: As for `hold`: also if this task has it for reading.
            LockTimeout: As for `hold`.
            LockLost: As for `hold`.
            BackendError: As for `hold`.

        Redis:
            As for `hold`; O(log readers).
        """
        self._only_single("a read/write lock")
        kind = Writing(self._client, self._named(name))
        return self._block((name,), (kind,), lease, wait, max_hold)

    def statistics(self) -> LockStatistics:
        """Counters of this process, since this was made."""
        return self._store.statistics()

    def _hold(
        self,
        names: tuple[Key, ...],
        lease: float | timedelta | None,
        wait: float | timedelta | None,
        max_hold: float | timedelta | None,
        *,
        fair: bool = False,
    ) -> Hold:
        kinds: tuple[Kind, ...]
        if fair:
            self._only_single("fair=True")
            process = self._store.contender
            kinds = tuple([Fair(self._client, self._named(name), process) for name in names])
        elif self._quorum:
            timeout = self._node_timeout
            kinds = tuple([Quorum(self._nodes, self._named(name), timeout) for name in names])
        else:
            kinds = tuple([Exclusive(self._client, self._named(name)) for name in names])
        if not kinds:
            raise ConfigError("name what is to be locked: locks.hold('order:42')")
        if len(kinds) > 1 and len({kind.key for kind in kinds}) < len(kinds):
            raise ConfigError(f"the same lock is named twice in {names!r}")
        return self._block(names, kinds, lease, wait, max_hold)

    def _block(
        self,
        names: tuple[Key, ...],
        kinds: tuple[Kind, ...],
        lease: float | timedelta | None,
        wait: float | timedelta | None,
        max_hold: float | timedelta | None,
    ) -> Hold:
        ms = self._ms if lease is None else _milliseconds(lease)
        if self._quorum and ms > self._ms:
            raise ConfigError(
                f"lease={lease} is longer than that of Locks(...), {self._ms / 1000:g} s: a node "
                "that was restarted is kept out for no longer than that; raise it there"
            )
        return Hold(
            self._store,
            names,
            kinds,
            ms=ms,
            wait=None if wait is None else _wait(wait),
            max_hold=math.inf if max_hold is None else seconds(max_hold, "max_hold"),
        )

    def _only_single(self, what: str) -> None:
        if self._quorum:
            raise ConfigError(f"{what} needs one Redis; make a Locks(client, ...) for it")

    def _named(self, name: Key) -> str:
        if name in ("", ("",)):  # no set: what is no name may have no hash
            raise ConfigError("a lock needs a name that says what it locks, such as 'order:42'")
        key_of = self._key
        return key_of(name)


def _check_nodes(clients: tuple[Client, ...]) -> None:
    """Refuse what is no quorum."""
    if len(clients) % 2 == 0:
        raise ConfigError(
            f"a quorum needs an odd number of servers, not {len(clients)}: an even one survives "
            "no more failures than the odd one below it"
        )
    if len({id(client) for client in clients}) < len(clients):
        raise ConfigError("the same client is given twice; a quorum needs different servers")
    if len({client.prefix for client in clients}) > 1:
        raise ConfigError("the clients of a quorum need one prefix")


def _milliseconds(lease: float | timedelta) -> int:
    return milliseconds(lease_seconds(lease), "lease")


def _wait(wait: float | timedelta) -> float:
    if type(wait) in {int, float} and wait == 0:
        return 0.0
    return seconds(wait, "wait")
