"""Writers who use `writing()`, in the model: outside the processes, each once.

A writer marks the key, commits, and leaves with what it committed. Each is one step together with
its answer: an answer that comes later only promises less. In between its mark may lapse (the
process was stopped, or cannot reach Redis), it may find out and mark again, and it may be killed.
A renewal that finds its mark in place changes nothing here.

A mark is a set of writers and the overlap flag. Lapsed writers are simply not in it any more: the
scripts, which have the clock, count them so whether their bytes are there or not.

What is promised for a writer that is killed under its mark: once the mark has lapsed, what it
committed counts as acknowledged. Nothing stale outlives the mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .server import ABSENT, MARK, OVERLAP, VALUE, entry, kind_of, payload_of, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rules import Rules

__all__ = ["NOBODY", "Act", "Writer", "deleted", "writers_steps"]


class Writer(NamedTuple):
    """One writer.

    Attributes:
        phase: `idle`, `marked`, `committed`, `killed` (in front of its commit or behind it) or
            `left`.
        version: What it has committed; 0: nothing.
        marked: Whether its mark counts, as far as time goes.
    """

    phase: str = "idle"
    version: int = 0
    marked: bool = False


NOBODY: tuple[Writer, ...] = ()


class Act(NamedTuple):
    """A step of a writer.

    Attributes:
        said: What it is.
        content: The key's content after it.
        version: The database's version after it.
        writers: The writers after it.
        acked: A version that is acknowledged by it; 0: none.
        spends: The bound that it uses up, if any.
        pushes: Whether watchers are told.
    """

    said: str
    content: int
    version: int
    writers: tuple[Writer, ...]
    acked: int = 0
    spends: str = ""
    pushes: bool = True


def deleted(rules: Rules, content: int) -> int:
    """Return the key's content after a delete."""
    if kind_of(content) != MARK or rules.delete_over_mark:
        return ABSENT
    return content if rules.delete_without_overlap else content | entry(0, OVERLAP)


def writers_steps(
    rules: Rules, content: int, current: int, writers: tuple[Writer, ...]
) -> Iterator[Act]:
    """Yield everything that the writers may do next."""
    for at, writer in enumerate(writers):
        if writer.phase == "idle" and at and writers[at - 1].phase == "idle":
            return  # they are alike: the first begins first
        for act in _steps(rules, content, current, writer, 1 << at):
            crew = (*writers[:at], *act.writers, *writers[at + 1 :])
            yield act._replace(said=f"writer {'AB'[at]}: {act.said}", writers=crew)


def _steps(rules: Rules, content: int, current: int, writer: Writer, bit: int) -> Iterator[Act]:
    mark = payload_of(content) if kind_of(content) == MARK else 0
    here, others, overlap = mark & bit, mark & ~(bit | OVERLAP), mark & OVERLAP
    phase, version, counts = writer
    if phase == "idle":
        after = entry(MARK, bit | (others | OVERLAP if others else 0))
        yield Act("marks the key", after, current, (Writer("marked", 0, marked=True),))
    if phase == "marked":
        done = (Writer("committed", current + 1, counts),)
        yield Act(f"commits version {current + 1}", content, current + 1, done, pushes=False)
    if phase in {"marked", "committed"}:
        if not here:
            alone = rules.renew_without_overlap and not others
            after = entry(MARK, bit | others | (0 if alone else OVERLAP))
            renewed = (Writer(phase, version, marked=True),)
            yield Act("renews, finds itself gone, marks again", after, current, renewed)
        if counts:
            lapsed = (Writer(phase, version),)
            yield Act("lapses", _without(content, bit), current, lapsed, 0, "lapses")
        killed = (Writer("killed", version, counts),)
        yield Act("is killed", content, current, killed, 0, "kills", pushes=False)
    if phase == "committed":
        after = ABSENT
        if others:
            after = entry(MARK, others | OVERLAP)
        elif here and (not overlap or rules.leave_overlapped):
            after = entry(VALUE, version)
        said = f"leaves {show(after)}"
        yield Act(said, after, current, (Writer("left"),), version)
    if phase == "killed" and counts:
        said, gone = "its mark lapses after it was killed", (Writer("left"),)
        yield Act(said, _without(content, bit), current, gone, version)


def _without(content: int, bit: int) -> int:
    """Return the content once a writer counts no more."""
    if kind_of(content) != MARK:
        return content
    rest = payload_of(content) & ~bit
    return entry(MARK, rest) if rest & ~OVERLAP else ABSENT
