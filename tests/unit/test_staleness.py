"""When a value is fresh, due, stale, overdue or spent: a table, a clock and dice, no server."""

from __future__ import annotations

import math
import random

import pytest

from millpond.cache.staleness import Soft, Staleness, Standing, standing

CREATED = 1_000_000
BOTH = Staleness(while_revalidate=60_000, if_error=600_000, retry=1000)


def value(*, soft: int = 300_000, load: float = 0, refresh: int = 0, failed: bool = False) -> Soft:
    return Soft(CREATED, load, soft, refresh, failed)


def stands(staleness: Staleness, age: float, what: Soft | None = None, draw: float = 0) -> Standing:
    return standing(staleness, what or value(), CREATED + age, draw=lambda: draw)[0]


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (-5_000, Standing.FRESH),  # stored by a clock ahead of ours
        (0, Standing.FRESH),
        (299_999, Standing.FRESH),
        (300_000, Standing.STALE),
        (359_999, Standing.STALE),
        (360_000, Standing.OVERDUE),
        (899_999, Standing.OVERDUE),
        (900_000, Standing.SPENT),
    ],
)
def test_windows_begin_at_the_soft_expiry_and_end_by_themselves(
    age: int, expected: Standing
) -> None:
    assert stands(BOTH, age) is expected


def test_windows_are_independent() -> None:
    only_while = Staleness(while_revalidate=60_000)
    assert [stands(only_while, age) for age in (300_000, 360_000)] == [
        Standing.STALE,
        Standing.SPENT,
    ]
    only_error = Staleness(if_error=60_000)
    assert [stands(only_error, age) for age in (300_000, 360_000)] == [
        Standing.OVERDUE,
        Standing.SPENT,
    ]
    # A reader whose cache serves nothing stale, of an entry that another release has stored.
    assert stands(Staleness(), 300_000) is Standing.SPENT


def test_value_that_is_being_refreshed_is_served_and_left_alone() -> None:
    claimed = value(refresh=313_000)
    found = standing(BOTH, claimed, CREATED + 310_000)
    assert found == (Standing.KEPT, 3000)
    assert standing(BOTH, claimed, CREATED + 313_000) == (Standing.STALE, 0)


def test_claim_that_could_not_be_dated_keeps_nobody_out() -> None:
    assert standing(BOTH, value(refresh=1), CREATED - 5000) == (Standing.FRESH, 0)
    assert standing(BOTH, value(soft=0, refresh=1), CREATED) == (Standing.STALE, 0)


def test_load_of_an_overdue_value_is_waited_for_while_its_claim_counts() -> None:
    claimed = value(refresh=403_000)
    assert standing(BOTH, claimed, CREATED + 400_000) == (Standing.OVERDUE, 3000)
    assert standing(BOTH, claimed, CREATED + 404_000) == (Standing.OVERDUE, 0)


def test_value_whose_load_has_failed_is_served_until_the_next_try() -> None:
    for age, after in ((310_000, Standing.STALE), (400_000, Standing.OVERDUE)):
        failed = value(refresh=age + 1000, failed=True)
        assert standing(BOTH, failed, CREATED + age) == (Standing.KEPT, 0)
        assert standing(BOTH, failed, CREATED + age + 1000) == (after, 0)


def test_failure_does_not_prolong_what_may_be_served() -> None:
    failed = value(refresh=1_000_000, failed=True)
    assert stands(BOTH, 950_000, failed) is Standing.SPENT
    assert stands(Staleness(while_revalidate=60_000), 400_000, failed) is Standing.SPENT


def test_clock_that_is_ahead_of_the_servers_does_not_shorten_claims() -> None:
    claimed = value(refresh=313_000)
    assert standing(BOTH, claimed, CREATED + 315_000)[1] == 0
    assert standing(BOTH, claimed, CREATED + 315_000, ahead=5000) == (Standing.KEPT, 3000)


# -- early refresh -----------------------------------------------------------------------------


def test_value_is_refreshed_early_as_often_as_xfetch_says() -> None:
    dice = random.Random(1)
    early = Staleness(early=1.0)
    slow = value(load=400)
    for left in (100, 400, 1200):
        now = CREATED + 300_000 - left
        draws = 20_000
        hits = sum(
            standing(early, slow, now, draw=dice.random)[0] is Standing.EARLY for _ in range(draws)
        )
        assert hits / draws == pytest.approx(math.exp(-left / 400), abs=0.02)


def test_beta_stretches_the_time_in_which_it_is_refreshed() -> None:
    slow, age = value(load=400), 300_000 - 800
    draw = 1 - math.exp(-2) + 0.001  # enough for twice the load time, and not for more
    assert stands(Staleness(early=1.0), age, slow, draw) is Standing.EARLY
    assert stands(Staleness(early=1.0), age - 10, slow, draw) is Standing.FRESH
    assert stands(Staleness(early=2.0), age - 500, slow, draw) is Standing.EARLY


def test_nothing_is_drawn_long_before_the_end_nor_without_a_load_time() -> None:
    def never() -> float:
        pytest.fail("nobody need roll dice for this")

    early = Staleness(early=1.0)
    assert standing(early, value(load=400), CREATED, draw=never)[0] is Standing.FRESH
    assert standing(early, value(), CREATED + 299_999, draw=never)[0] is Standing.FRESH


def test_smallest_and_largest_draws_are_numbers() -> None:
    early, slow = Staleness(early=100.0), value(load=65_504)
    assert stands(early, 299_999, slow, 0.0) is Standing.FRESH
    assert stands(early, 0, slow, 1 - 2**-53) is Standing.EARLY


def test_early_refresh_that_somebody_has_begun_or_failed_in_is_left_alone() -> None:
    early = Staleness(early=1.0)
    almost = 1 - 2**-53
    assert stands(early, 299_000, value(load=400, refresh=302_000), almost) is Standing.FRESH
    failed = value(load=400, refresh=299_500, failed=True)
    assert stands(early, 299_000, failed, almost) is Standing.FRESH
    assert stands(early, 299_600, failed, almost) is Standing.EARLY


def test_entries_say_when_they_are_stale_only_where_the_policy_needs_it() -> None:
    assert not Staleness(retry=1000).wanted
    assert Staleness(early=1.0).wanted
    assert Staleness(while_revalidate=1).wanted
    assert Staleness(if_error=1).wanted
    assert BOTH.kept == 600_000
