"""The protocol keeps its promises in every interleaving, and each of its rules is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .protocol import Bounds, OneKey, Rules
from .search import Outcome, explore

ENOUGH = 50_000  # states; far fewer would mean that the model has lost most of its steps

SCENARIOS = {
    "two writes and an expiry": (
        Bounds(starts=3, writes=2, expiries=1),
        (
            "joins the GET",
            "looks at a push",
            "deadline has come",
            "claim's reply: version 2",
            "read's reply: version 2",
            "read's reply: nothing",
            "fill's reply: refused",
        ),
    ),
    "callers who come again": (Bounds(starts=5, writes=1), ("must see 1", "reply: refused")),
    "renewals": (
        Bounds(starts=3, writes=1, renewals=1),
        ("sends a renewal", "renew 0a leaves", "looks at a push", "renew is lost"),
    ),
    "a killed process": (
        Bounds(starts=3, writes=1, expiries=1, crashes=1),
        ("p0: is killed", "p1: is killed", "lease 0a expires", "deadline has come"),
    ),
    "a lost connection": (
        Bounds(starts=3, writes=1, losses=1),
        ("replies already read", "reconnects", "without a lease", "fill is lost on the way"),
    ),
    "waits that are given up": (
        Bounds(starts=3, writes=1, expiries=1, timeouts=1),
        ("has waited long enough", "the unleased load returns version 1"),
    ),
    "failing loads over foreign bytes": (
        Bounds(starts=3, writes=1, expiries=1, failures=2, foreign=True),
        ("reply: foreign bytes", "the loader raises", "RemoteLoadError", "get's reply: error"),
    ),
    "a writer who marks the key": (
        Bounds(readers=(1, 1), starts=2, writes=0, marks=1, lapses=1, kills=1, expiries=1),
        (
            "claim's reply: the mark of A",
            "read's reply: the mark of A",
            "looks at a push",
            "fill 0a refuses version 0",
            "A: leaves version 1",
            "A: leaves nothing",
            "A: its mark lapses after it was killed",
            "the unleased load returns version 1",
        ),
    ),
    "two writers who mark the key": (
        Bounds(readers=(1, 0), starts=5, writes=0, marks=2, lapses=1, kills=1),
        (
            "get's reply: the mark of AB, overlapped",
            "A: leaves the mark of B, overlapped",
            "B: leaves version 2",
            "B: leaves nothing",
            "A: renews, finds itself gone, marks again",
        ),
    ),
    "a writer who marks, one who deletes, and a set": (
        Bounds(readers=(1, 0), starts=3, writes=2, marks=1, lapses=1, kills=1, fresh_sets=1),
        ("DEL meets the mark of A and leaves the mark of A, overlapped", "a set stores version 1"),
    ),
    "a mark and a lost connection": (
        Bounds(readers=(1, 1), starts=2, writes=0, marks=1, kills=1, losses=1),
        ("reconnects", "fill is lost on the way", "claim's reply: the mark of A"),
    ),
    "values that become stale": (
        Bounds(readers=(1, 1), starts=4, writes=1, softens=1),
        (
            "becomes stale",
            "serves it and refreshes it",
            "wants a load",
            "is granted",
            "refuses version 0",
            "stale version 1, claimed by",
        ),
    ),
    "a stale value and loads that fail": (
        Bounds(readers=(2, 1), starts=3, writes=1, failures=1, stale=True),
        (
            "or what they fall back on",
            "fail 0a leaves stale version 0",
            "read's reply: stale version 0; serves it",
            "read's reply: stale version 0, claimed by 0a",
            "looks at a push",
            "reply: refused",
        ),
    ),
    "a stale value and a killed process": (
        Bounds(readers=(1, 1), starts=3, writes=1, expiries=1, crashes=1, stale=True),
        ("stale version 0, claimed by 0a expires", "left by 0a; claims it", "deadline has come"),
    ),
    "a stale value and renewals": (
        Bounds(readers=(1, 1), starts=2, writes=1, expiries=1, renewals=1, stale=True),
        ("renew 0a leaves stale version 0, claimed by 0a", "looks at a push"),
    ),
    "a stale value and a lost connection": (
        Bounds(readers=(1, 1), starts=2, writes=1, losses=1, failures=1, stale=True),
        ("reconnects", "fill is lost on the way", "without a lease", "serves it and refreshes it"),
    ),
    "a stale value and a writer who marks the key": (
        Bounds(readers=(1, 1), starts=2, writes=0, marks=1, kills=1, lapses=1, stale=True),
        ("claim's reply: the mark of A", "fill 0a refuses version 0", "its mark lapses"),
    ),
    "a stale value and replies in any order": (
        Bounds(readers=(1, 1), starts=3, writes=1, stale=True, unordered=True),
        ("serves it and refreshes it", "reply: refused"),
    ),
    "replies in any order": (
        Bounds(starts=3, writes=1, expiries=1, unordered=True),
        ("looks at a push", "claim's reply: version", "reply: refused"),
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_promise_holds_in_every_interleaving_of(name: str) -> None:
    bounds, must_happen = SCENARIOS[name]
    outcome = explore(OneKey(Rules(), bounds))
    assert outcome.broken is None, str(outcome)
    assert outcome.states > ENOUGH, str(outcome)
    for fragment in must_happen:
        assert any(fragment in step for step in outcome.said), f"never: {fragment} ({outcome})"


def breaks(rules: Rules, bounds: Bounds, promise: str, *story: str) -> None:
    """Assert that the mistake breaks `promise` by a history that has `story` in it, in order.

    The same bounds with the protocol as shipped break nothing, so the mistake is the reason.
    """
    outcome = explore(OneKey(rules, bounds))
    assert outcome.broken == promise, str(outcome)
    assert len(outcome.trace) <= 25, str(outcome)
    steps = iter(outcome.trace)
    for fragment in story:
        assert any(fragment in step for step in steps), f"no {fragment!r} in order in {outcome}"
    shipped = explore(OneKey(Rules(), bounds))
    assert shipped.broken is None, str(shipped)


def holds(rules: Rules, bounds: Bounds) -> Outcome:
    """Assert that a mistake does no harm within these bounds."""
    outcome = explore(OneKey(rules, bounds))
    assert outcome.broken is None, str(outcome)
    return outcome


def test_a_fill_by_plain_set_stores_what_a_delete_has_removed() -> None:
    story = ("the loader reads version 0", "DEL removes lease 0a", "fill 0a stores version 0")
    breaks(Rules(blind_fill=True), Bounds(starts=1), "no stale fill", *story)


def test_an_error_stored_by_plain_set_takes_the_lease_of_another_load() -> None:
    story = ("DEL removes lease 0a", "the loader raises", "claim 1a is granted", "fail 0a stores")
    breaks(Rules(blind_error=True), Bounds(starts=2, failures=1), "one load", *story)


def test_a_renewal_by_plain_set_revives_a_lease_that_a_delete_has_revoked() -> None:
    story = ("the loader reads version 0", "DEL removes lease 0a", "renew 0a leaves lease 0a")
    story += ("fill 0a stores version 0",)
    breaks(Rules(blind_renewal=True), Bounds(starts=1, renewals=1), "no stale fill", *story)


def test_a_renewal_by_plain_set_takes_the_lease_of_another_load() -> None:
    story = ("claim 0a is granted", "lease 0a expires", "claim 1a is granted", "renew 0a leaves")
    bounds = Bounds(starts=2, writes=0, expiries=1, renewals=1)
    breaks(Rules(blind_renewal=True), bounds, "one load", *story)


def test_claiming_only_an_absent_key_is_stuck_on_foreign_bytes() -> None:
    bounds = Bounds(starts=1, writes=0, foreign=True)
    breaks(Rules(claim_only_absent=True), bounds, "progress", "a caller starts")


def test_claiming_only_an_absent_key_is_stuck_on_an_error_entry() -> None:
    bounds = Bounds(starts=2, writes=0, failures=1)
    breaks(Rules(claim_only_absent=True), bounds, "progress", "the loader raises")


def test_joining_a_get_that_has_left_returns_what_a_delete_has_removed() -> None:
    story = ("p0's get finds version 0", "DEL removes version 0", "p0: a caller starts and joins")
    story += ("p0: looks at the get's reply: version 0",)
    breaks(Rules(share_sent_get=True), Bounds(), "freshness", *story)


JOIN_UNTIL_FILLED = Rules(join_until_filled=True)


def test_joining_until_the_reply_of_the_fill_returns_what_a_delete_has_removed() -> None:
    story = ("fill 0a stores version 0", "DEL removes version 0", "a caller starts")
    story += ("looks at the get's reply: nothing", "looks at the fill's reply: filled")
    breaks(JOIN_UNTIL_FILLED, Bounds(starts=2, unordered=True), "freshness", *story)


def test_joining_until_the_reply_of_the_fill_breaks_one_ordered_connection_that_is_lost() -> None:
    story = ("fill 0a stores version 0", "DEL removes version 0", "a caller starts")
    story += ("loses its connection", "looks at the fill's reply: filled")
    breaks(JOIN_UNTIL_FILLED, Bounds(starts=2, losses=1), "freshness", *story)


LATE_TAKE_READ = Rules(late_take_read=True)


def test_joining_a_claim_that_was_sent_returns_what_a_delete_has_removed() -> None:
    story = ("p0's claim 0b finds version 0", "DEL removes version 0", "p0: a caller starts")
    story += ("looks at the get's reply: nothing", "looks at the claim's reply: version 0")
    breaks(LATE_TAKE_READ, Bounds(unordered=True), "freshness", *story)


@pytest.mark.parametrize("rules", [JOIN_UNTIL_FILLED, LATE_TAKE_READ])
def test_joining_late_does_no_harm_while_one_connection_lives_and_all_is_in_order(
    rules: Rules,
) -> None:
    assert holds(rules, Bounds(expiries=1)).states > ENOUGH


def test_taking_a_refused_value_after_joining_during_the_load_is_stale() -> None:
    story = ("the loader reads version 0", "DEL removes lease 0a", "a caller starts")
    story += ("looks at the get's reply: nothing", "looks at the fill's reply: refused")
    breaks(Rules(late_take_refused=True), Bounds(starts=2), "freshness", *story)


def test_taking_the_value_of_an_unleased_load_joined_while_it_ran_is_stale() -> None:
    story = ("without a lease", "the loader reads version 0", "DEL", "a caller starts")
    story += ("the unleased load returns version 0",)
    breaks(Rules(late_take_bare=True), Bounds(starts=2, losses=1), "freshness", *story)


def test_listening_for_pushes_only_after_the_waiting_task_resumed_misses_one() -> None:
    story = ("p1's read finds lease 0a", "fill 0a stores", "p1: looks at a push")
    breaks(Rules(late_watch=True), Bounds(starts=2, writes=0), "progress", *story)


def test_a_watch_that_a_lost_connection_does_not_wake_waits_for_ever() -> None:
    story = ("p1's read finds lease 0a", "p1: loses its connection")
    bounds = Bounds(starts=2, writes=0, losses=1)
    breaks(Rules(deaf_to_loss=True), bounds, "progress", *story)


def test_a_watch_without_a_timer_waits_for_ever_for_a_process_that_was_killed() -> None:
    bounds = Bounds(starts=2, writes=0, crashes=1)
    story = ("p0: is killed", "p0's claim 0a is granted", "p1's read finds lease 0a")
    breaks(Rules(deaf_to_expiry=True), bounds, "progress", *story)


def test_treating_the_error_of_the_awaited_load_as_a_miss_loads_again() -> None:
    story = ("the loader raises", "fail 0a stores the error", "read's reply: error 0a")
    bounds = Bounds(starts=2, writes=0, failures=1)
    breaks(Rules(waiter_reloads=True), bounds, "one failure", *story)


# -- writers who mark the key --------------------------------------------------------------------

KILLED = Bounds(readers=(1, 1), starts=2, writes=0, marks=1, kills=1)
TWO = Bounds(readers=(1, 1), starts=1, writes=0, marks=2, lapses=1)


def test_a_leave_that_stores_although_others_wrote_stores_what_is_older_than_theirs() -> None:
    story = ("A: commits version 1", "B: commits version 2", "B: leaves the mark of A, overlapped")
    story += ("A: leaves version 1",)
    breaks(Rules(leave_overlapped=True), TWO, "no stale fill", *story)


def test_a_renewal_that_marks_again_without_overlap_stores_what_is_older() -> None:
    story = ("A: commits version 1", "A: lapses", "B: marks the key", "B: leaves version 2")
    story += ("A: renews, finds itself gone", "A: leaves version 1")
    breaks(Rules(renew_without_overlap=True), TWO, "no stale fill", *story)


def test_a_set_that_replaces_a_mark_outlives_the_writer_who_was_killed() -> None:
    bounds = Bounds(readers=(1, 0), starts=1, writes=0, marks=1, kills=1, fresh_sets=1)
    story = ("A: marks the key", "a set stores version 0", "A: commits version 1", "A: is killed")
    story += ("A: its mark lapses after it was killed",)
    breaks(Rules(set_over_mark=True), bounds, "no stale fill", *story)


def test_a_claim_that_replaces_a_mark_fills_what_outlives_the_writer_who_was_killed() -> None:
    story = ("A: marks the key", "claim 0a is granted", "the loader reads version 0")
    breaks(Rules(claim_over_mark=True), KILLED, "no stale fill", *story)


def test_a_delete_that_removes_a_mark_lets_readers_store_what_outlives_it() -> None:
    bounds = Bounds(readers=(1, 0), starts=1, writes=1, marks=1, kills=1)
    story = ("A: marks the key", "DEL removes the mark of A", "the loader reads version 1")
    breaks(Rules(delete_over_mark=True), bounds, "no stale fill", *story)


def test_a_delete_that_leaves_a_mark_as_it_is_lets_its_writer_store_what_is_older() -> None:
    bounds = Bounds(readers=(1, 0), starts=1, writes=2, marks=1)
    story = ("A: commits version 1", "writer: commits version 2", "DEL meets the mark of A")
    story += ("A: leaves version 1",)
    breaks(Rules(delete_without_overlap=True), bounds, "no stale fill", *story)


# -- stale values --------------------------------------------------------------------------------

STALE = Bounds(readers=(1, 1), starts=2, writes=1, stale=True)


def test_a_refresh_that_stores_over_any_value_stores_what_a_delete_has_removed() -> None:
    story = ("claim 0a is granted", "the loader reads version 0", "DEL removes stale version 0")
    story += ("fill 1a stores version 1", "fill 0a stores version 0")
    breaks(Rules(blind_refresh=True), STALE, "no stale fill", *story)


def test_a_claim_in_place_by_any_generation_takes_the_value_from_another_load() -> None:
    story = ("claim 0a is granted", "claim 1a is granted")
    breaks(Rules(claim_any_stale=True), replace(STALE, writes=0), "one load", *story)


def test_a_stale_value_given_to_all_who_share_the_load_is_what_a_delete_has_removed() -> None:
    bounds = Bounds(readers=(2, 0), starts=2, writes=1, failures=1, stale=True)
    story = ("get finds stale version 0", "DEL removes stale version 0", "starts", "wants a load")
    story += ("get's reply: nothing", "the loader raises")
    breaks(Rules(shared_fallback=True), bounds, "freshness", *story)


def test_an_error_stored_by_a_failing_refresh_takes_the_place_of_the_stale_value() -> None:
    bounds = Bounds(readers=(1, 0), starts=1, writes=0, failures=1, stale=True)
    story = ("serves it and refreshes it", "the loader raises", "fail 0a stores the error")
    breaks(Rules(error_over_value=True), bounds, "kept", *story)


def test_a_plain_set_beside_a_delete_is_stale_which_is_why_set_promises_nothing() -> None:
    outcome = explore(OneKey(Rules(), Bounds(starts=0, sets=1)))
    assert outcome.broken == "no stale fill", str(outcome)
    assert "set stores version 0" in outcome.trace[-1], str(outcome)
