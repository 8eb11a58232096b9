"""Many keys at once: one MGET for all, and one loop over what it brought.

A hit of `get_many` costs little more than decoding it, so the loop has nothing in it that a plain
hit does not need. Whatever is no plain hit is judged as any other read is.

Keys that Python holds equal are one key, and so are those that Redis does (`42` and `"42"`). The
first are one entry of the result, as in any dict; of the second each has its own, so that everybody
finds what was asked for under the very key that was asked with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from millpond.cache.batches import BATCH, batched
from millpond.cache.decision import Found, Seen, Verdict
from millpond.cache.landing import Landed
from millpond.cache.missing import MISSING
from millpond.core.entry import HEAD_SIZE
from millpond.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from millpond.cache.near import Near
    from millpond.cache.store import Store
    from millpond.core.keys import Key

__all__ = ["named", "read_many", "several"]

T = TypeVar("T")
K = TypeVar("K", bound="Key")


def several(keys: Iterable[K], call: str) -> Iterator[K]:
    """Return what is given one by one, if it is several keys and not one.

    Args:
        keys: The caller's.
        call: What is called, for the message.

    Raises:
        ConfigError: It is one key, or cannot be iterated over.
    """
    given = cast("object", keys)
    if isinstance(given, str | bytes | bytearray):  # which Python iterates over happily
        raise ConfigError(
            f"{call} takes several keys, as in [1, 2, 3]; a {type(given).__name__} is one: "
            "put it into a list"
        )
    try:
        return iter(keys)
    except TypeError as error:
        raise ConfigError(
            f"{call} takes a list of keys, as in [1, 2, 3], not a {type(given).__name__}: {error}"
        ) from error


def named(keys: Iterable[K], name: Callable[[Any], str]) -> dict[K, str]:
    """Return the Redis key of each key, in order, equal ones once.

    Args:
        keys: As `several` returns them.
        name: Makes a Redis key of one.

    Raises:
        ConfigError: A key that cannot be one.
    """
    known = list(keys)
    # Named before they are hashed: a list among them is told what it is, a bad key.
    return dict(zip(known, map(name, known), strict=True))


async def read_many(
    store: Store[T], names: Mapping[K, str]
) -> tuple[dict[K, T], dict[str, Verdict], dict[str, Verdict]]:
    """Read values, and count those that are served past their time.

    Args:
        store: Of the cache.
        names: The Redis key of each key.

    Returns:
        The values; of the Redis keys that have none, what is there instead; and of those whose
        values somebody should refresh, what is served. A batch that Redis did not answer has no
        values, unless `on_unavailable` is `"raise"`.

    Raises:
        BackendError: Redis is out of reach, and that is not to be hidden.

    Redis:
        MGET of what is not near, at most 500 keys in each, with a GET for the namespace's version,
        and one for each tag that the values have.
    """
    values: dict[K, T] = {}
    missed, due = dict[str, Verdict](), dict[str, Verdict]()
    tagged: list[tuple[K, str, Verdict]] = []
    versions, decode = store.versions, store.codec.decode_or_raise

    def read(key: K, name: str, found: Verdict) -> None:  # the long way
        is_value = found.found is Found.VALUE
        value = store.unload(name, Landed(found.payload)) if is_value else MISSING
        if value is not MISSING:
            values[key] = value
            store.counters.stale += found.stale
            if found.due:
                due[name] = found
        else:
            # By its generation, and never in place: nobody can serve it.
            seen = Seen("g", found.generation)
            missed[name] = Verdict(Found.DEAD, seen=seen) if is_value else found

    asked = names.items() if store.near is None else _not_near(store.near, names, values)
    some_near = bool(values)
    if store.near is not None and asked:
        store.near.rearm()  # MGET is not tracked, so this would serve nothing near ever again
    for some in batched(asked, BATCH):
        versions.ask()
        try:
            replies = await store.client.call("MGET", *[name for _, name in some])
        except BackendError as error:
            verdict = store.verdicts.barred(some[0][1], error)
            missed.update([(name, verdict) for _, name in some])
            continue
        hit = versions.hit
        for (key, name), raw in zip(some, replies, strict=True):
            if raw is not None and raw.startswith(hit):
                try:
                    values[key] = decode(raw[HEAD_SIZE:])
                except Exception as error:  # noqa: BLE001  (a value's own methods run in there)
                    missed[name] = store.undecodable(name, raw, error)
                continue
            found = store.verdicts.judge(name, raw)
            if found.tags:
                tagged.append((key, name, found))
            else:
                read(key, name, found)
    if tagged:
        # The versions of all their tags with one batch, and each but once.
        looked = versions.look(list({tag for _, _, each in tagged for tag, _ in each.tags}))
        for key, name, found in tagged:
            try:
                settled = await store.verdicts.settled(found, looked)
            except BackendError as error:
                settled = store.verdicts.barred(name, error)
            read(key, name, settled)
    if tagged or some_near:
        values = {key: values[key] for key in names if key in values}
    return values, missed, due


def _not_near(near: Near[T], names: Mapping[K, str], values: dict[K, T]) -> list[tuple[K, str]]:
    """Take what there are copies of; return the rest."""
    rest: list[tuple[K, str]] = []
    for key, name in names.items():
        value = near.get(name)
        if value is MISSING:
            rest.append((key, name))
        else:
            values[key] = value
    return rest
