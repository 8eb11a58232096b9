"""What is left of an open client in a forked child: nothing that may be used.

The child has copies of the parent's sockets. A command written to one, or the socket closed in an
orderly way, would be the parent's doing to the server. So the child's client lets go of all of
it, closes nothing, and refuses to work.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, NoReturn, Protocol

from millpond.core.backends import Backend, Counts, Host
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from millpond.core.watch import Watches

__all__ = ["Inherited", "forget", "remember"]


class Inheritable(Protocol):
    """Something that must be told of a fork."""

    def forked(self) -> None:
        """Let go of what belongs to the parent."""
        ...


class Inherited:
    """Stands in for a backend whose connection belongs to the parent of a fork."""

    pushes = False
    tracks = False
    run_id = ""

    def __init__(self, backend: Backend) -> None:
        """Keep the parent's backend alive."""
        self.inherited = backend  # held, so that its sockets are not closed under the parent

    def refuse(self) -> NoReturn:
        """Say what to do instead.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "this client was open when the process forked, and its connection is the parent's; "
            "make and open a client in each process after the fork"
        )

    def watches(self, own: Watches) -> Watches:
        """Nothing is announced."""
        return own

    async def open(self, host: Host) -> None:  # noqa: ARG002
        """Refuse."""
        self.refuse()

    async def aclose(self) -> None:
        """Close nothing."""

    def counts(self) -> Counts:
        """Nothing has gone through here."""
        return Counts()


# The one module-level registry: a fork gives no other warning.
_open: weakref.WeakSet[Inheritable] = weakref.WeakSet()


def remember(client: Inheritable) -> None:
    """Have an open client told of a fork, in the child."""
    _open.add(client)


def forget(client: Inheritable) -> None:
    """Stop telling a client that was closed."""
    _open.discard(client)


def _after_fork() -> None:
    for client in tuple(_open):
        client.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork either
    os.register_at_fork(after_in_child=_after_fork)
