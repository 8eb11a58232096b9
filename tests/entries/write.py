"""Write the corpus of the current header version, once: `python -m tests.entries.write`."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from millpond.core.codec import Codec
from millpond.core.compression import Compression
from millpond.core.entry import HAS_FAILED, pack_error, pack_lease, pack_mark, pack_value
from tests.entries.corpus import ERA, FOLDER, Written, has_meaning, read, understood
from tests.support.samples import ROUND_TRIPS, User

GENERATION = b"\0gener\xff\n"
CREATED = 1_750_000_000_123
USER = User(1, "Ada", tags=["x"] * 50)


def samples() -> list[tuple[str, Any, bytes]]:
    """Make one entry of each kind and flag, then a value of each type that the tests know."""
    codec = Codec(User)
    number, payload = codec.fingerprint, codec.encode(USER)
    common: dict[str, Any] = {"created_ms": CREATED, "era": ERA, "load_ms": 12.5}

    def value(payload: bytes | None, version: int = 7, **fields: Any) -> bytes:
        return pack_value(GENERATION, version, number, payload, **{**common, **fields})

    frame, zstd = Compression(0).pack(payload)
    tags = [("team:1", b"deletes" + b"expir"), ("\N{DUCK}", bytes(12))]
    entries: list[tuple[str, Any, bytes]] = [
        ("value", User, value(payload)),
        ("value of the highest version", User, value(payload, 0xFFFF)),
        ("value of the first era", User, value(payload, era=bytes(6))),
        ("value that is None", User, value(None)),
        ("value compressed", User, value(frame, flags=zstd)),
        ("value that may be stale", User, value(payload, soft_ms=60_000, refresh_ms=61_000)),
        ("None that may be stale", User, value(None, soft_ms=60_000)),
        (
            "value whose last load has failed",
            User,
            value(payload, flags=HAS_FAILED, soft_ms=1, refresh_ms=9_000),
        ),
        ("value with tags", User, value(payload, tags=tags)),
        ("value compressed, stale, tagged", User, value(frame, flags=zstd, soft_ms=1, tags=tags)),
        ("error", User, pack_error(GENERATION, 7, number, "KeyError", **common)),
        (
            "error for waiters",
            User,
            pack_error(GENERATION, 7, number, "KeyError", for_waiters=True, **common),
        ),
        ("lease", User, pack_lease(GENERATION, 7, number, ERA)),
        ("write mark", User, pack_mark(GENERATION, 7, number) + b"a writer" + b"1750000000123"),
    ]
    for annotation, sample in ROUND_TRIPS:
        codec = Codec(annotation)
        kept = None if sample is None else codec.encode(sample)
        raw = pack_value(GENERATION, 0, codec.fingerprint, kept, created_ms=CREATED)
        entries.append((f"of type {codec.name}", annotation, raw))
    return entries


def main() -> None:
    """Write the file, unless it is there."""
    corpus: list[Written] = []
    for name, annotation, raw in samples():
        if not has_meaning(raw):
            print(f"left out, for this release does not read it yet: {name}")
            continue
        kept = Written(
            name, raw.hex(), Codec(annotation).name, read(raw, annotation), understood(raw)
        )
        corpus.append(kept)
    version = bytes.fromhex(corpus[0].raw)[2]
    path = FOLDER / f"version_{version}.json"
    if path.exists():
        sys.exit(f"{path.name} is there, and what a release has written is never written again")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(corpus), indent=1) + b"\n")


if __name__ == "__main__":
    main()
