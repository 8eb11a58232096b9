"""Durations: what is accepted, what comes out, and that every refusal names the fix."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.core.durations import LONGEST, milliseconds, seconds
from millpond.errors import ConfigError

REFUSED: list[Any] = [
    0,
    0.0,
    -1,
    -0.001,
    math.nan,
    math.inf,
    -math.inf,
    True,
    False,
    None,
    "30",
    "5m",
    b"30",
    [30],
    10**400,
    -(10**5000),
    LONGEST + 1,
    1e300,
    timedelta(0),
    timedelta(seconds=-1),
    timedelta.max,
    "x" * 10_000,
]


@pytest.mark.parametrize("value", REFUSED, ids=[type(value).__name__ for value in REFUSED])
@pytest.mark.parametrize("convert", [seconds, milliseconds])
def test_what_is_no_duration_is_refused_with_the_name_and_the_fix(convert: Any, value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        convert(value, "lease_ttl")
    text = str(refused.value)
    assert text.startswith("lease_ttl must be ")
    assert "lease_ttl=30" in text
    assert len(text) < 250


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (0, "above 0, not 0;"),
        (-2.5, "above 0, not -2.5;"),
        (math.nan, "a number, not nan;"),
        (math.inf, "100 years (are these milliseconds?), not inf;"),
        (True, "a duration, not True;"),
        (None, "a duration, not None;"),
        ("30s", "a duration, not '30s';"),
        ([], "a duration, not a list;"),
        (timedelta(0), "above 0, not 0:00:00;"),
    ],
)
def test_a_refusal_shows_the_value(value: Any, part: str) -> None:
    with pytest.raises(ConfigError, match="ttl must be") as refused:
        seconds(value, "ttl")
    assert part in str(refused.value)


def test_seconds_come_out_as_float_from_ints_floats_and_timedeltas() -> None:
    assert seconds(30, "ttl") == 30.0
    assert type(seconds(30, "ttl")) is float
    assert seconds(0.25, "ttl") == 0.25
    assert seconds(timedelta(minutes=5), "ttl") == 300.0
    assert seconds(LONGEST, "ttl") == LONGEST


def test_milliseconds_are_rounded_up_and_never_zero() -> None:
    assert milliseconds(1e-9, "ttl") == 1
    assert milliseconds(5e-324, "ttl") == 1
    assert milliseconds(timedelta(microseconds=1), "ttl") == 1
    assert milliseconds(1.0001, "ttl") == 1001
    assert milliseconds(timedelta(milliseconds=3, microseconds=1), "ttl") == 4
    assert milliseconds(300, "ttl") == 300_000


@given(st.integers(1, 10**9))
def test_a_decimal_number_of_milliseconds_is_not_rounded_away_from_itself(number: int) -> None:
    assert milliseconds(number / 1000, "ttl") == number
    assert milliseconds(timedelta(milliseconds=number), "ttl") == number


@given(st.floats(min_value=0, max_value=LONGEST, exclude_min=True))
def test_milliseconds_cover_the_seconds_and_not_a_whole_one_more(value: float) -> None:
    number = milliseconds(value, "ttl")
    assert number >= 1
    assert number >= value * 1000 * (1 - 1e-12) - 1e-6
    assert number <= value * 1000 + 1.001
