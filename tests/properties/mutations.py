"""Entries, and what damage, chance or malice may make of them; drawn from a seed."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from millpond.core.codec import Codec
from millpond.core.compression import Compression
from millpond.core.entry import HEAD_SIZE, pack_error, pack_lease, pack_value
from tests.support.samples import NOON, SHOP, Address, Order, Pair, Price, Shop, User

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SAMPLES", "stream", "whole"]

GENERATION = b"8 bytes!"
SAMPLES: list[tuple[Any, Any]] = [
    (User, User(1, "Ada", Address("London"), ["x", "y"], User(2, "Bob"))),
    (list[User] | None, [User(number, "Ada") for number in range(20)]),
    (Order, Order(1, NOON, [("a", 2)])),
    (Shop, SHOP),
    (Price, Price(Decimal("9.99"))),
    (Pair, Pair(1, "a")),
    (Any, {"a": [1, 2.5, "ü", b"\xff", None, {"b": [True]}]}),
    (int | None, None),
]


def whole(annotation: Any, value: Any) -> list[bytes]:
    """Make every kind of entry that a cache of this type may find."""
    codec = Codec(annotation)
    number = codec.fingerprint
    payload = None if value is None else codec.encode(value)
    frame, flags = Compression(0).pack(payload)
    given: dict[str, Any] = {"created_ms": 2**40, "load_ms": 5.0}
    return [
        pack_value(GENERATION, 1, number, payload, **given),
        pack_value(GENERATION, 1, number, frame, flags=flags, **given),
        pack_value(GENERATION, 1, number, payload, soft_ms=2**31, **given),
        pack_lease(GENERATION, 1, number),
        pack_error(GENERATION, 1, number, "KeyError", for_waiters=True, **given),
    ]


def mutated(entries: list[bytes], chance: random.Random) -> bytes:
    """Change one entry in one to four ways."""
    raw = bytearray(chance.choice(entries))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        # Half of all damage goes to the header, which is a small part of most entries.
        end = min(len(raw), HEAD_SIZE + 8) if chance.random() < 0.5 else len(raw)
        at = chance.randrange(end) if end else 0
        how = chance.randrange(7)
        if how == 0:
            raw[at : at + 1] = bytes([raw[at] ^ 1 << chance.randrange(8)]) if end else b""
        elif how == 1:
            raw[at : at + 1] = chance.choice(_TELLING)
        elif how == 2:
            del raw[at : at + chance.randrange(1, 9)]
        elif how == 3:
            raw[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif how == 4:
            del raw[at:]
        elif how == 5:
            other = chance.choice(entries)
            raw[at:] = other[chance.randrange(len(other) + 1) :]
        else:
            raw[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
    return bytes(raw)


# Bytes that begin something in the header, in MessagePack or in a frame.
_TELLING = [bytes([byte]) for byte in (*b"vlewM", *range(0x20), 0x89, 0x28)] + [
    bytes([byte]) for byte in (0x80, 0x90, 0x91, 0xA0, 0xC0, 0xC1, 0xC7, 0xD9, 0xDD, 0xDF, 0xFF)
]


def stream(seed: int, count: int) -> Iterator[tuple[int, bytes]]:
    """Draw so many mutations: the sample's place, and the bytes."""
    chance = random.Random(seed)
    entries = [whole(*sample) for sample in SAMPLES]
    for _ in range(count):
        place = chance.randrange(len(SAMPLES))
        yield place, mutated(entries[place], chance)
