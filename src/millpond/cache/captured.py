"""The versions that something is stored under: captured before its load, and counted once there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from millpond.core.futures import consumed
from millpond.errors import BackendUnavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from millpond.cache.versions import Versions
    from millpond.core.entry import TagVersion

__all__ = ["NO_VERSIONS", "Capture", "Captured"]

_TRIES = 4


class Captured(msgspec.Struct, frozen=True):
    """The versions that a load began under."""

    era: bytes
    epoch: bytes  # of the tags that only the loader knows
    tags: tuple[TagVersion, ...] = ()


NO_VERSIONS = Captured(b"", b"")


class Capture:
    """Versions being read; they count once they are there, and the load begins after that."""

    __slots__ = ("_asked", "_tags", "_ttl", "_versions")

    def __init__(
        self, versions: Versions, tags: Sequence[str], asked: list[asyncio.Future[Any]], ttl: int
    ) -> None:
        """Use `Versions.capture` instead."""
        for future in asked:
            future.add_done_callback(consumed)
        self._versions = versions
        self._tags = tags
        self._asked = asked
        self._ttl = ttl

    async def done(self) -> Captured:
        """Return them; makes the namespace's where it has none.

        Raises:
            BackendError: Redis is out of reach.
            ConfigError: `restart="clear"` where there is no run id.

        Redis: nothing, or one EVALSHA where the namespace had no version.
        """
        tags = tuple(zip(self._tags, [await one for one in self._asked], strict=True))
        for _ in range(_TRIES):
            captured = self._versions.now(tags)
            if captured is not None:
                return captured
            await self._versions.keep(self._ttl)
        raise BackendUnavailable(
            "the namespace's version changes faster than it is read: do several servers answer at "
            "one address, each with a run id of its own?"
        )
