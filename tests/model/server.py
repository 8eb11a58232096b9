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
    "HELD",
    "LEASE",
    "MARK",
    "OVERLAP",
    "STALE",
    "VALUE",
    "Effect",
    "Message",
    "entry",
    "execute",
    "generation_in",
    "is_stale",
    "kind_of",
    "name_of",
    "payload_of",
    "show",
    "stale",
    "version_in",
]

ABSENT, FOREIGN, LEASE, ERROR, VALUE, MARK, STALE, HELD = range(8)
OVERLAP = 4  # in a mark, beside the bits 1 and 2 of its writers
GENERATIONS = 8  # per process; more than can ever be mentioned at once
_NOBODY = 31  # in a value past its soft expiry that nobody has claimed


class Message(NamedTuple):
    """A command on its way to the server, or what comes back.

    Attributes:
        op: A command (`get`, `claim`, tracked `read`, `fill`, `fail` with an error entry,
            `renew`, `set`), a reply that carries the key's content (`get`, `claim`, `read`),
            `filled`, `refused`, or `push`. The reply to a `read` whose lease has run out since is
            `read, lapsed`: it came with the PTTL, so the process knows when.
        gen: The sender's generation.
        content: The dead bytes that a claim may replace, or the stale value that it may claim in
            place; the version of a fill or set; the content in a reply.
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


def stale(version: int, gen: int = _NOBODY, *, held: bool = False) -> int:
    """Return the content of a value past its soft expiry: claimed in place, or left by a claim."""
    return entry(HELD if held else STALE, gen | version << 5)


def is_stale(content: int) -> bool:
    """Tell whether it is a value past its soft expiry, claimed or not."""
    return content & 7 >= STALE


def version_in(content: int) -> int:
    """Return the version of any value."""
    return content >> 8 if is_stale(content) else content >> 3


def generation_in(content: int) -> int:
    """Return the generation in a value past its soft expiry; -1: nobody's."""
    gen = content >> 3 & 31
    return -1 if gen == _NOBODY else gen


def kind_of(content: int) -> int:
    """Return which of the eight kinds `content` is."""
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
    if is_stale(content):
        gen = generation_in(content)
        whose = f", {'claimed' if kind == HELD else 'left'} by {name_of(gen)}" if gen >= 0 else ""
        return f"stale version {version_in(content)}{whose}"
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
            deletes and expiry may end a lease that is not one's own, and so it is with a claim in
            place. Or it would put an error where a value is.
    """
    op, gen = command.op, command.gen
    in_place = is_stale(content) and generation_in(content) == gen
    mine = content == entry(LEASE, gen) or in_place
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
        if rules.claim_any_stale and is_stale(content) and is_stale(command.content):
            free = True
        claimed = entry(LEASE, gen)
        if is_stale(content):
            claimed = stale(version_in(content), gen, held=True)
        after = claimed if free else content
        said = f"{name} {'is granted' if free else 'finds ' + show(content)}"
        effect = Effect(after, Message("claim", gen, after), pushes=free, said=said)
    elif op == "fill":
        stored = mine or rules.blind_fill
        stored = stored or (
            rules.blind_refresh and (kind_of(content) == VALUE or is_stale(content))
        )
        after = entry(VALUE, command.content) if stored else content
        said = f"{name} {'stores' if stored else 'refuses'} version {command.content}"
        reply = command._replace(op="filled" if stored else "refused", gen=0)
        effect = Effect(after, reply, pushes=stored, said=said)
    elif op == "fail":
        after = entry(ERROR, gen) if mine or rules.blind_error else content
        said = f"{name} {'stores the error' if after != content else 'stores nothing'}"
        if in_place and rules.error_over_value:
            what = f"an error takes the place of {show(content)}"
            raise Violation("kept", what, step=said)
        if in_place:
            after = stale(version_in(content))
            said = f"{name} leaves {show(after)}"
        effect = Effect(after, None, pushes=mine or after != content, said=said)
    elif op == "set" and kind_of(content) == MARK and not rules.set_over_mark:
        return Effect(content, None, pushes=False, said=f"set is refused by {show(content)}")
    elif op == "set":  # the last writer wins, over a lease as well
        said = f"set stores version {command.content}"
        return Effect(entry(VALUE, command.content), None, pushes=True, said=said)
    else:  # renew; PEXPIRE pushes too, although nothing that matters has changed
        after = entry(LEASE, gen) if rules.blind_renewal else content
        if in_place:
            after = stale(version_in(content), gen, held=True)
        said = f"{name} {'leaves ' + show(after)}"
        effect = Effect(after, None, pushes=mine or after != content, said=said)
    if kind_of(content) in (LEASE, HELD) and not mine and effect.content != content:
        what = f"{show(content)} is taken away from the load that holds it, so two run under leases"
        raise Violation("one load", what, step=effect.said)
    return effect
