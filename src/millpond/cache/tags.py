"""What a tag may be: a key, named so that different tags never collide."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection

    from millpond.core.keys import Key, Keyspace

__all__ = ["MOST_TAGS", "check_tags", "not_too_many", "tag_names"]

T = TypeVar("T")

MOST_TAGS = 50
"""Of one entry: each costs a read for every hit, and all must fit into the entry's header."""


def tag_names(
    keyspace: Keyspace, tags: Collection[Key], *, of_one_entry: bool = True
) -> tuple[str, ...]:
    """Return what tags are called in Redis, each once.

    Args:
        keyspace: Of the cache.
        tags: Keys: `"premium"`, `("author", 7)`.
        of_one_entry: Whether they are to be stored with an entry, which has room for so many.

    Raises:
        ConfigError: Too many, one that is no key, or a str instead of a collection of them.
    """
    tags = _collection(tags, "keys")
    names = tuple(dict.fromkeys(keyspace(tag).removeprefix(keyspace.head) for tag in tags))
    if of_one_entry:
        not_too_many(names)
    return names


def check_tags(templates: Collection[str]) -> tuple[str, ...]:
    """Return the templates of a function's tags, each once.

    Args:
        templates: `"org:{org_id}"`, `"premium"`; what they say is not looked at.

    Raises:
        ConfigError: Too many, or a str instead of a collection of them.
    """
    chosen = tuple(dict.fromkeys(_collection(templates, "templates")))
    not_too_many(chosen)
    return chosen


def _collection(tags: Collection[T], what: str) -> Collection[T]:
    if isinstance(tags, str | bytes) or not hasattr(tags, "__iter__"):
        raise ConfigError(
            f"tags are a list or tuple of {what}, not a {type(tags).__name__}: tags=[{tags!r}]"
        )
    return tags


def not_too_many(names: Collection[object]) -> None:
    """Refuse more tags than an entry may have.

    Raises:
        ConfigError: Naming the fix.
    """
    if len(names) > MOST_TAGS:
        raise ConfigError(
            f"{len(names)} tags are more than the {MOST_TAGS} that an entry may have; each is one "
            "more read for every hit: tag what is invalidated together, and delete() single keys"
        )
