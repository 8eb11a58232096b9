"""The server's side of the model: one key, and the commands as single steps upon it.

A key's content is a small number: its kind, and above it what the kind carries. Generations are
numbered per process, and a number is used again once nothing in the model mentions it: a history
with endless claims stays finite, and no two live generations are ever equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .search import Violation

if TYPE_CHECKING:
    from .rules import Rules

__all__ = [
    "ABSENT",
    "ERROR",
    "FOREIGN",
    "GENERATIONS",
    "LEASE",
    "MARK",
    "OVERLAP",
    "VALUE",
    "Effect",
    "Message",
    "entry",
    "execute",
    "kind_of",
    "name_of",
    "payload_of",
    "show",
]

ABSENT, FOREIGN, LEASE, ERROR, VALUE, MARK = range(6)
OVERLAP = 4  # in a mark, beside the bits 1 and 2 of its writers
GENERATIONS = 8  # per process; more than can ever be mentioned at once


class Message(NamedTuple):
    """A command on its way to the server, or what comes back.

    Attributes:
        op: A command (`get`, `claim`, tracked `read`, `fill`, `fail` with an error entry,
            `renew`, `set`), a reply that carries the key's content (`get`, `claim`, `read`),
            `filled`, `refused`, or `push`. The reply to a `read` whose lease has run out since is
            `read, lapsed`: it came with the PTTL, so the process knows when.
        gen: The sender's generation.
        content: The dead bytes that a claim may replace; the version of a fill or set; the
            content in a reply.
        early: Callers that ride along: of a GET all, of a fill those from before the load.
        late: Callers of a fill who joined during the load.
    """

    op: str
    gen: int = 0
    content: int = 0
    early: tuple[int, ...] = ()
    late: tuple[int, ...] = ()


class Effect(NamedTuple):
    """What a command did: the key's content after it, the reply, and whether watchers are told."""

    content: int
    reply: Message | None
    pushes: bool
    said: str


def entry(kind: int, carries: int = 0) -> int:
    """Return the content of a key: a lease or error with its generation, a value's version, a
    mark with its writers.
    """
    return kind | carries << 3


def kind_of(content: int) -> int:
    """Return which of the six kinds `content` is."""
    return content & 7


def payload_of(content: int) -> int:
    """Return the generation or version in `content`."""
    return content >> 3


def name_of(gen: int) -> str:
    """Return a generation's name in traces, such as `0b`: the second of process 0."""
    return f"{gen // GENERATIONS}{'abcdefgh'[gen % GENERATIONS]}"


def show(content: int) -> str:
    """Describe a key's content for a trace."""
    kind, carries = kind_of(content), payload_of(content)
    if kind == VALUE:
        return f"version {carries}"
    if kind == MARK:
        who = "".join(name for bit, name in ((1, "A"), (2, "B")) if carries & bit)
        return f"the mark of {who}{', overlapped' if carries & OVERLAP else ''}"
    if kind in (LEASE, ERROR):
        return f"{'lease' if kind == LEASE else 'error'} {name_of(carries)}"
    return "nothing" if kind == ABSENT else "foreign bytes"


def execute(rules: Rules, content: int, command: Message) -> Effect:
    """Run `command` on the key, as Redis would: alone, at once.

    Raises:
        Violation: It would grant a claim over a lease, or take a lease from another load. Only
            deletes and expiry may end a lease that is not one's own.
    """
    op, gen = command.op, command.gen
    mine = content == entry(LEASE, gen)
    name = f"{op} {name_of(gen)}"
    if op in ("get", "read"):
        said = f"{op} finds {show(content)}"
        return Effect(content, command._replace(content=content), pushes=False, said=said)
    if op == "claim":
        free = content == ABSENT
        if not rules.claim_only_absent and command.content != ABSENT:
            free = free or content == command.content  # exactly the bytes seen dead
        if rules.claim_over_mark and kind_of(content) == MARK:
            free = True
        after = entry(LEASE, gen) if free else content
        said = f"{name} {'is granted' if free else 'finds ' + show(content)}"
        effect = Effect(after, Message("claim", gen, after), pushes=free, said=said)
    elif op == "fill":
        after = entry(VALUE, command.content) if mine or rules.blind_fill else content
        stored = mine or rules.blind_fill
        said = f"{name} {'stores' if stored else 'refuses'} version {command.content}"
        reply = command._replace(op="filled" if stored else "refused", gen=0)
        effect = Effect(after, reply, pushes=stored, said=said)
    elif op == "fail":
        after = entry(ERROR, gen) if mine or rules.blind_error else content
        said = f"{name} {'stores the error' if after != content else 'stores nothing'}"
        effect = Effect(after, None, pushes=after != content, said=said)
    elif op == "set" and kind_of(content) == MARK and not rules.set_over_mark:
        return Effect(content, None, pushes=False, said=f"set is refused by {show(content)}")
    elif op == "set":  # the last writer wins, over a lease as well
        said = f"set stores version {command.content}"
        return Effect(entry(VALUE, command.content), None, pushes=True, said=said)
    else:  # renew; PEXPIRE pushes too, although nothing that matters has changed
        after = entry(LEASE, gen) if rules.blind_renewal else content
        said = f"{name} {'leaves ' + show(after)}"
        effect = Effect(after, None, pushes=mine or after != content, said=said)
    if kind_of(content) == LEASE and not mine and effect.content != content:
        what = f"{show(content)} is taken away from the load that holds it, so two run under leases"
        raise Violation("one load", what, step=effect.said)
    return effect
