"""What an `Idempotency` of this process has done."""

from __future__ import annotations

import msgspec

__all__ = ["IdempotencyStatistics", "Tally"]


class IdempotencyStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the `Idempotency` was made."""

    runs: int  # functions called
    replays: int  # calls answered by the result of an earlier run
    refusals: int  # RunInProgress raised
    mismatches: int  # FingerprintMismatch raised
    waits: int  # calls that waited for the run of another
    lost: int  # runs beside which another may have begun, or has
    unconfirmed: int  # results that Redis did not confirm when they were to be kept


class Tally:
    """The same, while it is being counted."""

    __slots__ = ("lost", "mismatches", "refusals", "replays", "runs", "unconfirmed", "waits")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.runs = self.replays = self.refusals = self.mismatches = 0
        self.waits = self.lost = self.unconfirmed = 0

    def statistics(self) -> IdempotencyStatistics:
        """Take a snapshot."""
        return IdempotencyStatistics(
            runs=self.runs,
            replays=self.replays,
            refusals=self.refusals,
            mismatches=self.mismatches,
            waits=self.waits,
            lost=self.lost,
            unconfirmed=self.unconfirmed,
        )
