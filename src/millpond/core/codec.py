"""Values to bytes and back: MessagePack by msgspec, typed by the cache's annotation.

What a hit returns is decoded straight into the annotation: msgspec structs, dataclasses, attrs
classes, TypedDicts, NamedTuples, builtins, unions. Pydantic models are found by their methods
(pydantic is never imported) and travel as one JSON string, by field name, so that aliases, strict
mode and validators cannot refuse what the model itself wrote.

Schemas change while processes of two releases run side by side. Decoding ignores what it does not
know and fills in defaults, so that a field with a default may be added or removed freely, in both
directions; for this the fingerprint is of the type's *name*, not of its fields. What no longer
fits (a field without a default, another type) is `Unreadable`: a miss, and stored anew.

Encoding reads back what it wrote. Neither msgspec nor a dataclass checks its fields when it is
made, so `User(id="42")` from a careless query would be stored happily and be a miss forever; here
it is a `CodecError` that names the field. A fill thereby costs what one more hit would. It is also
compared with what was written (`roundtrip.py`): decoding would make a `User` of a dict.
"""

from __future__ import annotations

import inspect
import re
import zlib
from typing import TYPE_CHECKING, Any, cast

import msgspec

from millpond.core.annotations import custom_types, describe, shareable
from millpond.core.entry import IS_NONE, LARGEST_PAYLOAD, NO_ERA, Unreadable, hit_prefix
from millpond.core.roundtrip import misread, unplain
from millpond.errors import CodecError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Codec"]

_NAME = "msgpack"
_QUOTED = re.compile(r"'.*'", re.DOTALL)
_MASKED = '"**********"'  # how pydantic writes a SecretStr


class Codec:
    """Encode and decode the values of one cache.

    Attributes:
        name: The annotation, readable: `User | None`.
        version: The user's version.
        fingerprint: 32 bits of the codec's and the annotation's names: the same in every process,
            and after a class has moved to another module.
        prefix: What `raw` of a readable value begins with; then `decode(raw[HEAD_SIZE:])`.
        none_prefix: What `raw` of a readable None begins with.
        shareable: Whether one decoded value may be given to several callers.
    """

    __slots__ = (
        "_encode",
        "_plain",
        "decode_or_raise",
        "fingerprint",
        "name",
        "none_prefix",
        "prefix",
        "shareable",
        "version",
    )

    def __init__(self, annotation: Any = Any, version: int = 0) -> None:
        """Prepare for one annotation; classes it names must be defined by now.

        Args:
            annotation: Any type that msgspec decodes, pydantic models included. With `Any`, plain
                MessagePack: None, bool, int, float, str, bytes, lists and dicts of these, and
                datetimes with a time zone.
            version: 0 to 65535; raising it makes everything stored before a miss.

        Raises:
            ConfigError: The version is out of range, or the annotation cannot be decoded.
        """
        if type(version) is not int or not 0 <= version <= 0xFFFF:
            raise ConfigError(f"version must be an int from 0 to 65535, not {version!r}")
        self.name = describe(annotation)
        try:
            foreign = custom_types(annotation)
            readers = {cls: _reader(cls) for cls in foreign}
            decoder = msgspec.msgpack.Decoder(
                annotation, dec_hook=lambda cls, data: readers[cls](data)
            )
        except Exception as error:  # resolving an annotation runs what its author wrote
            raise ConfigError(
                f"type={self.name} cannot be decoded: {error}; use msgspec Structs, dataclasses, "
                "attrs classes, TypedDicts, pydantic models and builtin types, defined before "
                "this line (in a union of classes each is a Struct with tag=True; a union of "
                "pydantic models goes into a RootModel)"
            ) from error
        self.version = version
        self.fingerprint = zlib.crc32(f"{_NAME} {self.name}".encode())
        self.prefix = hit_prefix(version, self.fingerprint, NO_ERA)
        self.none_prefix = hit_prefix(version, self.fingerprint, NO_ERA, flags=IS_NONE)
        self.shareable = shareable(annotation)
        self._encode = msgspec.msgpack.Encoder(enc_hook=_write_model).encode
        self.decode_or_raise = cast("Callable[[bytes], Any]", decoder.decode)
        self._plain = annotation is Any

    def encode(self, value: object) -> bytes:
        """Return the payload, having read it back.

        Args:
            value: Of the annotated type; None is the caller's, by a flag in the header.

        Raises:
            CodecError: The value cannot be encoded, would not be read back as what it is, or takes
                more than `LARGEST_PAYLOAD` bytes. The message names its type, the cache's and the
                fix, never the value.
        """
        try:
            payload = self._encode(value)
            size = len(payload)
            again = self.decode_or_raise(payload) if size <= LARGEST_PAYLOAD else value
            lost = self._lost(value, again)
        except Exception as error:  # a value's own methods run in there
            raise CodecError(self._refusal(value, _reason(error))) from error
        if size > LARGEST_PAYLOAD:
            raise CodecError(
                f"a value of {size} bytes cannot be kept in a cache of type={self.name}: at most "
                f"{LARGEST_PAYLOAD} are, for it would hold up everybody else on the connection; "
                "keep its parts under keys of their own, or where it lies instead of it"
            )
        if lost:
            raise CodecError(self._refusal(value, lost))
        return payload

    def _lost(self, value: object, again: object) -> str:
        """Say what of a value does not come back, if something does not."""
        if not self._plain:
            return misread(value, again)
        found = unplain(value) if again != value else ""
        return found and f"a {found} inside would not come back as one"

    def decode(self, payload: bytes) -> Any:
        """Return the value.

        Args:
            payload: Any bytes at all.

        Raises:
            Unreadable: They are no value of the annotated type. Nothing else is raised.
        """
        try:
            return self.decode_or_raise(payload)
        except Exception as error:  # a value's own methods run in there
            raise self.unreadable(error) from error

    def unreadable(self, error: Exception) -> Unreadable:
        """Say why `decode_or_raise`, the decoder as it is, could not read a payload."""
        return Unreadable(f"not a {self.name}: {_reason(error)}")

    def _refusal(self, value: object, reason: str) -> str:
        """Say which value cannot be kept in which cache, and what to do."""
        fix = (
            "give the cache the type that its loaders return, such as type=User"
            if self._plain
            else "return exactly that type from the loader, or give the cache another type="
        )
        return (
            f"a value of type {type(value).__qualname__} cannot be kept in a cache of "
            f"type={self.name}: {reason}; {fix}"
        )


class _ModelError(ValueError):
    """A model's own verdict, in words that quote no value."""


def _reader(cls: type) -> Callable[[object], object]:
    """Return what turns the JSON of one pydantic model class into a model."""
    validate = cast("Callable[..., object] | None", getattr(cls, "model_validate_json", None))
    if validate is None or not hasattr(cls, "model_dump_json"):
        raise TypeError(f"{cls.__qualname__} cannot be stored")
    # pydantic before 2.11 validates by alias alone; models without aliases do not mind
    options = {"by_alias": False, "by_name": True}
    known = "by_name" in inspect.signature(validate).parameters
    keywords = options if known else {}

    def read(data: object) -> object:
        try:
            return validate(data, **keywords)
        except Exception as error:
            raise _ModelError(_model_reason(cls, error)) from error

    return read


def _write_model(value: object) -> str:
    """Return the JSON of a pydantic model; msgspec asks for whatever it does not know itself."""
    dump = cast("Callable[..., str] | None", getattr(value, "model_dump_json", None))
    if dump is None or isinstance(value, type):
        raise TypeError(f"objects of type {type(value).__qualname__} cannot be stored")
    # Its warnings quote values; what they warn of shows when the text is read back.
    text = dump(by_alias=False, round_trip=True, warnings=False)
    if _MASKED in text and _reader(type(value))(text) != value:
        raise _ModelError(
            f"{type(value).__qualname__} holds a secret that pydantic writes as asterisks "
            "(leave it out, or give it a field_serializer that writes it)"
        )
    return text


def _model_reason(cls: type, error: Exception) -> str:
    """Say where a model refuses its JSON: pydantic's own message quotes the input."""
    listed = cast("Callable[[], list[dict[str, Any]]] | None", getattr(error, "errors", None))
    if listed is None:
        return f"{cls.__qualname__} raised {type(error).__name__}"
    first = listed()[0]
    # Only a field's name: further steps may be the keys of a dict, and those are values.
    field = next(
        (step for step in first["loc"][:1] if step in getattr(cls, "model_fields", ())), ""
    )
    return f"{cls.__qualname__} refuses it ({first['type']}{' at ' if field else ''}{field})"


def _reason(error: Exception) -> str:
    """Say what went wrong without quoting the value, for it goes to logs."""
    if isinstance(error, msgspec.MsgspecError):
        # msgspec's own words quote at most an enum's value. A cause is an exception of the user's
        # own class (`__post_init__`), whose words may quote anything.
        cause = error.__cause__
        if cause is not None and not isinstance(cause, _ModelError):
            return f"{type(cause).__name__} raised by its class"
        return _QUOTED.sub("'...'", str(error))[:200]
    if isinstance(error, _ModelError | TypeError | OverflowError | RecursionError):
        return str(error)[:200]
    return f"{type(error).__name__} was raised"
