"""Policies and limiters say at once what cannot be, and what to write instead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from millpond import Client, ConfigError
from millpond.limit.limiter import Limiter
from millpond.limit.policies import FixedWindow, SlidingWindow, TokenBucket, check_policies

KINDS = (SlidingWindow, TokenBucket, FixedWindow)
NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture
def client() -> Client:
    return Client.from_url("memory://", prefix="t")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [0, -1, 1.5, NAN, INFINITE, True, "5", None, 10**9 + 1])
def test_limit_that_cannot_be_is_refused(kind: Any, limit: Any) -> None:
    with pytest.raises(ConfigError, match="limit must be a whole number"):
        kind(limit, per=60)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per", [0, -1, NAN, INFINITE, True, "5", None, 0.0009, 367 * 86_400])
def test_period_that_cannot_be_is_refused(kind: Any, per: Any) -> None:
    with pytest.raises(ConfigError, match="per must be"):
        kind(5, per=per)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a b", 'a"', "ä", "x" * 65, 5, None])
def test_name_that_cannot_be_is_refused(kind: Any, name: Any) -> None:
    with pytest.raises(ConfigError, match="name must be letters"):
        kind(5, per=60, name=name)


def test_window_beyond_the_ring_names_the_policy_to_use_instead() -> None:
    SlidingWindow(100_000, per=60)
    with pytest.raises(ConfigError, match=r"100,000 at most, not 100,001; use TokenBucket\(100001"):
        SlidingWindow(100_001, per=60)


@pytest.mark.parametrize("burst", [0, -1, 1.5, True, "5"])
def test_burst_that_cannot_be_is_refused(burst: Any) -> None:
    with pytest.raises(ConfigError, match="burst must be a whole number"):
        TokenBucket(5, per=60, burst=burst)


def test_bucket_that_could_not_be_counted_exactly_is_refused() -> None:
    TokenBucket(1, per=86_400, burst=100_000)
    with pytest.raises(ConfigError, match="shorter period"):
        TokenBucket(1, per=86_400, burst=200_000)


def test_number_alone_is_positional() -> None:
    with pytest.raises(TypeError):
        SlidingWindow(5, 60)  # type: ignore[misc]  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("policy", "label"),
    [
        (SlidingWindow(5, per=60), "window-60s"),
        (SlidingWindow(5, per=timedelta(hours=1), name="writes"), "window-3600s-writes"),
        (TokenBucket(5, per=0.25), "bucket-0.25s"),
        (FixedWindow(5, per=86_400), "fixed-86400s"),
        (SlidingWindow(5, per=0.001), "window-0.001s"),
    ],
)
def test_label_is_kind_period_and_name(policy: Any, label: str) -> None:
    assert policy.label == label


def test_labels_of_different_periods_differ() -> None:
    periods = [0.001, 0.01, 0.1, 1, 10, 100, 1000, 1.5, 15, 150, 31_622_400]
    assert len({SlidingWindow(1, per=per).label for per in periods}) == len(periods)


def test_limit_is_no_part_of_the_label_so_that_a_tier_keeps_its_state() -> None:
    assert SlidingWindow(5, per=60).label == SlidingWindow(500, per=60).label


def test_two_policies_of_one_label_are_refused() -> None:
    with pytest.raises(ConfigError, match="both called 'window-60s'; give one of them a name"):
        check_policies((SlidingWindow(5, per=60), SlidingWindow(9, per=timedelta(minutes=1))))
    check_policies((SlidingWindow(5, per=60), SlidingWindow(9, per=60, name="writes")))
    check_policies((SlidingWindow(5, per=60), FixedWindow(9, per=60), TokenBucket(9, per=60)))


@pytest.mark.parametrize("policies", [(), (5,), ("window",), (SlidingWindow,)])
def test_what_is_no_policy_is_refused(client: Client, policies: Any) -> None:
    with pytest.raises(ConfigError, match=r"SlidingWindow\(100, per=60\)"):
        Limiter(client, "api", *policies)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("near", 1.5),
        ("near", -1),
        ("near", NAN),
        ("near", "1"),
        ("near", None),
        ("share", 0),
        ("share", 1.5),
        ("share", NAN),
        ("share", True),
        ("share", "half"),
        ("on_unavailable", "open"),
        ("on_unavailable", None),
    ],
)
def test_option_that_cannot_be_is_refused(client: Client, option: str, value: Any) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ConfigError, match=option):
        Limiter(client, "api", SlidingWindow(5, per=60), **options)


def test_namespace_that_cannot_be_is_refused(client: Client) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        Limiter(client, "a:b", SlidingWindow(5, per=60))


def test_key_needs_no_connection_and_is_one_slot(client: Client) -> None:
    limiter = Limiter(client, "api", SlidingWindow(5, per=60))
    assert limiter.key(42) == limiter.key("42") == "{t:api:42}"
    assert limiter.key(("ip", "::1")) == "{t:api:ip:%3A%3A1}"
    assert limiter.key("a}b{c") == "{t:api:a%7Db%7Bc}"
    assert repr(limiter) == "<Limiter 'api' window-60s>"
