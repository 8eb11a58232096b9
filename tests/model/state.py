"""What a process is, in the model: its callers, its flight and its connection, as plain values.

Callers have no identity: a caller is the version that it must see, and the stale version, if any,
that it has found and may fall back on; and it is found where it waits (riding on a GET, in the
flight, on a fill). So histories that differ only in which caller did what are one history, and the
search is many times smaller.
"""

from __future__ import annotations

from typing import NamedTuple

from .search import Violation
from .server import (
    ERROR,
    GENERATIONS,
    HELD,
    LEASE,
    Message,
    entry,
    generation_in,
    is_stale,
    kind_of,
    payload_of,
)

__all__ = [
    "EARLY",
    "WATCHING",
    "Flight",
    "Process",
    "adrift",
    "answered",
    "expired",
    "fallen_back",
    "fresh_generation",
    "holds",
    "known_by",
    "mentions",
    "merged",
    "pushed",
    "turned",
    "waiting",
    "with_fallback",
    "without_fallback",
]

WATCHING = frozenset({"watch", "lapsed"})
EARLY = WATCHING | {"claim", "refresh", "read", "bare"}  # who joins in these phases is early
SENT = {"claim": "claim sent", "refresh": "refresh sent", "read": "read sent"}


class Flight(NamedTuple):
    """What a process does about the key on behalf of everybody who joined.

    Attributes:
        phase: `claim` and `read` are waiting to be sent, then `claim sent` and `read sent`;
            `refresh` and `refresh sent` are claims that wait for nobody;
            `watch` waits for a push and `lapsed` has reached the lease's deadline; `load` has
            called the loader and `loaded` has read the database; `bare`, `bare load` and
            `bare loaded` are the same without a lease.
        gen: The generation claimed or, while it reads and watches, the one it waits for.
        version: What the loader read; while it watches a claim in place, that content.
        early: Callers who take whatever comes.
        late: Callers who came after the cut.
    """

    phase: str
    gen: int = -1
    version: int = 0
    early: tuple[int, ...] = ()
    late: tuple[int, ...] = ()


class Process(NamedTuple):
    """A process.

    Attributes:
        idle: Callers who may start.
        link: `up`; `down` after a loss, until it has reconnected; `dead` when killed.
        unsent: Commands of this turn of the event loop.
        sent: Commands that the server has not run yet.
        arrived: Replies and pushes that nobody has looked at yet.
        tracked: Whether the server will push the key's next change.
        flight: The flight in the table, if any: the table has one place for the key, and loaders
            run nowhere else, so two loads at once in one process cannot even be written down.
        stray: Commands that no order binds to the rest and nobody waits for: renewals, which may
            be overtaken by anything, and what a lost connection or a killed process left in the
            network. A server that cannot be told to kill the old connection runs them at any time.
    """

    idle: int
    link: str = "up"
    unsent: tuple[Message, ...] = ()
    sent: tuple[Message, ...] = ()
    arrived: tuple[Message, ...] = ()
    tracked: bool = False
    flight: Flight | None = None
    stray: tuple[Message, ...] = ()


def with_fallback(callers: tuple[int, ...], version: int) -> tuple[int, ...]:
    """Let callers, who have found it, fall back on a stale version."""
    return tuple(sorted(caller & 7 | version + 1 << 3 for caller in callers))


def without_fallback(callers: tuple[int, ...]) -> tuple[int, ...]:
    """Let callers start over: what they have found is forgotten."""
    return tuple(sorted(caller & 7 for caller in callers))


def fallen_back(
    process: Process, callers: tuple[int, ...], said: str, *, shared: bool = False
) -> Process:
    """Return the process after a load failed: who has something to fall back on is given it.

    Args:
        process: The process.
        callers: Who joined the load.
        said: The step.
        shared: Whether what one has found is good enough for all.
    """
    found = min((caller >> 3 for caller in callers if caller >> 3), default=0)
    for caller in callers:
        has = found if shared else caller >> 3
        if has:
            process = answered(process, (caller,), has - 1, said)
        else:
            process = process._replace(idle=process.idle + 1)
    return process


def merged(some: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
    """Put two groups of callers together."""
    return tuple(sorted(some + others))


def adrift(*messages: Message) -> tuple[Message, ...]:
    """Keep the commands that would change the key, without anybody waiting for them."""
    writes = (message for message in messages if message.op not in ("get", "read"))
    return tuple(sorted(message._replace(early=(), late=()) for message in writes))


def waiting(process: Process) -> bool:
    """Tell whether any caller waits."""
    flight = process.flight
    messages = process.unsent + process.sent + process.arrived
    joined = flight is not None and bool(flight.early or flight.late)
    return joined or any(message.early or message.late for message in messages)


def turned(process: Process) -> Process:
    """Return the process after its turn's commands have left, all in one write."""
    flight = process.flight
    if flight and flight.phase in SENT:
        flight = flight._replace(phase=SENT[flight.phase])
    return process._replace(unsent=(), sent=process.sent + process.unsent, flight=flight)


def answered(process: Process, callers: tuple[int, ...], version: int, said: str) -> Process:
    """Return `version` to callers, who are idle then, and may start again.

    Raises:
        Violation: It is too old for one of them; `said` is the step that gives it.
    """
    for caller in callers:
        least = caller & 7
        if version < least:
            what = (
                f"a caller who came after the delete that followed version {least} was "
                f"acknowledged is given version {version}"
            )
            raise Violation("freshness", what, step=said)
    return process._replace(idle=process.idle + len(callers))


def pushed(process: Process) -> Process:
    """Return the process after the key has changed: one push for each tracked read."""
    if not process.tracked:
        return process
    return process._replace(tracked=False, arrived=(*process.arrived, Message("push")))


def expired(process: Process, gen: int) -> Process:
    """Return the process after the lease `gen` ran out.

    Expiry pushes nothing in time. What the process has is the PTTL that came with its last read,
    so its timer is due, whether it has looked at that reply already or not.
    """
    flight, lease = process.flight, entry(LEASE, gen)

    def is_its(content: int) -> bool:
        return content == lease or (kind_of(content) == HELD and generation_in(content) == gen)

    if flight and flight.phase in ("watch", "resume") and flight.gen == gen:
        process = process._replace(flight=flight._replace(phase="lapsed"))
    arrived = tuple(
        message._replace(op="read, lapsed")
        if message.op == "read" and is_its(message.content)
        else message
        for message in process.arrived
    )
    return process._replace(arrived=arrived)


def mentions(process: Process) -> int:
    """Return the generations that the process or its messages know, as bits."""
    bits = 0
    for message in process.unsent + process.sent + process.arrived + process.stray:
        if message.op in ("claim", "fill", "fail", "renew"):
            bits |= 1 << message.gen
        if message.op in ("claim", "get", "read", "read, lapsed"):
            bits |= known_by(message.content)
    flight = process.flight
    if flight and flight.gen >= 0:
        bits |= 1 << flight.gen
    if flight and flight.phase in (*WATCHING, "resume"):
        bits |= known_by(flight.version)
    return bits


def known_by(content: int) -> int:
    """Return the generation that a key's content names, as a bit."""
    if is_stale(content):
        gen = generation_in(content)
        return 1 << gen if gen >= 0 else 0
    return 1 << payload_of(content) if kind_of(content) in (LEASE, ERROR) else 0


def holds(process: Process) -> int:
    """Return the generations on whose leases the process still counts, as bits."""
    bits = 0
    for message in process.unsent + process.sent:
        if message.op in ("claim", "fill", "fail"):
            bits |= 1 << message.gen
    flight = process.flight
    claiming = ("claim", "claim sent", "refresh", "refresh sent")
    if flight and flight.phase in (*claiming, "load", "loaded"):
        bits |= 1 << flight.gen
    return bits


def fresh_generation(who: int, used: int) -> int:
    """Return the first generation of process `who` that is not among the bits `used`."""
    taken = used >> GENERATIONS * who
    return (~taken & taken + 1).bit_length() - 1 + GENERATIONS * who
