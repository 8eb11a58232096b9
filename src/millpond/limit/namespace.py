"""What the limiters of one namespace share in this process: who must hear of a reset.

State belongs to the namespace and the key, so an application may have several limiters on the same
counts, such as one for each tier. Each remembers its own denials, since each has its own limits. A
reset or refund by any of them makes room for all. What must stay true:

1. After a reset or refund of this process has returned, no limiter of the namespace answers with a
   denial from before it.
2. Hits that any of them had gathered when the reset was called leave before it.
3. A limit that stands in during an outage counts a key once, whichever of them is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from millpond.core.loops import running_loop
from millpond.limit.fallback import States

if TYPE_CHECKING:
    from millpond.core.client import Client
    from millpond.limit.desk import Desk

__all__ = ["Namespace"]


class Namespace:
    """One client's limiters of one namespace; those of another client are like another process's.

    Attributes:
        desks: Theirs, as long as somebody holds the limiter.
        states: What their local limiters have counted.
        active: Of concurrency limits, who is inside, in this process.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.states = States()
        self.active: dict[str, int] = {}
        self.desks: WeakSet[Desk] = WeakSet()

    @classmethod
    def of(cls, client: Client, name: str) -> Namespace:
        """Return the namespace of that name; it lives as long as its client or its limiters."""
        names = _known.setdefault(client, {})
        found = names.get(name)
        if found is None:
            found = names[name] = cls()
        return found

    def join(self, desk: Desk) -> None:
        """Add a limiter."""
        self.desks.add(desk)

    def flush(self) -> None:
        """Send what any of them has gathered.

        Raises:
            ConfigError: It was gathered in another event loop, which still runs.
        """
        loop = running_loop()
        for desk in tuple(self.desks):
            desk.move(loop)  # what a loop that has ended left behind is not to be counted
            desk.flush()

    def forget(self, key: str) -> None:
        """Forget every denial of a key."""
        for desk in tuple(self.desks):
            desk.forget(key)


_known: WeakKeyDictionary[Client, dict[str, Namespace]] = WeakKeyDictionary()
