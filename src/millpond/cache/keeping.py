"""A load's lease, renewed for as long as its loader runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from millpond.core.scripts import Script
from millpond.errors import ClosedError, ConfigError

if TYPE_CHECKING:
    from millpond.core.client import Client

__all__ = ["Lease"]

_RENEW = Script.load("millpond.cache", "renew", after=("soft",))


class Lease:
    """A lease being renewed at half its time, by timers: a load shorter than that costs none."""

    __slots__ = ("_client", "_generation", "_key", "_last", "_loop", "_ms", "_timer")

    def __init__(
        self, client: Client, key: str, generation: bytes, ms: int, longest: float
    ) -> None:
        """Start the clock; after `longest` seconds it is renewed no more, whoever holds on."""
        self._client = client
        self._key = key
        self._generation = generation
        self._ms = ms
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time() + longest
        self._timer: asyncio.TimerHandle | None = None
        self._arm()

    def stop(self) -> None:
        """Renew no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._loop.call_later(self._ms / 2000, self._renew)

    def _renew(self) -> None:
        self._timer = None
        if self._loop.time() >= self._last:
            return
        try:
            future = self._client.run(_RENEW, keys=[self._key], args=[self._generation, self._ms])
        except (ClosedError, ConfigError):
            return
        self._arm()
        future.add_done_callback(self._renewed)

    def _renewed(self, future: asyncio.Future[Any]) -> None:
        """Stop when the lease was revoked; go on when Redis could not say."""
        if not future.cancelled() and future.exception() is None and future.result() == 0:
            self.stop()
