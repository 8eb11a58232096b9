"""Entries that releases have written are read for ever as they were then."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from millpond.core.entry import Kind, pack_lease, pack_value
from tests.entries.corpus import FOLDER, TYPES, Written, has_meaning, read, understood

FILES = sorted(FOLDER.glob("version_*.json"))
ENTRIES = [
    (path.stem, entry)
    for path in FILES
    for entry in msgspec.json.decode(path.read_bytes(), type=list[Written])
]


@pytest.mark.parametrize(
    "entry", [entry for _, entry in ENTRIES], ids=[f"{v} {entry.name}" for v, entry in ENTRIES]
)
def test_entry_reads_as_it_did_when_it_was_written(entry: Written) -> None:
    raw = bytes.fromhex(entry.raw)
    assert read(raw, TYPES[entry.type]) == entry.reads
    # A later release may know more of a header; what this one said of it still holds.
    assert entry.header.items() <= understood(raw).items()


def test_corpus_of_this_header_version_has_every_kind_and_flag() -> None:
    version = pack_lease(b"8 bytes!", 0, 0)[2]
    entries = [entry for stem, entry in ENTRIES if stem == f"version_{version}"]
    seen = {(bytes.fromhex(entry.raw)[3:4], bytes.fromhex(entry.raw)[4]) for entry in entries}
    assert {kind for kind, _ in seen} == {kind.value for kind in Kind}
    flags = {flag for kind, flag in seen if kind == b"v"}
    tagged = pack_value(b"8 bytes!", 0, 0, b"", created_ms=1, tags=[("a", bytes(12))])
    known = {1, 2, 16, 32, tagged[4]} if has_meaning(tagged) else {1, 2, 16}
    assert known <= {1 << bit for bit in range(8) if any(flag & 1 << bit for flag in flags)}


def test_what_was_written_is_never_written_again() -> None:
    before = {path: path.read_bytes() for path in FILES}
    again = subprocess.run(
        [sys.executable, "-m", "tests.entries.write"],
        cwd=FOLDER.parents[1],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert again.returncode == 1
    assert b"never written again" in again.stderr
    assert {path: path.read_bytes() for path in FILES} == before
