"""The scripts of limiters, put together from one part for each kind of policy.

A script run pays for every function that its text defines, so each holds only the kinds that its
limiter uses: seven scripts at most, and one for refunds.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from millpond.core.scripts import Script

__all__ = ["REFUND", "deciding"]

_PARTS = {"w": "window", "b": "bucket", "f": "fixed"}


def _assembled(kinds: str, end: str) -> Script:
    """Join clock, kinds and what is to be done."""
    names = ["clock", *(part for kind, part in _PARTS.items() if kind in kinds), end]
    folder = files("millpond.limit")
    texts = [folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names]
    return Script("\n".join(texts), name=f"{end}-{kinds}")


@cache
def deciding(kinds: str) -> Script:
    """Return the script that decides by policies of these kinds, such as `"bw"`, sorted."""
    return _assembled(kinds, "decide")


REFUND = _assembled("bfw", "refund")
