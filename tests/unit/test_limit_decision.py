"""What a decision says of itself, and to HTTP clients; what stands in for Redis; what is near."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from millpond.errors import LimitExceeded
from millpond.limit.decision import BLOCKED, Decision, Rules
from millpond.limit.fallback import Clock, Local, States, portion
from millpond.limit.near import Denials
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket

MINUTE = SlidingWindow(100, per=60)
BURST = TokenBucket(20, per=0.5, burst=40)
RULES = Rules((MINUTE, BURST), (MINUTE.label, BURST.label))


def decision(**changes: Any) -> Decision:
    made = Decision(
        allowed=True,
        retry_after=0.0,
        granted=1,
        cost=1,
        source="redis",
        key="{t:api:ann}",
        shadowed=False,
        at=1_700_000_000_000_000,
        rules=RULES,
        culprit=0,
        figures=[99, 60_000_000, 15, 612_500],
        counted=1,
    )
    return msgspec.structs.replace(made, **changes)


def denied(retry_after: float | None, culprit: int = 1, **changes: Any) -> Decision:
    changes = {"allowed": False, "granted": 0, "counted": 0, "culprit": culprit} | changes
    return decision(retry_after=retry_after, **changes)


# -- words and headers -------------------------------------------------------------------------


def test_remaining_is_that_of_the_tightest_policy_and_reset_that_of_the_slowest() -> None:
    assert decision().remaining == 15
    assert decision().reset_after == 60
    assert decision().policy is BURST
    assert denied(3.0).policy is MINUTE
    assert denied(3.0, BLOCKED).remaining == 0
    assert denied(3.0, BLOCKED).blocked


def test_headers_are_those_of_the_draft() -> None:
    assert decision().headers() == {
        "RateLimit-Policy": '"window-60s";q=100;w=60, "bucket-0.5s";q=40;w=1',
        "RateLimit": '"window-60s";r=99;t=60, "bucket-0.5s";r=15;t=1',
    }


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.000001, "1"), (0.9, "1"), (1.0, "1"), (1.000001, "2"), (59.2, "60"), (0.0, "1")],
)
def test_retry_after_is_rounded_up_so_that_who_obeys_is_admitted(seconds: float, said: str) -> None:
    assert denied(seconds).headers()["Retry-After"] == said


def test_what_never_fits_and_what_is_allowed_say_nothing_of_trying_again() -> None:
    assert "Retry-After" not in denied(None).headers()
    assert "Retry-After" not in decision().headers()
    assert "Retry-After" not in decision(shadowed=True, retry_after=5.0, culprit=1).headers()


def test_older_headers_are_an_option_and_tell_of_the_policy_that_matters() -> None:
    headers = decision().headers(legacy=True)
    assert headers["X-RateLimit-Limit"] == "40"
    assert headers["X-RateLimit-Remaining"] == "15"
    assert headers["X-RateLimit-Reset"] == "1"
    assert denied(5.0).headers(legacy=True)["X-RateLimit-Limit"] == "100"
    assert not any(name.startswith("X-") for name in decision().headers())


def test_nothing_is_left_and_nobody_need_ask_while_blocked() -> None:
    headers = denied(90.2, BLOCKED).headers(legacy=True)
    assert headers["RateLimit"] == '"window-60s";r=0;t=91, "bucket-0.5s";r=0;t=91'
    assert headers["X-RateLimit-Remaining"] == "0"
    assert denied(90.2, BLOCKED).violated == ("block",)


def test_violated_are_all_policies_that_have_less_left_than_is_asked_for() -> None:
    assert decision().violated == ()
    assert denied(3.0).violated == (MINUTE.label,)
    assert denied(3.0, cost=16).violated == (BURST.label,)
    assert denied(3.0, cost=100).violated == (MINUTE.label, BURST.label)


def test_no_policy_is_said_to_have_more_left_than_there_is() -> None:
    slow = TokenBucket(5, per=60, burst=20)
    assert Rules((slow,), ("slow",)).header == '"slow";q=20;w=240'


def test_error_names_key_and_time() -> None:
    assert "try again in 5.000 s" in str(LimitExceeded(denied(5.0)))
    assert "above the limit" in str(LimitExceeded(denied(None)))


def test_decision_is_true_when_it_allows_and_shows_what_matters() -> None:
    assert decision()
    assert not denied(1.0)
    assert repr(denied(1.5)) == "<Decision denied by redis: remaining=15, retry_after=1.5>"


# -- near --------------------------------------------------------------------------------------


def test_denial_is_remembered_for_the_shorter_of_near_and_its_own_time() -> None:
    denials = Denials(1.0)
    denials.add("ann", denied(5.0, key="A"), 100.0, 100.0)
    denials.add("bob", denied(0.25, key="B"), 100.0, 100.0)
    denials.add("eve", denied(None, key="E"), 100.0, 100.0)
    assert [denials.by_name[name].until for name in ("ann", "bob", "eve")] == [101, 100.25, 101]
    Denials(0).add("ann", denied(5.0), 100.0, 100.0)
    none = Denials(0)
    none.add("ann", denied(5.0), 100.0, 100.0)
    assert len(none) == 0


def test_lower_cost_that_is_denied_answers_more() -> None:
    denials = Denials(1.0)
    denials.add("ann", denied(5.0, cost=5), 100.0, 100.0)
    denials.add("ann", denied(4.0, cost=2), 100.1, 100.1)
    assert (denials.by_name["ann"].cost, denials.by_name["ann"].until) == (2, 101.1)
    denials.add("ann", denied(6.0, cost=7), 100.2, 100.2)
    assert denials.by_name["ann"].cost == 2
    denials.add("ann", denied(6.0, cost=7), 102.0, 102.0)  # the other has ended
    assert denials.by_name["ann"].cost == 7


def test_all_names_of_a_key_are_forgotten_together() -> None:
    denials = Denials(1.0)
    for name in (42, "42", *(f"alias {n}" for n in range(20))):
        denials.add(name, denied(5.0), 100.0, 100.0)
    assert len(denials) == 1
    assert len(denials.by_name) <= 8
    spot = denials.by_name[42]
    denials.clear("{t:api:ann}")
    assert not denials.by_name
    assert spot.until == 0
    denials.clear("{t:api:ann}")


def test_flood_of_keys_forgets_the_oldest() -> None:
    denials = Denials(1.0, most=3)
    for number in range(5):
        denials.add(number, denied(5.0, key=str(number)), 100.0, 100.0)
    assert list(denials.by_name) == [2, 3, 4]
    assert len(denials) == 3


# -- in this process ---------------------------------------------------------------------------


def test_share_scales_every_limit_to_one_at_least() -> None:
    policies = (SlidingWindow(100, per=60), TokenBucket(10, per=1, burst=40), FixedWindow(3, per=1))
    full, quarter = Local(policies, 1.0, States()), Local(policies, 0.25, States())
    assert full.decide("k", 1, 0, "peek")[2][::2] == [100, 40, 3]
    assert quarter.decide("k", 1, 0, "peek")[2][::2] == [25, 10, 1]


@pytest.mark.parametrize("policy", [MINUTE, BURST, FixedWindow(50, per=60)])
def test_local_hit_can_be_given_back(policy: Any) -> None:
    local = Local((policy,), 1.0, States())
    before = local.decide("k", 5, 10**15)
    local.decide("k", 5, 10**15 + 1)
    local.give_back("k", 5, 10**15, 10**15 + 1)
    assert local.decide("k", 5, 10**15 + 1)[2][0] == before[2][0] - 5
    local.give_back("unknown", 5, 0, 0)
    local.forget("k")
    local.forget("k")
    assert local.decide("k", 5, 10**15 + 1)[2][0] == before[2][0]


def test_local_limiter_holds_a_bounded_number_of_keys() -> None:
    local = Local((MINUTE,), 1.0, States())
    for number in range(10_050):
        local.decide(str(number), 1, 10**15)
    assert local.decide("10049", 1, 10**15, "peek")[2][0] == 99
    assert local.decide("0", 1, 10**15, "peek")[2][0] == 100


def test_clock_of_this_process_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits would lie in the future, and lock out whoever made them."""
    wall, steady = 10**18, 5 * 10**9
    monkeypatch.setattr("time.time_ns", lambda: wall)
    monkeypatch.setattr("time.monotonic_ns", lambda: steady)
    clock = Clock()
    assert clock.now() == 10**15
    wall -= 3600 * 10**9
    steady += 10**9
    clock.adjust()
    assert clock.now() == 10**15 + 10**6
    wall += 7200 * 10**9
    clock.adjust()
    assert clock.now() == 10**15 + 3600 * 10**6


@pytest.mark.parametrize("policy", [MINUTE, BURST, FixedWindow(50, per=60)])
def test_local_hit_from_before_a_reset_gives_nothing_back(policy: Any) -> None:
    local = Local((policy,), 1.0, States())
    local.decide("k", 5, 10**15)
    local.forget("k")
    before = local.decide("k", 5, 10**15 + 1)[2][0]
    local.give_back("k", 5, 10**15, 10**15 + 1)
    assert local.decide("k", 1, 10**15 + 1, "peek")[2][0] == before


def test_local_limits_of_one_namespace_count_the_same_hits() -> None:
    states = States()
    free, paid = (Local((SlidingWindow(n, per=60),), 1.0, states) for n in (2, 10))
    free.decide("k", 2, 10**15)
    assert paid.decide("k", 5, 10**15 + 1)[2][0] == 3
    assert free.decide("k", 1, 10**15 + 2)[0] == 1
    assert free.decide("k", 1, 10**15 + 2)[2][0] == 0


@pytest.mark.parametrize(
    ("limit", "share", "expected"),
    [(100, 0.29, 29), (100, 0.295, 29), (3, 1 / 3, 1), (10, 0.01, 1), (7, 1.0, 7)],
)
def test_share_of_a_limit_is_not_one_too_few_for_want_of_a_digit(
    limit: int, share: float, expected: int
) -> None:
    assert portion(limit, share) == expected
