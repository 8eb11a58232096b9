"""What a run leaves behind: what was asked for, by which call it was done, and its result.

`<fingerprint>:<token>`, one byte, 32 bits of the name of the type, and the codec's bytes. The byte
is `v` for a value, `n` for None, and `-` where the run has ended well and its result cannot be
kept. The last bars another run as the others do: what was done is done, and running it again to
learn what came of it is what all this is there to prevent.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

from millpond.core.entry import Unreadable
from millpond.errors import CodecError, ConfigError

if TYPE_CHECKING:
    from millpond.core.codec import Codec

__all__ = ["DIGEST", "digest_of", "pack_result", "pack_unkept", "read_digest", "read_result"]

DIGEST = 32
"""Characters of a fingerprint, as it is stored."""

_MARK = DIGEST + 1 + 24  # '<fingerprint>:<token>'
_HEAD = _MARK + 1 + 4
_VALUE, _NONE, _UNKEPT = b"v", b"n", b"-"


def digest_of(name: str, fingerprint: str | bytes) -> str:
    """Shorten a fingerprint: 32 hexadecimal digits, other ones for each key.

    Args:
        name: The Redis key, so that equal requests under two keys do not show.
        fingerprint: What the caller takes for it.

    Raises:
        ConfigError: It is neither text nor bytes.
    """
    given = cast("object", fingerprint)
    if isinstance(given, str):
        data = given.encode("utf-8", "surrogatepass")
    elif isinstance(given, bytes):
        data = given
    else:
        raise ConfigError(
            f"fingerprint must be str or bytes, not a {type(given).__name__}; pass the request's "
            "body, or text made of what was asked for, such as order.model_dump_json()"
        )
    return hashlib.blake2b(name.encode() + b"\0" + data, digest_size=DIGEST // 2).hexdigest()


def pack_result(codec: Codec, mark: str, value: Any) -> bytes:
    """Return what a run leaves behind that gave `value`.

    Raises:
        CodecError: It cannot be encoded.
    """
    if value is None:
        return _pack(codec, mark, _NONE)
    return _pack(codec, mark, _VALUE, codec.encode(value))


def pack_unkept(codec: Codec, mark: str) -> bytes:
    """Return what a run leaves behind whose result cannot be encoded."""
    return _pack(codec, mark, _UNKEPT)


def read_digest(record: bytes) -> str:
    """Return the fingerprint under which a run was done."""
    return record[:DIGEST].decode("ascii", "replace")


def read_result(codec: Codec, name: str, record: bytes) -> Any:
    """Return the result that a run left behind.

    Raises:
        CodecError: There is none, or it is of another type. It is no reason to run again.
    """
    kind, fingerprint = record[_MARK : _MARK + 1], record[_MARK + 1 : _HEAD]
    cause: Unreadable | None = None
    if kind == _UNKEPT:
        reason = "it could not be encoded then"
    elif kind not in (_VALUE, _NONE) or fingerprint != _name_of(codec):
        reason = f"it is no {codec.name}"
    else:
        try:
            return None if kind == _NONE else codec.decode(record[_HEAD:])
        except Unreadable as error:
            cause, reason = error, error.reason
    raise CodecError(
        f"what {name!r} stands for was done, but its result cannot be given: {reason}; it is not "
        "done again by itself: go back to the type with which it was stored, or DEL that key to "
        "have it done again"
    ) from cause


def _pack(codec: Codec, mark: str, kind: bytes, payload: bytes = b"") -> bytes:
    return b"".join((mark.encode(), kind, _name_of(codec), payload))


def _name_of(codec: Codec) -> bytes:
    return codec.fingerprint.to_bytes(4, "big")
