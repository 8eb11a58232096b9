"""Lua scripts, kept in `.lua` files beside their callers.

A script is sent by its digest and, should the server not know it (a restart, SCRIPT FLUSH), by
its source, on the same batched path. A server that answers NOSCRIPT has run nothing, so sending
the source is never a second run.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Script"]


class Script:
    """The source of one script and its digest.

    Attributes:
        name: What it does, for messages.
        source: The Lua text.
        sha: SHA-1 of the source, by which Redis knows it.
    """

    __slots__ = ("name", "sha", "source")

    def __init__(self, source: str, *, name: str = "script") -> None:
        """Take the Lua text."""
        self.name = name
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def load(
        cls,
        package: str,
        name: str,
        *,
        after: tuple[str, ...] = (),
        constants: Mapping[str, int] | None = None,
    ) -> Script:
        """Read `name`.lua from an installed package, such as `millpond.cache`.

        Args:
            package: Where the files are.
            name: The file, without its ending.
            after: Files whose functions it uses, which come before it.
            constants: What it names and does not define: sent once, not with every call.
        """
        folder = files(package)
        defined = [f"local {known} = {value}" for known, value in (constants or {}).items()]
        texts = [folder.joinpath(f"{one}.lua").read_text("utf-8") for one in (*after, name)]
        return cls("\n".join([*defined, *texts]), name=name)

    def __repr__(self) -> str:
        """Show the name and the digest's beginning."""
        return f"Script({self.name}, {self.sha[:8]})"
