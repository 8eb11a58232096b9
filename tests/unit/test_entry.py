"""The header: its bytes to the letter, its Lua offsets, and that any bytes at all are judged."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millpond.core import entry
from millpond.core.entry import (
    FOR_WAITERS,
    HEAD_SIZE,
    IS_NONE,
    IS_SOFT,
    LEASE_SIZE,
    NO_ERA,
    Header,
    Kind,
    Unreadable,
    error_name,
    generation_of,
    hit_prefix,
    new_generation,
    pack_error,
    pack_lease,
    pack_value,
    parse,
)

GENERATION = b"\x00GENER\xff\n"
ERA = b"an era"
VALUE = pack_value(
    GENERATION, 7, 0xDEADBEEF, b"payload", created_ms=2**41 + 5, load_ms=1.5, era=ERA
)
SOFT = pack_value(
    GENERATION, 7, 0xDEADBEEF, b"payload", created_ms=2, era=ERA, soft_ms=3, refresh_ms=4
)
NOTHING = pack_value(GENERATION, 7, 0xDEADBEEF, None, created_ms=1)
LEASE = pack_lease(GENERATION, 7, 0xDEADBEEF)
ERROR = pack_error(GENERATION, 7, 1, "ValueError", created_ms=1, load_ms=2, for_waiters=True)
SAMPLES = [VALUE, NOTHING, LEASE, ERROR, SOFT]


def header(kind: Kind, flags: int, **fields: Any) -> Header:
    """A header of this file's samples."""
    given: dict[str, Any] = {"version": 7, "fingerprint": 0xDEADBEEF, "generation": GENERATION}
    given |= {"era": NO_ERA, **fields}
    return Header(kind=kind, flags=flags, **given)


def lua_sub(raw: bytes, first: int, last: int | None = None) -> bytes:
    """Cut as Lua's string.sub does: from 1, the last byte included."""
    return raw[first - 1 : last]


def test_the_header_is_laid_out_as_documented_for_lua() -> None:
    assert lua_sub(VALUE, 1, 2) == b"\x89M"
    assert lua_sub(VALUE, 3, 3) == b"\x01"
    assert lua_sub(VALUE, 4, 4) == b"v"
    assert lua_sub(VALUE, 5, 5) == b"\x00"
    assert lua_sub(VALUE, 6, 7) == b"\x00\x07"
    assert lua_sub(VALUE, 8, 11) == b"\xde\xad\xbe\xef"
    assert lua_sub(VALUE, 12, 17) == ERA
    assert lua_sub(VALUE, 18, 25) == GENERATION
    assert lua_sub(VALUE, 26, 31) == (2**41 + 5).to_bytes(6, "big")
    assert lua_sub(VALUE, 32, 33) == b"\x3e\0"
    assert lua_sub(VALUE, 34) == b"payload"
    assert lua_sub(SOFT, 5, 5) == bytes([IS_SOFT])
    assert lua_sub(SOFT, 34, 37) == b"\0\0\0\x03"
    assert lua_sub(SOFT, 38, 41) == b"\0\0\0\x04"
    assert lua_sub(SOFT, 42) == b"payload"
    assert (len(LEASE), len(NOTHING)) == (LEASE_SIZE, HEAD_SIZE) == (25, 33)
    assert lua_sub(LEASE, 4, 4) == b"l"
    assert lua_sub(ERROR, 4, 5) == b"e\x08"


def test_what_is_packed_is_parsed() -> None:
    assert parse(VALUE) == header(Kind.VALUE, 0, created_ms=2**41 + 5, load_ms=1.5, era=ERA)
    assert parse(NOTHING) == header(Kind.VALUE, IS_NONE, created_ms=1)
    assert parse(LEASE) == header(Kind.LEASE, 0)
    assert parse(ERROR) == header(Kind.ERROR, FOR_WAITERS, fingerprint=1, created_ms=1, load_ms=2.0)
    assert parse(SOFT) == header(
        Kind.VALUE, IS_SOFT, era=ERA, created_ms=2, soft_ms=3, refresh_ms=4, payload_at=41
    )
    assert [parse(raw).is_none for raw in SAMPLES] == [False, True, False, False, False]
    assert [parse(raw).for_waiters for raw in SAMPLES] == [False, False, False, True, False]
    assert error_name(ERROR) == "ValueError"


def test_a_hit_is_one_startswith_and_nothing_else_is_taken_for_one() -> None:
    prefix = hit_prefix(7, 0xDEADBEEF, ERA)
    assert len(prefix) == 17
    assert [raw.startswith(prefix) for raw in SAMPLES] == [True, False, False, False, False]
    assert NOTHING.startswith(hit_prefix(7, 0xDEADBEEF, NO_ERA, flags=IS_NONE))
    assert not VALUE.startswith(hit_prefix(8, 0xDEADBEEF, ERA))
    assert not VALUE.startswith(hit_prefix(7, 0xDEADBEEE, ERA))
    assert not VALUE.startswith(hit_prefix(7, 0xDEADBEEF, NO_ERA))


def test_times_beyond_their_field_stop_at_its_largest_value() -> None:
    raw = pack_value(
        GENERATION, 0, 0, b"", created_ms=1, load_ms=1e9, soft_ms=2**32, refresh_ms=2**33
    )
    header = parse(raw)
    assert header.load_ms == 65504
    assert header.soft_ms == header.refresh_ms == 2**32 - 1
    assert parse(pack_error(GENERATION, 0, 0, "E", created_ms=1, load_ms=1e9)).load_ms == 65504
    assert parse(raw[:31] + b"\x7e\x00" + raw[33:]).load_ms == 0, "NaN"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not an entry"),
        (b'{"json": "of another program"}', "not an entry"),
        (LEASE[:-1], "not an entry"),
        (b"\x89M\x02" + VALUE[3:], "not an entry"),
        (VALUE[:3] + b"x" + VALUE[4:], "unknown kind"),
        (VALUE[:4] + b"\x04" + VALUE[5:], "cut short in its tags"),
        (VALUE[:4] + b"\x20" + VALUE[5:], "unknown flags"),
        (VALUE[:4] + b"\x08" + VALUE[5:], "unknown flags"),
        (VALUE[:4] + b"\x80" + VALUE[5:], "unknown flags"),
        (LEASE[:4] + b"\x01" + LEASE[5:], "unknown flags"),
        (ERROR[:4] + b"\x01" + ERROR[5:], "unknown flags"),
        (LEASE + b"x", "a lease with something behind it"),
        (NOTHING[:4] + b"\x03" + NOTHING[5:], "a None with something behind it"),
        (NOTHING + b"\xc0", "a None with something behind it"),
        (VALUE[:32], "cut short"),
        (ERROR[:32], "cut short"),
        (SOFT[:40], "cut short"),
    ],
)
def test_what_is_not_understood_is_unreadable(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as refused:
        parse(raw)
    assert refused.value.reason.startswith(reason)


def test_a_write_mark_is_recognised_whatever_it_will_carry() -> None:
    for flags in (0, 1, 4, 255):
        for rest in (b"", b"whatever"):
            raw = LEASE[:3] + b"w" + bytes([flags]) + LEASE[5:] + rest
            assert parse(raw).kind is Kind.WRITE
            assert generation_of(raw) == GENERATION
            assert not parse(raw).is_none


def test_the_generation_is_found_in_everything_of_this_header_version() -> None:
    assert [generation_of(raw) for raw in SAMPLES] == [GENERATION] * 5
    assert generation_of(VALUE[:3] + b"x\xff" + VALUE[5:]) == GENERATION
    assert generation_of(LEASE[:24]) is None
    assert generation_of(b"\x89M\x02" + LEASE[3:]) is None
    assert generation_of(b"") is None


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda rest: b"\x89M\x01" + rest))
@example(b"\x89M\x01")
def test_any_bytes_are_parsed_or_unreadable(raw: bytes) -> None:
    error_name(raw)
    generation = generation_of(raw)
    try:
        header = parse(raw)
    except Unreadable:
        return
    assert header.generation == generation
    assert generation is not None


@pytest.mark.parametrize("raw", SAMPLES)
def test_every_single_byte_mutation_is_parsed_or_unreadable(raw: bytes) -> None:
    for at in range(len(raw)):
        for byte in range(256):
            mutated = raw[:at] + bytes([byte]) + raw[at + 1 :]
            try:
                parse(mutated)
            except Unreadable:
                assert at < 5  # everything behind the flags is free to be anything


@pytest.mark.parametrize("raw", SAMPLES)
def test_every_cut_is_parsed_or_unreadable(raw: bytes) -> None:
    for size in range(len(raw)):
        try:
            header = parse(raw[:size])
        except Unreadable:
            continue
        assert size >= HEAD_SIZE
        assert header.kind is not Kind.LEASE


def test_long_names_of_exceptions_are_cut_between_characters() -> None:
    for name in ("E" * 500, "é" * 500, "x" + "é" * 500, "漢" * 500, "🦆" * 500):
        raw = pack_error(GENERATION, 0, 0, name, created_ms=0)
        assert 197 <= len(raw) - HEAD_SIZE <= 200
        assert name.startswith(error_name(raw))
    assert error_name(pack_error(GENERATION, 0, 0, "a\ud800b", created_ms=0)) == "a?b"


def test_a_foreign_name_cannot_break_a_log_line() -> None:
    assert error_name(ERROR[:HEAD_SIZE] + b"Oops\n\x1b[2J\xff" + b"x" * 1000).startswith(
        "Oops\ufffd\ufffd[2J\ufffdx"
    )
    assert len(error_name(ERROR[:HEAD_SIZE] + b"x" * 1000)) == 200


def test_generations_are_eight_bytes_and_never_come_twice() -> None:
    drawn = [new_generation() for _ in range(5000)]
    assert {len(generation) for generation in drawn} == {8}
    assert len(set(drawn)) == 5000


FORK = """
import os, sys
from millpond.core.entry import new_generation
new_generation()  # what is left in the pool now is what a child would repeat
out, into = os.pipe()
if os.fork() == 0:
    os.write(into, b"".join(new_generation() for _ in range(600)))
    os._exit(0)
os.close(into)
theirs = os.fdopen(out, "rb").read()
os.wait()
ours = {new_generation() for _ in range(600)}
assert len(theirs) == 8 * 600, len(theirs)
assert ours.isdisjoint(theirs[at : at + 8] for at in range(0, len(theirs), 8)), "repeated"
"""


def test_a_forked_child_draws_its_own_generations() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)


def test_everything_public_is_listed() -> None:
    assert all(hasattr(entry, name) for name in entry.__all__)
