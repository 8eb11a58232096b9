"""`MISSING`: what `get` returns when there is nothing, so that None can be a value."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

__all__ = ["MISSING", "Missing"]


class Missing(Enum):
    """The type of `MISSING`; an enum, so that type checkers narrow on `is MISSING`."""

    MISSING = "MISSING"

    def __bool__(self) -> Literal[False]:
        """Be false, so that `if user := await users.get(42):` reads as it should."""
        return False

    def __repr__(self) -> str:
        """Show the name."""
        return "MISSING"


MISSING: Final = Missing.MISSING
