"""The rules of the protocol as switches, and how much of everything a search allows."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds", "Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The protocol as shipped; each field, when true, is one tempting mistake.

    Attributes:
        blind_fill: Store the loaded value with SET, whatever the key carries.
        blind_error: Store the error entry with SET, whatever the key carries.
        blind_renewal: Renew with SET, whatever the key carries.
        claim_only_absent: Never claim over dead bytes, only where nothing is.
        share_sent_get: Join a GET of this process that has already left.
        join_until_filled: Keep the flight joinable until the reply to its fill.
        late_take_read: Callers who joined after a claim or read left take the value it found.
        late_take_refused: Callers who joined during the load take a value that was refused.
        late_take_bare: Callers who joined during an unleased load take its value.
        late_watch: Listen for pushes only when the awaiting task has resumed.
        deaf_to_loss: Do not wake the watch when the connection is lost.
        deaf_to_expiry: Set no timer at the deadline of another's lease: wait for a push alone.
        waiter_reloads: Treat the error of the very load that was waited for as a miss.
        claim_over_mark: Claim over a write mark that counts.
        set_over_mark: Let a plain `set` replace a write mark.
        delete_over_mark: Let a delete remove a write mark.
        delete_without_overlap: Let a delete leave a write mark as it is.
        leave_overlapped: Store the writer's value although others have written.
        renew_without_overlap: Mark again as if nothing had been, where the mark was lost.
        claim_any_stale: Claim a stale value in place whatever generation it carries.
        blind_refresh: Store what a refresh loaded over any value, whatever generation it carries.
        error_over_value: Let a load that fails put its error where the stale value is.
        shared_fallback: Give the stale value that one caller found to all who share its load.
    """

    blind_fill: bool = False
    blind_error: bool = False
    blind_renewal: bool = False
    claim_only_absent: bool = False
    share_sent_get: bool = False
    join_until_filled: bool = False
    late_take_read: bool = False
    late_take_refused: bool = False
    late_take_bare: bool = False
    late_watch: bool = False
    deaf_to_loss: bool = False
    deaf_to_expiry: bool = False
    waiter_reloads: bool = False
    claim_over_mark: bool = False
    set_over_mark: bool = False
    delete_over_mark: bool = False
    delete_without_overlap: bool = False
    leave_overlapped: bool = False
    renew_without_overlap: bool = False
    claim_any_stale: bool = False
    blind_refresh: bool = False
    error_over_value: bool = False
    shared_fallback: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may happen in one history; everything may happen at any moment.

    Attributes:
        readers: Callers at once in each of the two processes.
        starts: Calls of `get_or_set` in all, restarts of returned readers included (at most 7).
        writes: Commits to the database, each followed sooner or later by a DEL (at most 3).
        expiries: Entries and leases of living loaders that expire (at most 3, as all below);
            leases that nobody holds any more expire whenever they like.
        renewals: Lease renewals; they may overtake and be overtaken by anything.
        crashes: Processes killed.
        losses: Connections lost; the process loads without a lease until it has reconnected.
        failures: Loads that raise.
        timeouts: Waits that last longer than `wait_timeout` and end in a load without a lease.
        sets: Plain `set`s of the version that the setter has just read from the database.
        fresh_sets: Plain `set`s whose version is the newest while it is stored.
        softens: Values that become stale; whether a reader serves them, refreshes them, or waits
            for a load and falls back on them is open each time, as clocks and windows are.
        marks: Writers who use `writing()`, once each (at most 2); beside them `writes` counts
            the versions up to which the deleting writer commits.
        lapses: Write marks that lapse while their writers live; of the killed they all do.
        kills: Writers killed inside their block.
        foreign: The key begins with bytes that are no entry and never expire.
        stale: The key begins with a stale version 0.
        unordered: No order between the commands of one process, nor between its looks at their
            replies: a script may be sent again after NOSCRIPT, a task may resume some turns after
            its reply came. Otherwise both happen in the order of the calls.
    """

    readers: tuple[int, int] = (2, 1)
    starts: int = 3
    writes: int = 1
    expiries: int = 0
    renewals: int = 0
    crashes: int = 0
    losses: int = 0
    failures: int = 0
    timeouts: int = 0
    sets: int = 0
    fresh_sets: int = 0
    softens: int = 0
    marks: int = 0
    lapses: int = 0
    kills: int = 0
    foreign: bool = False
    stale: bool = False
    unordered: bool = False
