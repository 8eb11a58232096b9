"""Durations as people write them, turned into what asyncio and Redis take: the one converter.

In: seconds (int or float) or `timedelta`. Out: float seconds for timers, integer milliseconds for
`PX` and `PEXPIRE`. Refused: everything that would quietly mean "never", "at once" or "forever"
(0, negative, NaN, infinity, `None`), and everything that is a duration only by accident (`True`,
`"30"`). Nothing here means "off": an option that can be switched off does so before it comes here.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import cast

from millpond.errors import ConfigError

__all__ = ["LONGEST", "milliseconds", "seconds"]

LONGEST = 100 * 365 * 86_400
"""Seconds. Longer ones are a unit mistaken or a "forever" in disguise, and Redis refuses to add
some of them to its clock."""


def seconds(value: float | timedelta, name: str) -> float:
    """Check a duration and return it in seconds.

    Args:
        value: Seconds, or a `timedelta`; above 0 and at most a hundred years.
        name: What the caller calls it, for the message: `"ttl"`, `"command_timeout"`.

    Returns:
        Seconds, above 0 and finite.

    Raises:
        ConfigError: It is not such a duration; the message names the argument, the value and the
            fix.
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(cast("object", value), int | float) and not isinstance(value, bool):
        # Compared before it is converted: float(10**400) raises.
        number = float(value) if 0 < value <= LONGEST else math.nan
    else:
        raise ConfigError(_refusal(value, name))
    if 0 < number <= LONGEST:  # false for NaN too
        return number
    raise ConfigError(_refusal(value, name))


def milliseconds(value: float | timedelta, name: str) -> int:
    """Check a duration and return it in whole milliseconds, rounded up: never 0.

    Args:
        value: Seconds, or a `timedelta`; above 0 and at most a hundred years.
        name: What the caller calls it, for the message.

    Returns:
        Milliseconds, at least 1.

    Raises:
        ConfigError: As `seconds`.
    """
    if type(value) is int and 0 < value <= LONGEST:
        return value * 1000  # most are, and it is asked on every call that has a ttl
    number = seconds(value, name)
    if isinstance(value, timedelta):
        return -(-value // timedelta(milliseconds=1))  # exact, and // rounds down: so up
    # Rounded to a nanosecond first: 0.009 * 1000 may come out a hair above 9, and is 9.
    return max(1, math.ceil(round(number * 1000, 6)))


def _refusal(value: object, name: str) -> str:
    """Say what is wrong with the value, and what to write instead."""
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        kind, wrong = type(value).__name__, "a duration"
        shown = ascii(value) if isinstance(value, bool | str | None) else f"a {kind}"
    else:
        number = value.total_seconds() if isinstance(value, timedelta) else value
        shown = "so large an int" if isinstance(value, int) and abs(value) > 1e18 else str(value)
        if number > LONGEST:
            wrong = "at most 100 years (are these milliseconds?)"
        elif number <= 0:
            wrong = "above 0"
        else:
            wrong = "a number"
    if len(shown) > 40:
        shown = f"{shown[:40]}..."
    return (
        f"{name} must be {wrong}, not {shown}; "
        f"give seconds or a timedelta, such as {name}=30 or {name}=timedelta(minutes=5)"
    )
