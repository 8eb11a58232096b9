"""Key templates: `"{user_id}"`, `"by-email:{email}"`, `"{order.id}:{day}"`.

A template is written like a key in redis-cli: parts, with `:` between them. Each part is a literal
or one field, and a field is a parameter's name, perhaps with attributes. One part is that value
itself, so that `"{user_id}"` is the key that `cache.get(user_id)` reads; several are a tuple.

Different values never give one key, because nothing is pasted together: parts stay parts until
`Keyspace` escapes and joins them. What would paste (`"{a}-{b}"`, where `x-y, z` and `x, y-z` would
be one) is refused, and so is what turns values into text before they are checked (`!r`, `:.2f`).
"""

from __future__ import annotations

from operator import attrgetter, itemgetter
from string import Formatter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec

from millpond.core.keys import part_text
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millpond.core.keys import Key

__all__ = ["Field", "key_maker", "parse_key", "parse_text", "text_maker"]

Values: TypeAlias = "tuple[Any, ...]"


class Field(msgspec.Struct, frozen=True):
    """What stands between braces: `{user.id}` is `user` and `("id",)`."""

    name: str
    attributes: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """As it is written, without the braces."""
        return ".".join((self.name, *self.attributes))


Piece: TypeAlias = "str | Field"


def parse_key(template: str) -> tuple[Piece, ...]:
    """Return the parts of a key template.

    Raises:
        ConfigError: It is none; the message quotes it and names the fix.
    """
    parts: list[list[Piece]] = [[]]
    for piece in parse_text(template):
        if isinstance(piece, Field):
            parts[-1].append(piece)
            continue
        first, *rest = piece.split(":")
        parts[-1].extend([first] if first else [])
        parts.extend([text] if text else [] for text in rest)
    for part in parts:
        if not part:
            raise ConfigError(
                f"the template {template!r} has an empty part: ':' stands between two parts, as in "
                "'{user_id}:{locale}', and a template without parameters is a word such as 'all'"
            )
        if len(part) > 1:
            apart = ":".join(filter(None, map(_written, part)))
            raise ConfigError(
                f"the template {template!r} pastes values together, so that different ones could "
                f"give one key; put ':' between them, as in {apart!r}"
            )
    return tuple(part[0] for part in parts)


def parse_text(template: str) -> tuple[Piece, ...]:
    """Return the literals and fields of any template, neighbouring literals joined.

    Raises:
        ConfigError: It is none; the message quotes it and names the fix.
    """
    if not isinstance(template, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"a template is a str, not a {type(template).__name__}: @cache.cached('{{user_id}}')"
        )
    pieces: list[Piece] = []
    try:
        for literal, name, spec, conversion in Formatter().parse(template):
            if literal:
                joins = bool(pieces) and isinstance(pieces[-1], str)
                pieces[-1:] = [f"{pieces[-1]}{literal}"] if joins else [*pieces[-1:], literal]
            if name is not None:
                pieces.append(_field(template, name, f"{conversion or ''}{spec or ''}"))
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"the template {template!r} cannot be read: {error}; write a brace that is meant as "
            "one twice"
        ) from error
    return tuple(pieces)


def key_maker(parts: tuple[Piece, ...], places: Mapping[str, int]) -> Callable[[Values], Key]:
    """Return what takes a key out of a call's arguments.

    Args:
        parts: Of `parse_key`.
        places: Where the arguments of a call have which parameter.
    """
    if len(parts) == 1:
        return _getter(parts[0], places)
    plain = [places[part.name] for part in parts if isinstance(part, Field) and not part.attributes]
    if len(plain) == len(parts):
        return itemgetter(*plain)
    getters = [_getter(part, places) for part in parts]
    return lambda values: tuple([get(values) for get in getters])


def text_maker(pieces: tuple[Piece, ...], places: Mapping[str, int]) -> Callable[[Values], str]:
    """Return what writes a call's arguments as text, unescaped: tags are named by text.

    Args:
        pieces: Of `parse_text`.
        places: Where the arguments of a call have which parameter.
    """
    getters = [_getter(piece, places) for piece in pieces]
    return lambda values: "".join([part_text(get(values)) for get in getters])


def _field(template: str, written: str, extra: str) -> Field:
    name, *attributes = written.split(".")
    if extra or not all(step.isidentifier() for step in (name, *attributes)):
        raise ConfigError(
            f"the template {template!r} may have parameters and their attributes between braces, "
            f"as in '{{user_id}}' and '{{user.id}}', and no conversions, formats or indexes: "
            "compute what you need before the call, and pass it"
        )
    return Field(name, tuple(attributes))


def _getter(piece: Piece, places: Mapping[str, int]) -> Callable[[Values], Any]:
    if isinstance(piece, str):
        return lambda _: piece
    take = cast("Callable[[Values], Any]", itemgetter(places[piece.name]))
    if not piece.attributes:
        return take
    follow = attrgetter(".".join(piece.attributes))

    def get(values: Values) -> Any:
        try:
            return follow(take(values))
        except AttributeError as error:
            raise ConfigError(
                f"{{{piece.path}}} in the template cannot be followed: {error}"
            ) from error

    return get


def _written(piece: Piece) -> str:
    return f"{{{piece.path}}}" if isinstance(piece, Field) else piece.strip("-_./ ")
