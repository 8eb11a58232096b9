"""What a corpus holds: one entry of each kind, flag and type, and what a reader makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec

from millpond.cache.decision import Found, judge
from millpond.core.codec import Codec
from millpond.core.entry import Unreadable, parse
from tests.support.samples import ROUND_TRIPS

__all__ = ["ERA", "FOLDER", "TYPES", "Written", "has_meaning", "read", "understood"]

FOLDER = Path(__file__).parent
ERA = b"an era"
TYPES: dict[str, Any] = {Codec(each).name: each for each, _ in ROUND_TRIPS}
"""Annotations by the names that fingerprints are made of."""


class Written(msgspec.Struct, frozen=True):
    """One entry, as it was written once and for all.

    Attributes:
        name: What it is there for.
        raw: Its bytes, in hexadecimal.
        type: The cache's annotation, by name.
        reads: What a reader of its type and version finds.
        header: What its header says, field by field.
    """

    name: str
    raw: str
    type: str
    reads: str
    header: dict[str, str]


def understood(raw: bytes) -> dict[str, str]:
    """Say what a header says, as text that can be kept.

    Raises:
        Unreadable: Nothing that this release understands.
    """
    header = parse(raw)
    return {name: str(getattr(header, name)) for name in header.__struct_fields__}


def has_meaning(raw: bytes) -> bool:
    """Whether this release understands a header at all."""
    try:
        parse(raw)
    except Unreadable:
        return False
    return True


def read(raw: bytes, annotation: Any) -> str:
    """Say what a reader of one type finds, version and era being the entry's own.

    Raises:
        Unreadable: Its header, or its payload.
    """
    codec = Codec(annotation)
    header = parse(raw)
    verdict = judge(raw, version=header.version, fingerprint=codec.fingerprint, era=header.era)
    if verdict.found is not Found.VALUE:
        return f"{verdict.found.value} {verdict.type_name or verdict.reason}".strip()
    value = None if verdict.payload is None else codec.decode(verdict.payload)
    return f"value {steady(value)}"


def steady(value: object) -> str:
    """Write a value the same in every process: sets in order."""
    if isinstance(value, set | frozenset):
        members = cast("set[object]", value)
        inside = sorted(map(steady, members))
        return f"{type(members).__name__}({', '.join(inside)})"
    return repr(value)
