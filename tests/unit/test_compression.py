"""Compression: smaller or not at all, and nothing is believed that a frame says of itself."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond import CachePolicy, ConfigError
from millpond.cache.decision import Found, judge
from millpond.core import compression
from millpond.core.compression import Compression, decompress
from millpond.core.entry import IS_ZSTD, LARGEST_PAYLOAD, Unreadable, pack_value, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

zstd: Any = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)
PLAIN = b"over and over " * 100
FRAME = Compression(100).pack(PLAIN)[0] or b""


def endless(size: int, *, says: int | None) -> bytes:
    """Compress zeros in pieces, and let the frame say what it likes, or nothing."""
    compressor = zstd.ZstdCompressor()
    if says is not None:
        compressor.set_pledged_input_size(size)
    piece = bytes(2**20)
    parts = [compressor.compress(piece) for _ in range(size // len(piece))]
    frame = b"".join(parts) + compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME)
    if says is not None and says != size:
        true, lie = size.to_bytes(4, "little"), says.to_bytes(4, "little")
        assert 5 <= frame.index(true) <= 6  # behind the magic, a byte of flags, and the window
        frame = frame.replace(true, lie, 1)
        assert zstd.get_frame_info(frame).decompressed_size == says
    return frame


def test_payload_over_the_threshold_is_compressed_and_comes_back() -> None:
    compression = Compression(len(PLAIN) - 1)
    frame, flags = compression.pack(PLAIN)
    assert flags == IS_ZSTD
    assert frame is not None
    assert len(frame) < len(PLAIN) // 10
    assert decompress(frame) == PLAIN
    assert compression.pack(PLAIN) == (frame, flags), "one compressor serves for all"


@pytest.mark.parametrize("over", [len(PLAIN), 10**9, None])
def test_payload_up_to_the_threshold_is_left_as_it_is(over: int | None) -> None:
    assert Compression(over).pack(PLAIN) == (PLAIN, 0)


@given(st.binary(max_size=300))
def test_what_does_not_become_smaller_is_left_as_it_is(payload: bytes) -> None:
    kept, flags = Compression(0).pack(payload)
    assert kept is not None
    assert len(kept) <= len(payload)
    assert (decompress(kept) if flags else kept) == payload
    assert flags in (0, IS_ZSTD)
    assert (flags == 0) is (kept == payload)


def test_none_is_not_compressed() -> None:
    assert Compression(0).pack(None) == (None, 0)


# -- frames that nobody here has written -------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "says", "reason"),
    [
        (2**30, 2**30, "of 1073741824 bytes inside"),
        (2**30, None, "of a size that it does not say"),
        (2**27, 1000, "damaged|another size"),
        (2**20, 2**26, "damaged|another size"),
    ],
    ids=["honest", "silent", "understated", "overstated"],
)
def test_bomb_is_unreadable_in_little_memory_and_time(
    size: int, says: int | None, reason: str
) -> None:
    frame = endless(size, says=says)
    assert len(frame) < 100_000
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(Unreadable, match=reason):
            decompress(frame)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * 2**20
    assert time.process_time() - began < 1.0


def test_bomb_under_a_key_is_dead_and_says_how_large_it_is() -> None:
    raw = pack_value(b"8 bytes!", 0, 1, endless(2**30, says=2**30), created_ms=1, flags=IS_ZSTD)
    verdict = judge(raw, version=0, fingerprint=1)
    assert verdict.found is Found.DEAD
    assert "1073741824 bytes inside; at most 67108864 are read" in verdict.reason
    assert verdict.seen.args() == ("g", b"8 bytes!")


def test_largest_payload_can_be_compressed_and_read() -> None:
    frame, flags = Compression(0).pack(bytes(LARGEST_PAYLOAD))
    assert flags == IS_ZSTD
    assert frame is not None
    assert decompress(frame) == bytes(LARGEST_PAYLOAD)
    frame, _ = Compression(0).pack(bytes(LARGEST_PAYLOAD + 1))
    assert frame is not None
    with pytest.raises(Unreadable, match="67108865 bytes inside"):
        decompress(frame)


@pytest.mark.parametrize(
    "frame",
    [b"", b"\x28", FRAME[:4], FRAME[:-1], FRAME + b"\0", FRAME + FRAME, PLAIN, FRAME[1:]],
    ids=["empty", "byte", "magic", "cut", "longer", "twice", "plain", "late"],
)
def test_anything_but_one_whole_frame_is_unreadable(frame: bytes) -> None:
    with pytest.raises(Unreadable):
        decompress(frame)


def test_skippable_and_dictionary_frames_are_unreadable() -> None:
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    wordbook = zstd.ZstdDict(b"over and over again " * 10, is_raw=True)
    known = zstd.compress(
        PLAIN, zstd_dict=wordbook, options={zstd.CompressionParameter.dict_id_flag: 0}
    )
    for frame in (skippable, skippable + FRAME, known):
        with pytest.raises(Unreadable):
            decompress(frame)


def test_damage_to_a_frame_never_gives_another_payload() -> None:
    for at in range(len(FRAME)):
        for byte in range(256):
            try:
                found = decompress(FRAME[:at] + bytes([byte]) + FRAME[at + 1 :])
            except Unreadable:
                continue
            assert found == PLAIN


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda rest: FRAME[:4] + rest))
def test_any_bytes_are_a_frame_or_unreadable(frame: bytes) -> None:
    with contextlib.suppress(Unreadable):
        decompress(frame)


# -- without the library -----------------------------------------------------------------------


@pytest.fixture
def without_zstd(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("backports.zstd", "backports", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)  # makes importing it fail
    forget = compression._zstd.cache_clear  # pyright: ignore[reportPrivateUsage]
    forget()
    yield
    forget()


@pytest.mark.usefixtures("without_zstd")
def test_policy_that_needs_the_library_says_how_to_install_it_when_it_is_made() -> None:
    CachePolicy()
    with pytest.raises(ConfigError, match="compress_over needs Zstandard") as refused:
        CachePolicy(compress_over=2000)
    if sys.version_info < (3, 14):
        assert "pip install 'millpond[zstd]'" in str(refused.value)


@pytest.mark.usefixtures("without_zstd")
def test_reader_without_the_library_takes_a_compressed_entry_for_dead() -> None:
    raw = pack_value(b"8 bytes!", 0, 1, FRAME, created_ms=1, flags=IS_ZSTD)
    verdict = judge(raw, version=0, fingerprint=1)
    assert verdict.found is Found.DEAD
    assert verdict.reason.startswith("compressed, and ")
    assert "pip install" in verdict.reason or sys.version_info >= (3, 14)


def test_library_is_not_imported_before_it_is_needed() -> None:
    script = (
        "import sys, millpond;"
        "millpond.Cache(millpond.Client.from_url('redis://x'), 'n', ttl=1);"
        "assert not [name for name in sys.modules if 'zstd' in name]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# -- the header and the policy -----------------------------------------------------------------


def test_flag_is_the_one_that_the_header_documents() -> None:
    raw = pack_value(b"8 bytes!", 0, 1, FRAME, created_ms=1, flags=IS_ZSTD)
    assert raw[4] == 2
    assert parse(raw).flags == IS_ZSTD
    verdict = judge(raw, version=0, fingerprint=1)
    assert (verdict.found, verdict.payload) == (Found.VALUE, PLAIN)


@pytest.mark.parametrize("bytes_", [-1, True, 2.5, "2 kB"])
def test_threshold_that_cannot_be_is_refused(bytes_: Any) -> None:
    with pytest.raises(ConfigError, match="compress_over must be a number of bytes"):
        CachePolicy(compress_over=bytes_)
