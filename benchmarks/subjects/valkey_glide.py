"""Valkey GLIDE: a client with a core in Rust.

https://glide.valkey.io/getting-started/quickstart/?lang=python
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["SUBJECTS", "GlideCommands"]

# Its default is 250 ms, which 10,000 tasks on a busy machine can exceed without any fault.
_TIMEOUT_MS = 10_000


class GlideCommands:
    """`await client.get(key)`, all calls on one connection."""

    def __init__(self, url: str, *, tasks: int) -> None:
        """Take the address and the number of concurrent calls, which it limits to 1,000."""
        self._address = urlsplit(url)
        self._tasks = tasks

    async def open(self) -> None:
        """Connect."""
        from glide import GlideClient, GlideClientConfiguration, NodeAddress

        self._client = await GlideClient.create(
            GlideClientConfiguration(
                [NodeAddress(self._address.hostname, self._address.port or 6379)],
                request_timeout=_TIMEOUT_MS,
                inflight_requests_limit=max(1000, self._tasks),
            )
        )

    async def aclose(self) -> None:
        """Disconnect."""
        await self._client.close()

    def get(self, key: str, /) -> Awaitable[object]:
        """Read one string."""
        return self._client.get(key)


SUBJECTS = (
    Subject(
        name="valkey-glide",
        summary="Valkey GLIDE: a client with a core in Rust",
        settings=(
            "GlideClient with its defaults, but request_timeout 10 s, and inflight_requests_limit "
            "raised to the number of tasks where that is above its 1,000"
        ),
        roles={"commands": "GlideCommands"},
        module="glide",
        requires="valkey-glide",
        versions=("valkey-glide",),
        group="bench-rivals",
    ),
)
