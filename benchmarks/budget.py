"""The budgets: what each part must reach, as ratios within one run, and whether it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from benchmarks.words import OURS, at_hundred, of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.results import Result, Run

__all__ = ["Line", "judge"]

_RIVAL_CACHES = ("cashews", "aiocache", "fastapi-cache2")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One budget."""

    scenario: str
    goal: str
    measured: str
    share: float | None  # of the goal that was reached, 1 or more: met; None: not measured
    floor: str | None = None  # how the least that can be done stands to the goal

    @property
    def verdict(self) -> str:
        """Say how it stands; of a miss also whether the floor forbids the goal."""
        if self.share is None:
            return "not measured"
        if self.share >= 1:
            return "met" if self.share < 1.005 else f"met, {self.share - 1:.0%} above"
        missed = f"missed by {1 - self.share:.0%}"
        return missed if self.floor is None else f"{missed}: {self.floor}"


class _Unmeasured(Exception):
    """The run lacks a figure; the message says which."""


def judge(runs: Sequence[Run]) -> list[Line]:
    """Hold every budget against the runs."""
    lines: list[Line] = []
    for scenario, goal, measure, takes in _BUDGETS:
        run = of(runs, scenario)
        measured, share = _judged(run, measure)
        floor = None if run is None or takes is None else takes(run)
        lines.append(
            Line(scenario=scenario, goal=goal, measured=measured, share=share, floor=floor)
        )
    return lines


def _judged(
    run: Run | None, measure: Callable[[Run], tuple[str, float]]
) -> tuple[str, float | None]:
    if run is None:
        return "not in this run", None
    if OURS in run.skipped:
        return run.skipped[OURS], None
    try:
        return measure(run)
    except _Unmeasured as reason:
        return str(reason), None


def _ours(run: Run) -> Result:
    mine = at_hundred(run).get(OURS)
    if mine is None:
        raise _Unmeasured("millpond was not measured")
    return mine


def _ratio(rival: str, least: float) -> Callable[[Run], tuple[str, float]]:
    def measure(run: Run) -> tuple[str, float]:
        reached = (_ours(run).ratios or {}).get(rival)
        if reached is None:
            raise _Unmeasured(f"{rival} was not measured")
        return f"{reached:.2f} x", reached / least

    return measure


def _share_of_bare(least: float) -> Callable[[Run], tuple[str, float]]:
    def measure(run: Run) -> tuple[str, float]:
        _, share = _ratio("bare", least)(run)
        return f"{100 * share * least:.0f} %", share

    return measure


def _ratio_to_all(rivals: tuple[str, ...], least: float) -> Callable[[Run], tuple[str, float]]:
    def measure(run: Run) -> tuple[str, float]:
        against = _ours(run).ratios or {}
        reached = {rival: against[rival] for rival in rivals if rival in against}
        if not reached:
            raise _Unmeasured("none of them was measured")
        words = ", ".join(f"{rival} {ratio:.1f} x" for rival, ratio in reached.items())
        return words, min(reached.values()) / least

    return measure


def _rate(least: float) -> Callable[[Run], tuple[str, float]]:
    def measure(run: Run) -> tuple[str, float]:
        rate = _ours(run).per_second or 0.0
        return f"{rate:,.0f}/s", rate / least

    return measure


def _near(run: Run) -> tuple[str, float]:
    mine = _ours(run)
    rate, ratio = mine.per_second or 0.0, (mine.ratios or {}).get("cashews")
    if ratio is None:
        raise _Unmeasured("cashews was not measured")
    return f"{rate:,.0f}/s, {ratio:.1f} x", min(rate / 500_000, ratio / 20)


def _herd_loads(run: Run) -> tuple[str, float]:
    herds = [one for one in run.results if one.subject == OURS and one.failure is None]
    if not herds:
        raise _Unmeasured("millpond was not measured")
    worst = max(one.most_loads or 0 for one in herds)
    return f"{worst} in the worst of {sum(one.rounds for one in herds)}", 1 / max(worst, 1)


def _herd_last(run: Run) -> tuple[str, float]:
    herds = [one for one in run.results if one.subject == OURS and one.failure is None]
    if not herds:
        raise _Unmeasured("millpond was not measured")
    last = {str(one.moment): one.after_fill_p99_ms or 0.0 for one in herds}
    words = ", ".join(f"{moment} {one:.1f} ms" for moment, one in last.items())
    # A time: half of what is allowed is twice as good.
    return words, 10.0 / max(last.values())


def _least_share(run: Run) -> tuple[str, float]:
    share = _ours(run).least_share
    if share is None:
        raise _Unmeasured("not in this run")
    return f"{100 * share:.0f} %", share / 0.3


def _takes(floor: str, least: float, *rivals: str) -> Callable[[Run], str | None]:
    """Word a goal as a multiple of what the subject reaches that does the least."""

    def say(run: Run) -> str | None:
        beneath = at_hundred(run).get(floor)
        ratios = (beneath.ratios if beneath is not None else None) or {}
        asked = [
            f"{least:g} x {rival} is {least / ratios[rival]:.2f} x `{floor}`"
            for rival in rivals
            if ratios.get(rival)
        ]
        return ", ".join(asked) or None

    return say


_Measure: TypeAlias = "Callable[[Run], tuple[str, float]]"
_Floor: TypeAlias = "Callable[[Run], str | None] | None"

_BUDGETS: tuple[tuple[str, str, _Measure, _Floor], ...] = (
    ("get", "15 x redis-py", _ratio("redis-py", 15), _takes("floor", 15, "redis-py")),
    ("get", "4 x valkey-glide", _ratio("valkey-glide", 4), _takes("floor", 4, "valkey-glide")),
    ("get", "0.8 of a bare protocol loop", _ratio("floor", 0.8), None),
    ("hit", "12 x the recipe on redis-py", _ratio("recipe", 12), _takes("floor", 12, "recipe")),
    (
        "hit",
        "30 x each cache library",
        _ratio_to_all(_RIVAL_CACHES, 30),
        _takes("floor", 30, *_RIVAL_CACHES),
    ),
    ("near", "500,000/s and 20 x cashews' client side", _near, None),
    ("herd", "1 load in every herd", _herd_loads, None),
    ("herd", "last caller within 10 ms of the load, p99", _herd_last, None),
    ("lock", "7 x redis-py, with a fence", _ratio("redis-py", 7), None),
    ("lock_contended", "2,000 hand-overs/s", _rate(2_000), None),
    ("lock_contended", "30 % at least for each process", _least_share, None),
    ("limit", "5 x throttled-py's approximate window", _ratio("throttled-sliding", 5), None),
    ("limit", "5 x throttled-py's GCRA", _ratio("throttled-gcra", 5), None),
    ("limit_denied", "700,000/s", _rate(700_000), None),
    ("web", "85 % of the bare handler", _share_of_bare(0.85), None),
    (
        "web_limit",
        "80 % of the bare handler",
        _share_of_bare(0.80),
        _takes("bare-dependency", 0.80, "bare"),
    ),
    ("web_page", "200 % of the bare handler", _share_of_bare(2.0), None),
)
