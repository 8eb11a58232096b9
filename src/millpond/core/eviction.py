"""Whether a server may drop, for want of memory, what must not be dropped: leases, results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millpond.errors import ClosedError, ReplyError
from millpond.events import EvictionPossible

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from millpond.core.client import Client

__all__ = ["Examination", "evicts"]


class Examination:
    """Ask each server once, when it is first used, and warn of one that may evict."""

    __slots__ = ("_clients", "_done", "_fix")

    def __init__(self, clients: Sequence[Client], fix: str) -> None:
        """Ask nothing yet; the first client's hooks are told, with `fix` as what to do."""
        self._clients = clients
        self._fix = fix
        self._done = False

    def begin(self) -> None:
        """Ask, once and without waiting.

        Redis: INFO memory.
        """
        if self._done:
            return
        self._done = True
        for client in self._clients:
            try:
                client.call("INFO", "memory").add_done_callback(self._told)
            except ClosedError:
                self._done = False

    def _told(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            # Out of reach, it is asked again; forbidden, the documentation says what to set.
            self._done = isinstance(error, ReplyError)
            return
        policy = evicts(future.result())
        if policy:
            self._clients[0].emit(EvictionPossible(policy=policy, fix=self._fix))


def evicts(info: object) -> str:
    """Name the eviction policy by which a server may drop keys; `""`: it drops none.

    Args:
        info: The reply to INFO memory: text, from some servers as bytes.
    """
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
    pairs = [line.strip().partition(":") for line in text.splitlines()]
    fields = {name: value for name, _, value in pairs}
    policy = fields.get("maxmemory_policy", "noeviction")
    limited = fields.get("maxmemory", "0") != "0"
    return policy if limited and policy != "noeviction" else ""
