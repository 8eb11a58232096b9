"""A response that was made for one user is given to no other.

Pages greet who asks, by the cookie or the token that the route reads from the request. The first is
asked for twice without either, and made once: so responses are cached. The second is asked for by
Ada and by Bob, each with a cookie; the third by both again, each with an `Authorization`.

Kept if everybody is greeted by his own name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.contract import Verdict, broken, kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.peers.arena import Arena

KIND = "response"

_SENT = {"cookie": "session={}", "authorization": "Bearer {}"}


async def run(arena: Arena) -> Verdict:
    """Ask for three, as two."""
    greeted: list[str] = []

    def greet(headers: Mapping[str, str]) -> str:
        said = headers.get("cookie") or headers.get("authorization") or "nobody"
        greeted.append(said)
        return f"hello {said}"

    mistaken: list[str] = []
    async with arena.peer() as peer:
        for _ in range(2):
            await peer.get("/pages/open", {}, greet)
        if len(greeted) != 1:
            raise AssertionError(f"two requests ran the route {len(greeted)} times: not cached")
        for header, value in _SENT.items():
            for name in ("ada", "bob"):
                said = value.format(name)
                body = await peer.get(f"/pages/by-{header}", {header: said}, greet)
                if said not in body:
                    mistaken.append(f"by {header}, {name} was told {body!r}")
    return broken("; ".join(mistaken)) if mistaken else kept("all were greeted by their own names")
