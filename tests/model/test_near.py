"""The near cache keeps its promises in every interleaving, and each of its rules is needed."""

from __future__ import annotations

import pytest

from .near import NearBounds, NearRules, OneProcess
from .search import explore

ENOUGH = 2_000  # states; far fewer would mean that the model has lost most of its steps

SCENARIOS = {
    "deletes elsewhere": (
        NearBounds(starts=4, fills=2, deletes=2),
        (
            "is given the copy of version 0",
            "is given the copy of version 2",
            "looks at the push about the key",
            "looks at the read's reply: nothing",
        ),
    ),
    "deletes here and elsewhere": (
        NearBounds(own_deletes=1),
        ("DEL runs, push first", "DEL runs, acknowledgement first", "copy of version 2"),
    ),
    "eras": (
        NearBounds(clears=1),
        ("looks at the push about the era", "somebody stores version 1", "looks at era 1"),
    ),
    "eras and epochs": (
        NearBounds(readers=1, clears=1, epochs=2, starts=4),
        ("somebody deletes a tag", "looks at the push about the era", "copy of version 0"),
    ),
    "lost connections": (
        NearBounds(readers=1, clears=1, deletes=1, losses=1, starts=3),
        ("the connection is lost", "is told of the gap", "copy of version 2"),
    ),
    "everything": (
        NearBounds(readers=1, deletes=0, own_deletes=1, clears=1, losses=1, starts=3, fills=1),
        ("is told of the gap", "looks at the push about the era", "its delete after version 2"),
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_copies_are_as_new_as_the_process_was_told_in_every_interleaving_of(name: str) -> None:
    bounds, must_happen = SCENARIOS[name]
    outcome = explore(OneProcess(NearRules(), bounds))
    assert outcome.broken is None, str(outcome)
    assert outcome.states > ENOUGH, str(outcome)
    for fragment in must_happen:
        assert any(fragment in step for step in outcome.said), f"never: {fragment} ({outcome})"


def breaks(rules: NearRules, bounds: NearBounds, promise: str, *story: str) -> None:
    """Assert that the mistake breaks `promise` by a history that has `story` in it, in order.

    The same bounds with the near cache as shipped break nothing, so the mistake is the reason.
    """
    outcome = explore(OneProcess(rules, bounds))
    assert outcome.broken == promise, str(outcome)
    assert len(outcome.trace) <= 12, str(outcome)
    steps = iter(outcome.trace)
    for fragment in story:
        assert any(fragment in step for step in steps), f"no {fragment!r} in order in {outcome}"
    shipped = explore(OneProcess(NearRules(), bounds))
    assert shipped.broken is None, str(shipped)


ON_ITS_WAY = "on its way"
CLEARED = NearBounds(deletes=0, clears=1)


def test_copy_that_the_waiting_task_puts_when_it_wakes_is_kept_for_ever() -> None:
    story = ("GET finds version 0", "somebody deletes", "looks at the read's reply")
    story += ("looks at the push about the key", "a task wakes")
    breaks(NearRules(put_by_task=True), NearBounds(), ON_ITS_WAY, *story)


def test_copy_that_outlives_the_own_delete_is_given_to_who_reads_after_it() -> None:
    story = ("acknowledgement first", "its delete after version 1 is acknowledged", "is given")
    breaks(
        NearRules(keep_own_deleted=True), NearBounds(deletes=0, own_deletes=1), "as told", *story
    )


def test_copy_that_outlives_the_push_about_its_era_is_kept_for_ever() -> None:
    story = ("somebody clears, acknowledged", "looks at the push about the era")
    breaks(NearRules(ignore_era=True), CLEARED, ON_ITS_WAY, *story)


def test_era_whose_change_is_not_pushed_leaves_its_copies_for_ever() -> None:
    breaks(NearRules(era_untracked=True), CLEARED, ON_ITS_WAY, "somebody clears, acknowledged")


def test_copy_that_is_given_before_its_era_was_read_anew_may_be_of_one_that_has_ended() -> None:
    story = ("somebody clears, acknowledged", "looks at the push about the era", "is given")
    breaks(NearRules(given_unarmed=True), CLEARED, "as told", *story)


def test_copy_that_outlives_another_era_is_kept_for_ever() -> None:
    story = ("looks at the push about the era", "GET finds era 1", "looks at era 1")
    breaks(NearRules(keep_over_era=True), CLEARED, ON_ITS_WAY, *story)


def test_copy_that_is_kept_over_a_gap_is_kept_for_ever() -> None:
    bounds = NearBounds(losses=1)
    breaks(NearRules(keep_over_gap=True), bounds, ON_ITS_WAY, "the connection is lost", "the gap")
