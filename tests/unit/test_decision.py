"""`judge`: what bytes under a cache key mean to a reader, for all bytes there can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.cache.decision import ABSENT, Found, Seen, Verdict, barred, dead, judge
from millpond.core.entry import (
    HEAD_SIZE,
    LEASE_SIZE,
    generation_of,
    pack_error,
    pack_lease,
    pack_value,
)

VERSION, TYPE = 3, 0xC0FFEE
OURS = b"8 bytes!"
BY_GENERATION = Seen("g", OURS)
LEASE = pack_lease(OURS, VERSION, TYPE)
VALUE = pack_value(OURS, VERSION, TYPE, b"\x05", created_ms=1)
NONE = pack_value(OURS, VERSION, TYPE, None, created_ms=1)
ERROR = pack_error(OURS, VERSION, TYPE, "KeyError", created_ms=1)
NOTICE = pack_error(OURS, VERSION, TYPE, "KeyError", created_ms=1, for_waiters=True)
WRITE = b"\x89M\x01w" + LEASE[4:] + b"whatever a later release keeps there"
ENTRIES = [LEASE, VALUE, NONE, ERROR, NOTICE, WRITE]


def judged(raw: bytes | None, *, version: int = VERSION, fingerprint: int = TYPE) -> Verdict:
    return judge(raw, version=version, fingerprint=fingerprint)


def changed(raw: bytes, at: int, byte: int) -> bytes:
    return raw[:at] + bytes([byte]) + raw[at + 1 :]


def test_nothing_is_absent_and_a_claim_may_replace_nothing() -> None:
    assert judged(None) is ABSENT
    assert ABSENT.seen.args() == ("", b"")


def test_value_of_this_version_and_type_is_one_and_none_is_a_value() -> None:
    assert judged(VALUE) == Verdict(Found.VALUE, OURS, payload=b"\x05", seen=BY_GENERATION)
    assert judged(NONE) == Verdict(Found.VALUE, OURS, payload=None, seen=BY_GENERATION)


@pytest.mark.parametrize("version", [0, VERSION, 9])
@pytest.mark.parametrize("fingerprint", [TYPE, 1])
def test_lease_is_waited_for_whatever_the_version_and_type_of_its_holder(
    version: int, fingerprint: int
) -> None:
    assert judged(pack_lease(OURS, version, fingerprint)) == Verdict(Found.LEASE, OURS)


@pytest.mark.parametrize("flags", [0, 1, 8, 0xFF])
def test_write_mark_of_a_later_release_is_recognised_and_never_claimed(flags: int) -> None:
    verdict = judged(changed(WRITE, 4, flags))
    assert verdict == Verdict(Found.WRITE, OURS)
    assert verdict.seen == Seen()


@pytest.mark.parametrize("raw", [VALUE, NONE, ERROR, NOTICE])
def test_older_version_may_be_replaced_and_a_newer_one_must_not(raw: bytes) -> None:
    older = judged(raw, version=VERSION + 1)
    assert (older.found, older.seen) == (Found.DEAD, BY_GENERATION)
    assert "version 3, before 4" in older.reason
    assert judged(raw, version=VERSION - 1) == Verdict(Found.NEWER, OURS)


@pytest.mark.parametrize("raw", [VALUE, NONE, ERROR, NOTICE])
def test_entry_of_another_type_may_be_replaced(raw: bytes) -> None:
    verdict = judged(raw, fingerprint=1)
    assert (verdict.found, verdict.seen) == (Found.DEAD, BY_GENERATION)
    assert verdict.reason == "of another type"


def test_versions_are_ordered_as_numbers() -> None:
    for ours, theirs in [(66, 97), (1, 256), (255, 256), (0x7FFF, 0x8000)]:
        raw = pack_value(OURS, theirs, TYPE, b"\x05", created_ms=1)
        assert judged(raw, version=ours).found is Found.NEWER
        raw = pack_value(OURS, ours, TYPE, b"\x05", created_ms=1)
        assert judged(raw, version=theirs).found is Found.DEAD


def test_error_names_its_type_and_says_whom_it_is_for() -> None:
    error = judged(ERROR)
    assert (error.found, error.type_name, error.visible) == (Found.ERROR, "KeyError", True)
    notice = judged(NOTICE)
    assert (notice.found, notice.type_name, notice.visible) == (Found.ERROR, "KeyError", False)
    assert error.seen == notice.seen == BY_GENERATION


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not an entry"),
        (b'{"id": 42}', "not an entry"),
        (VALUE[1:], "not an entry"),
        (changed(VALUE, 2, 2), "not an entry of header version 1"),
        (LEASE[:-1], "not an entry"),
    ],
)
def test_foreign_bytes_may_be_replaced_as_long_as_they_are_the_same(
    raw: bytes, reason: str
) -> None:
    verdict = judged(raw)
    assert verdict.found is Found.DEAD
    assert reason in verdict.reason
    assert verdict.seen == dead(raw, "").seen != dead(raw + b"\0", "").seen
    assert verdict.seen.how not in {"", "g"}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (changed(VALUE, 3, ord("x")), "unknown kind"),
        (changed(VALUE, 4, 2), "no Zstandard frame"),
        (changed(VALUE, 4, 0x20), "unknown flags"),
        (changed(VALUE, 4, 4), "cut short in its tags"),
        (changed(VALUE, 4, 1), "a None with something behind it"),
        (changed(LEASE, 4, 1), "unknown flags"),
        (changed(VALUE, 3, ord("l")), "a lease with something behind it"),
        (changed(LEASE, 3, ord("v")), "cut short"),
        (VALUE[: HEAD_SIZE - 1], "cut short"),
    ],
)
def test_what_begins_like_an_entry_is_claimed_by_its_generation(raw: bytes, reason: str) -> None:
    verdict = judged(raw)
    assert (verdict.found, verdict.reason) == (Found.DEAD, reason)
    assert verdict.seen == BY_GENERATION


def test_reason_never_quotes_the_bytes() -> None:
    assert "secret" not in judged(b"secret " * 10).reason
    assert "secret" not in judged(VALUE[:25] + b"secret").reason


def test_dead_and_barred_say_what_was_read_and_what_was_not() -> None:
    assert dead(VALUE, "why") == Verdict(Found.DEAD, reason="why", seen=BY_GENERATION)
    assert barred("unavailable") == Verdict(Found.BARRED, reason="unavailable")


def check(raw: bytes) -> None:
    verdict = judged(raw)
    # What somebody works on must not be claimed; everything else can be, by what was read.
    if verdict.found in {Found.LEASE, Found.WRITE, Found.NEWER}:
        assert verdict.seen == Seen()
    else:
        assert verdict.seen == dead(raw, "").seen
        if generation_of(raw) is not None:
            assert verdict.seen == Seen("g", raw[17:LEASE_SIZE])
    if verdict.found is Found.VALUE:
        assert verdict.payload == (None if raw[4] else raw[HEAD_SIZE:])


@given(st.binary(max_size=64))
def test_any_bytes_at_all_get_a_verdict_with_which_to_go_on(raw: bytes) -> None:
    check(raw)


@given(st.sampled_from(ENTRIES), st.integers(0, 60), st.integers(0, 255), st.integers(0, 64))
def test_any_damaged_entry_gets_a_verdict_with_which_to_go_on(
    raw: bytes, at: int, byte: int, size: int
) -> None:
    check(changed(raw, at % len(raw), byte))
    check(raw[:size])
