"""What tests of idempotency share: a member that stands for a process, and what it pays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from millpond import Client, Idempotency

if TYPE_CHECKING:
    from types import TracebackType

    from millpond import Run
    from millpond.events import Event

__all__ = ["Payer", "Receipt", "Till"]

E = TypeVar("E", bound="Event")


class Receipt(msgspec.Struct, frozen=True):
    """What a payment gives."""

    number: int
    fence: int = 0


class Till:
    """Takes payments, each with a receipt of its own; may hold them, or fail.

    Attributes:
        paid: Receipts that were given out.
        begun: How often a payment was begun.
        error: Raised instead, where it is set.
    """

    def __init__(self, *, held: bool = False) -> None:
        """Begin with none; `held` payments wait for `release`."""
        self.paid: list[Receipt] = []
        self.begun = 0
        self.inside = self.most = 0
        self.error: Exception | None = None
        self._gate = asyncio.Event()
        if not held:
            self._gate.set()

    async def pay(self, run: Run) -> Receipt:
        """Take one payment."""
        self.begun += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self._gate.wait()
        finally:
            self.inside -= 1
        if self.error is not None:
            raise self.error
        self.paid.append(Receipt(len(self.paid) + 1, run.fence))
        return self.paid[-1]

    def release(self) -> None:
        """Let payments go, those to come as well."""
        self._gate.set()


class Payer:
    """A client with a connection of its own, and its results: to Redis, a process.

    Attributes:
        client, payments: Its own; the namespace is `pay`, the prefix `t`.
        events: All that was told, in order.
    """

    def __init__(
        self,
        url: str,
        *,
        lease: float = 10.0,
        ttl: float = 600,
        type: Any = Receipt,  # as Idempotency calls it
        **client: Any,
    ) -> None:
        """Make them; nothing is connected."""
        self.events: list[Event] = []
        self.client = Client.from_url(url, prefix="t", hooks=[self.events.append], **client)
        self.payments: Idempotency[Any] = Idempotency(
            self.client, "pay", type=type, ttl=ttl, lease=lease
        )

    def told(self, kind: type[E]) -> list[E]:
        """List the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def stored(self, key: str = "a") -> list[str]:
        """List what is there of a key: `run`, `fence`, `result`."""
        base = self.payments.key(key).removesuffix(":result")
        names = {"run": f"{base}:run", "fence": f"{base}:run:fence", "result": f"{base}:result"}
        return [name for name, key in names.items() if await self.client.call("EXISTS", key)]

    async def __aenter__(self) -> Self:
        """Open the client."""
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.client.aclose()
