"""Decoding: any bytes at all give a value or the one exception, for every kind of type."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.core.annotations import describe
from millpond.core.codec import Codec
from millpond.core.entry import Unreadable
from tests.support.samples import (
    ROUND_TRIPS,
    Owner,
)

CODECS = [Codec(each) for each in {describe(a): a for a, _ in ROUND_TRIPS}.values()]


def verdict(codec: Codec, payload: bytes) -> str:
    """Decode, allowing the one exception that decoding may raise."""
    try:
        codec.decode(payload)
    except Unreadable as unreadable:
        return unreadable.reason
    return f"not a {codec.name}: but it is"


def judge(codec: Codec, payload: bytes) -> None:
    """Check that decoding gives a value or a short reason."""
    reason = verdict(codec, payload)
    assert reason.startswith(f"not a {codec.name}: ")
    assert len(reason) < 300


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x01\x01",
        b"\xa2\xff\xfe",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xd7\xff" + b"\xff" * 8,
        b"\x91" * 100_000,
        b"\x81\xa1a" * 100_000,
        b'"[[[[',
    ],
    ids=range(11),
)
def test_broken_bytes_are_unreadable_for_every_type(payload: bytes) -> None:
    for codec in CODECS:
        with pytest.raises(Unreadable):
            codec.decode(payload)


def test_deep_json_inside_a_model_is_unreadable() -> None:
    for text in ("[" * 100_000, '{"id":' * 100_000, "\x00", "{}", "null"):
        with pytest.raises(Unreadable, match="Owner refuses it"):
            Codec(Owner).decode(msgspec.msgpack.encode(text))
    with pytest.raises(Unreadable, match="Owner"):
        Codec(Owner).decode(msgspec.msgpack.encode({"id": 5}))


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS)
def test_every_cut_and_many_mutations_are_decoded_or_unreadable(
    annotation: Any, value: Any
) -> None:
    codec = Codec(annotation)
    payload = codec.encode(value)
    for at in range(len(payload)):
        judge(codec, payload[:at])
        for byte in (0, payload[at] ^ 1, payload[at] ^ 0x80, 0x80, 0x91, 0xC0, 0xC1, 0xDD, 0xFF):
            judge(codec, payload[:at] + bytes([byte]) + payload[at + 1 :])


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_unreadable(payload: bytes) -> None:
    for codec in CODECS:
        judge(codec, payload)
