"""Tags and eras keep their promises in every interleaving, and each of their rules is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .search import explore
from .tags import TagBounds, Tagged, TagRules

ENOUGH = 10_000  # states; far fewer would mean that the model has lost most of its steps

LEARNT = TagBounds(named=False)
SCENARIOS = {
    "a tag that the calls name": (
        TagBounds(),
        (
            "joins (loaded)",
            "captures tag 1",
            "fill stores version 0 of tag 0",
            "GET finds tag 1",
            "looks at the fill's reply: not for the late",
            "GET finds tag 1, for what the flight has found: dead",
        ),
    ),
    "a tag that only the loader knows": (
        LEARNT,
        (
            "learns tag 1",
            "finds the epoch changed; stores nothing",
            "GET finds tag 1, for what it has found",
            "looks at the fill's reply: not for the late",
        ),
    ),
    "a tag deleted twice": (
        TagBounds(readers=(1, 1), starts=2, tag_deletes=2),
        ("invalidator: tag 2, acknowledged", "fill stores version 2 of tag 2"),
    ),
    "a tag that only the loader knows, deleted twice": (
        replace(LEARNT, readers=(1, 1), starts=2, tag_deletes=2),
        ("finds the epoch changed", "finds epoch 2 unchanged", "of tag 2"),
    ),
    "clear and a tag": (
        TagBounds(readers=(1, 1), starts=2, clears=1),
        ("invalidator: era 1, acknowledged", "of era 1, tag 1", "reads the era again"),
    ),
    "a writer who writes through": (
        TagBounds(readers=(1, 1), starts=2, throughs=1),
        ("writer: leaves version 2 of tag 0", "claim finds a mark", "unleased load returns"),
    ),
    "changes that are said again": (
        TagBounds(readers=(1, 1), starts=2, tag_deletes=2, replays=1),
        ("invalidator: says again, tag 3", "fill stores version 2 of tag 3"),
    ),
    "a version that is lost": (
        TagBounds(readers=(1, 1), starts=2, losses=1),
        ("evicts the namespace's", "evicts the tag's", "captures era -1", "makes era 1"),
    ),
    "a tag that only the loader knows, and a version that is lost": (
        replace(LEARNT, readers=(1, 1), starts=2, losses=1),
        ("evicts the namespace's", "finds the epoch changed", "learns tag 2"),
    ),
    "an epoch that is refused": (
        replace(LEARNT, readers=(1, 1), starts=2, refusals=1),
        ("epoch refused", "tag 2, acknowledged", "finds epoch 0 unchanged", "of tag 2"),
    ),
    "an epoch that is refused, and a tag deleted twice": (
        replace(LEARNT, readers=(1, 0), starts=2, tag_deletes=2, refusals=2, replays=1),
        ("epoch refused", "tag 4, acknowledged", "finds the epoch changed", "says again, tag 3"),
    ),
    "an invalidator who dies between epoch and tag": (
        replace(LEARNT, readers=(1, 1), starts=2, tag_deletes=2, deaths=1),
        ("dies between", "finds the epoch changed", "tag 1, acknowledged"),
    ),
    "leases that run out": (
        TagBounds(readers=(1, 1), starts=3, expiries=1),
        ("its lease expires", "p1: wakes", "p0: fill refuses version 0"),
    ),
    "leases that run out, and a tag that only the loader knows": (
        replace(LEARNT, readers=(1, 1), expiries=1),
        ("its lease expires", "p1: wakes", "p0: fill refuses version 0"),
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_stale_is_given_or_kept_in_any_interleaving_of(name: str) -> None:
    bounds, must_happen = SCENARIOS[name]
    outcome = explore(Tagged(TagRules(), bounds))
    assert outcome.broken is None, str(outcome)
    assert outcome.states > ENOUGH, str(outcome)
    for fragment in must_happen:
        assert any(fragment in step for step in outcome.said), f"never: {fragment} ({outcome})"


def breaks(rules: TagRules, bounds: TagBounds, promise: str, *story: str) -> None:
    """Assert that the mistake breaks `promise` by a history that has `story` in it, in order.

    The same bounds with the protocol as shipped break nothing, so the mistake is the reason.
    """
    outcome = explore(Tagged(rules, bounds))
    assert outcome.broken == promise, str(outcome)
    assert len(outcome.trace) <= 22, str(outcome)
    steps = iter(outcome.trace)
    for fragment in story:
        assert any(fragment in step for step in steps), f"no {fragment!r} in order in {outcome}"
    shipped = explore(Tagged(TagRules(), bounds))
    assert shipped.broken is None, str(shipped)


ONE = TagBounds(readers=(1, 0), starts=1)
ONE_LEARNT = replace(ONE, named=False)
LIVE = "nothing stale is live"


def test_tag_versions_captured_after_the_load_are_those_of_an_invalidation_it_did_not_see() -> None:
    story = ("the loader reads 0", "commits version 1", "tag 1, acknowledged")
    story += ("fill stores version 0 of tag 1",)
    breaks(TagRules(capture_after_load=True), ONE, LIVE, *story)


def test_tag_versions_captured_when_a_writer_leaves_outlive_the_next_write() -> None:
    story = ("writer: commits version 1", "invalidator: commits version 2", "tag 1, acknowledged")
    story += ("writer: leaves version 1 of tag 1",)
    breaks(TagRules(capture_at_leave=True), replace(ONE, throughs=1), LIVE, *story)


def test_joiners_of_a_fill_whose_tag_went_during_the_load_are_given_what_is_stale() -> None:
    story = ("the loader reads 0", "tag 1, acknowledged", "a caller starts (must see 1)", "joins")
    story += ("fill stores version 0 of tag 0", "looks at the fill's reply: stored")
    bounds = TagBounds(readers=(2, 0), starts=2)
    breaks(TagRules(joiners_unchecked=True), bounds, "freshness", *story)


def test_joiners_of_a_fill_whose_era_went_during_the_load_are_given_what_is_stale() -> None:
    story = ("the loader reads 0", "era 1, acknowledged", "a caller starts (must see 1)", "joins")
    bounds = TagBounds(readers=(2, 0), starts=2, tag_deletes=0, clears=1)
    breaks(TagRules(joiners_unchecked=True), bounds, "freshness", *story)


def test_change_that_is_said_again_with_the_same_bytes_brings_back_what_was_stored() -> None:
    story = ("fill stores version 1 of tag 1", "commits version 2", "tag 2, acknowledged")
    story += ("says again, tag 1",)
    bounds = replace(ONE, tag_deletes=2, replays=1)
    breaks(TagRules(replay_same_bytes=True), bounds, LIVE, *story)


def test_tag_that_only_the_loader_knew_outlives_its_delete_without_a_look_at_the_epoch() -> None:
    story = ("the loader reads 0", "tag 1, acknowledged", "learns tag 1")
    story += ("fill stores version 0 of tag 1",)
    breaks(TagRules(no_epoch=True), ONE_LEARNT, LIVE, *story)


def test_epoch_read_in_front_of_the_tag_misses_a_delete_that_comes_between() -> None:
    story = ("the loader reads 0", "finds epoch 0 unchanged", "epoch 1", "tag 1, acknowledged")
    story += ("learns tag 1", "fill stores version 0 of tag 1")
    breaks(TagRules(epoch_before_tag=True), ONE_LEARNT, LIVE, *story)


def test_epoch_changed_behind_the_tag_is_still_the_old_one_beside_the_new_tag() -> None:
    story = ("the loader reads 0", "invalidator: tag 1", "learns tag 1", "finds epoch 0 unchanged")
    story += ("fill stores version 0 of tag 1", "epoch 1, acknowledged")
    breaks(TagRules(epoch_changed_last=True), ONE_LEARNT, LIVE, *story)


def test_tag_that_is_settled_ahead_of_its_epoch_keeps_what_was_stored_between_them() -> None:
    story = ("the loader reads 0", "commits version 1", "epoch refused", "invalidator: tag 1")
    story += ("learns tag 1", "finds epoch 0 unchanged", "fill stores version 0 of tag 1")
    story += ("epoch 1, acknowledged",)
    breaks(TagRules(epoch_owed_alone=True), replace(ONE_LEARNT, refusals=1), LIVE, *story)


def test_version_that_is_counted_anew_once_it_was_lost_brings_back_what_was_stored() -> None:
    story = ("fill stores version 0 of tag 0", "tag 1, acknowledged", "evicts the tag's version")
    bounds = TagBounds(readers=(1, 1), starts=2, losses=1)
    breaks(TagRules(counted_versions=True), bounds, LIVE, *story)


def test_era_that_was_read_before_the_call_began_lets_what_was_cleared_through() -> None:
    story = ("fill stores version 0", "era 1, acknowledged", "a caller starts (must see 1)")
    story += ("returns version 0",)
    bounds = TagBounds(readers=(1, 1), starts=2, tag_deletes=0, clears=1)
    breaks(TagRules(era_of_before=True), bounds, "freshness", *story)
