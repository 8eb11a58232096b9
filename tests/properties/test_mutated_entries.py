"""Whatever is done to an entry's bytes: a miss and an event, or a value that the bytes do say.

The suite draws some thousands; `MILLPOND_FUZZ=1000000` draws as many as that, for each test.

Another era is a miss like any other, and so is a tag that is not what it was: no event.

A plain payload has no checksum. Changed bytes that are another value of the type, a 6 in place of
a 5, are read as that value, and so is a cut entry with the None flag read as None. A compressed
payload has one, and is the right value or none.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import pytest

from millpond import MISSING, Cache, Client
from millpond.cache.decision import Found, judge
from millpond.core.codec import Codec
from millpond.core.entry import IS_ZSTD, Unreadable, parse
from millpond.events import EntryUnreadable, Event
from tests.properties.mutations import SAMPLES, stream, whole

COUNT = int(os.environ.get("MILLPOND_FUZZ", "0"))
CODECS = [Codec(annotation, 1) for annotation, _ in SAMPLES]
PAYLOADS = [parse(whole(*sample)[0]).payload_at for sample in SAMPLES]

# What a reader does with the bytes: load, wait, or load past them. None of it is a value.
NO_VALUE = {Found.LEASE, Found.WRITE, Found.NEWER, Found.ERROR, Found.DEAD, Found.REVOKED}


def check_value(place: int, raw: bytes, found: Any) -> str:
    """Check a value that mutated bytes gave."""
    annotation, right = SAMPLES[place]
    if found == right:
        return "the right value"
    assert not raw[4] & IS_ZSTD, "a damaged frame gave another value"
    if found is None:
        return "None"
    original = whole(annotation, right)[0][PAYLOADS[place] :]
    assert raw[parse(raw).payload_at :] != original, "the same payload gave another value"
    if annotation is not Any:
        codec = CODECS[place]
        codec.decode(codec.encode(found))  # refuses what is not of the type
    return "another value"


@pytest.mark.timeout(600)
def test_mutated_entry_is_no_value_or_one_that_its_bytes_say() -> None:
    seen = Counter[str]()
    for place, raw in stream(1, COUNT or 30_000):
        codec = CODECS[place]
        verdict = judge(raw, version=1, fingerprint=codec.fingerprint)
        if verdict.found is not Found.VALUE:
            assert verdict.found in NO_VALUE
            assert len(verdict.reason) < 150
            seen[verdict.found.value] += 1
            continue
        try:
            found = None if verdict.payload is None else codec.decode(verdict.payload)
        except Unreadable as problem:
            seen["undecodable" if problem.reason else "silent"] += 1
            continue
        seen[check_value(place, raw, found)] += 1
    print(dict(seen))
    assert {"dead", "undecodable", "the right value", "newer", "lease"} <= set(seen)
    assert "silent" not in seen


@pytest.mark.timeout(600)
async def test_mutated_entry_is_a_miss_and_an_event_through_a_real_server(url: str) -> None:
    told: list[Event] = []
    seen = Counter[str]()
    silent = {Found.LEASE, Found.WRITE, Found.NEWER, Found.ERROR, Found.REVOKED}
    async with Client.from_url(url, prefix="t", hooks=[told.append]) as client:
        caches = [
            Cache[Any](client, f"n{place}", ttl=60, type=annotation, version=1)
            for place, (annotation, _) in enumerate(SAMPLES)
        ]
        for place in range(len(SAMPLES)):  # the era that the samples are packed in
            await client.call("SET", f"t:n{place}:{{}}era", bytes(12), "PX", 600_000)

        async def one(number: int, place: int, raw: bytes) -> tuple[int, bytes, Any]:
            cache = caches[place]
            client.call("SET", cache.key(number), raw, "PX", 60_000)
            return place, raw, await cache.get(number)

        drawn = stream(2, COUNT or 5_000)
        while batch := [(number, *item) for number, item in zip(range(500), drawn, strict=False)]:
            told.clear()
            found = await asyncio.gather(*(one(*each) for each in batch))
            misses = past = 0
            for place, raw, value in found:
                if value is not MISSING:
                    seen[check_value(place, raw, value)] += 1
                    continue
                fingerprint = CODECS[place].fingerprint
                verdict = judge(raw, version=1, fingerprint=fingerprint)
                if verdict.found not in silent:
                    # What is past its time is a miss like any, whatever its payload.
                    misses += verdict.soft is None
                    past += verdict.soft is not None
            seen["misses with an event"] += misses
            assert misses <= len(told) <= misses + past
            assert all(type(event) is EntryUnreadable for event in told)
    print(dict(seen))
    assert seen["misses with an event"]
