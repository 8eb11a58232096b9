"""Payloads made smaller by Zstandard, and made large again without trusting who wrote them.

The library is the interpreter's own from Python 3.14 on, and before that `backports.zstd`, which is
the same module: the extra `millpond[zstd]`. It is imported when a policy first asks for it, or a
reader first meets a compressed payload.

A frame says how large it is inside, and a few kilobytes may say, and be, terabytes. So what must
stay true: *nothing is read beyond `LARGEST_PAYLOAD`, and no byte is reserved because a frame says
so.* A frame that says more, or does not say, is unreadable before it is opened, and one that says
less than it holds is left where its own word ends. A frame carries a checksum: one that is damaged
is unreadable, never another value.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

from millpond.core.entry import IS_ZSTD, LARGEST_PAYLOAD, Unreadable
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Compression", "decompress", "require_zstd"]

_MISSING = (
    "this Python was built without compression.zstd"
    if sys.version_info >= (3, 14)
    else "backports.zstd is not installed: pip install 'millpond[zstd]'"
)
_LEVEL = 3  # Zstandard's own default: beyond it small values gain little and cost much
_LARGEST_WINDOW = LARGEST_PAYLOAD.bit_length() - 1  # as a power of two


@cache
def _zstd() -> ModuleType | None:
    """Import the library, once; None: there is none."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415
        else:
            from backports import zstd  # noqa: PLC0415
    except ImportError:
        return None
    return zstd


def require_zstd(option: str) -> ModuleType:
    """Return the library.

    Args:
        option: What needs it, for the message.

    Raises:
        ConfigError: It is missing; the message says how to install it.
    """
    library = _zstd()
    if library is None:
        raise ConfigError(f"{option} needs Zstandard, and {_MISSING}")
    return library


class Compression:
    """What one cache compresses, if anything."""

    __slots__ = ("_compressor", "_over")

    def __init__(self, over: int | None) -> None:
        """Make one compressor for all values of a cache: a new one for each costs more than it.

        Args:
            over: Payloads of more bytes than this are compressed; None: none are.

        Raises:
            ConfigError: The library is missing.
        """
        self._over = over
        if over is not None:
            zstd = require_zstd("compress_over")
            parameter = zstd.CompressionParameter
            self._compressor = zstd.ZstdCompressor(
                options={parameter.compression_level: _LEVEL, parameter.checksum_flag: 1}
            )

    def pack(self, payload: bytes | None) -> tuple[bytes | None, int]:
        """Return what is stored of a payload, and the flag that says so.

        It is compressed only where that makes it smaller.
        """
        if self._over is None or payload is None or len(payload) <= self._over:
            return payload, 0
        frame: bytes = self._compressor.compress(payload, self._compressor.FLUSH_FRAME)
        return (frame, IS_ZSTD) if len(frame) < len(payload) else (payload, 0)


def decompress(frame: bytes) -> bytes:
    """Return the payload in one whole frame.

    Args:
        frame: Any bytes at all.

    Raises:
        Unreadable: They are none, or too large inside, or there is no library to read them.
            Nothing else is raised.
    """
    zstd = _zstd()
    if zstd is None:
        raise Unreadable(f"compressed, and {_MISSING}")
    try:
        size: int | None = zstd.get_frame_info(frame).decompressed_size
    except zstd.ZstdError:
        raise Unreadable("no Zstandard frame") from None
    if size is None or not 0 < size <= LARGEST_PAYLOAD:
        says = "of a size that it does not say" if size is None else f"of {size} bytes inside"
        raise Unreadable(f"a Zstandard frame {says}; at most {LARGEST_PAYLOAD} are read")
    # Made for one frame, and no more of its output is kept than has been written.
    reader = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW}
    )
    try:
        # One byte more than it says: the frame's end is behind its last byte.
        payload: bytes = reader.decompress(frame, size + 1)
    except zstd.ZstdError:
        raise Unreadable("a damaged Zstandard frame") from None
    if not reader.eof or reader.unused_data or len(payload) != size:
        raise Unreadable("a Zstandard frame of another size than it says")
    return payload
