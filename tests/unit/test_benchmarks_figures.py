"""What the benchmarks make of their measurements: figures, verdict, picture; and their source."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks import demo, readme, report, source
from benchmarks.results import Result, Run, percentile, ratios, save
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.herd import Herd, Moment
from benchmarks.scenarios.race import Race
from benchmarks.svg import Strip, chart

if TYPE_CHECKING:
    from pathlib import Path


def _herd(subject: str, loads: int, moment: Moment = "cold") -> Herd:
    return Herd(
        subject=subject,
        moment=moment,
        finished=[300_000_000, 210_000_000, 220_000_000, 205_000_000],
        loaders=list(range(loads)),
        loaded=[200_000_000] * loads,
        commands={"get": 8, "client|caching": 6},
    )


def _race(subject: str, stale: int) -> Race:
    return Race(
        subject=subject,
        readers=8,
        seconds=1.0,
        reads=100,
        stale=stale,
        loads=10,
        writes=10,
        unconfirmed=0,
        latencies_ms=[1.0, 2.0],
    )


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)]
)
def test_percentile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    assert percentile([3, 1, 4, 2], share) == expected


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """A slow second half of the run (the last two rounds) changes no ratio."""
    rates = {"ours": [100.0, 100.0, 30.0, 10.0], "theirs": [10.0, 10.0, 3.0, 1.0]}
    assert ratios(rates, "ours") == {"theirs": 10.0}


def test_one_run_is_saved_as_one_object_and_two_as_runs(tmp_path: Path) -> None:
    result = Result(subject="millpond", tasks=8, processes=4, rounds=1, stale=0)
    run = Run(scenario="race", environment={"cores": 2}, results=[result])
    save([run], tmp_path / "one.json")
    save([run, run], tmp_path / "two.json")
    one = json.loads((tmp_path / "one.json").read_bytes())
    two = json.loads((tmp_path / "two.json").read_bytes())
    assert two == {"runs": [one, one]}
    assert one["results"] == [
        {"subject": "millpond", "tasks": 8, "processes": 4, "rounds": 1, "stale": 0}
    ]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_has_a_table(scenario: str) -> None:
    environment = {
        "cpu": "abacus",
        "cores": 2,
        "python": "CPython 3.11",
        "server": {"name": "valkey", "version": "9", "transport": "tcp"},
    }
    result = Result(subject="millpond", tasks=8, processes=4, rounds=1)
    run = Run(scenario=scenario, environment=environment, results=[result])
    assert "millpond" in report.text(run)


def test_table_aligns_words_left_and_numbers_right() -> None:
    assert report.table(("who", "count"), [("recipe", "7"), ("us", "1,000")]).splitlines() == [
        "who     count",
        "─────────────",
        "recipe      7",
        "us      1,000",
    ]


def test_after_fill_counts_from_the_first_loads_end_to_the_last_caller() -> None:
    assert _herd("recipe", 2).after_fill == 100_000_000


def test_rivals_may_load_often_and_serve_stale_values() -> None:
    herds = [_herd("unprotected", 4), _herd("recipe", 2), _herd("millpond", 1)]
    assert demo.problems(herds, [_race("recipe", 50), _race("millpond", 0)]) == []


@pytest.mark.parametrize("loads", [0, 2])
def test_millpond_must_load_exactly_once(loads: int) -> None:
    (problem,) = demo.problems([_herd("millpond", loads, "expiry")], [_race("millpond", 0)])
    assert f"loaded {loads} times" in problem
    assert "at expiry" in problem


def test_one_stale_read_of_millpond_is_a_failure() -> None:
    (problem,) = demo.problems([_herd("millpond", 1)], [_race("millpond", 1)])
    assert "1 stale" in problem


def test_chart_is_xml_with_one_dot_per_caller_and_the_loads_printed() -> None:
    strip = Strip(
        name="A & B", note="of 7", finished_ms=[float(200 + i) for i in range(1000)], loaders=[7]
    )
    crowd = Strip(name="C", note="", finished_ms=[1.0] * 1000, loaders=list(range(1000)))
    drawn = chart([strip, crowd], title="t <1>", note="n")
    assert drawn == chart([strip, crowd], title="t <1>", note="n")
    root = ET.fromstring(drawn)
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"A & B", "t <1>", "1", "load", "1,000", "loads"} <= texts
    paths = root.iter("{http://www.w3.org/2000/svg}path")
    dots = [path.attrib["d"].count("M") for path in paths if path.get("class") == "dots"]
    assert dots == [999, 1, 1000]


async def test_load_sees_the_committed_version(tmp_path: Path) -> None:
    path = tmp_path / "products.sqlite"
    source.build(path, products=500)
    catalogue = source.Catalogue(path, delay=0.0)
    before = await catalogue.load(7)
    assert await catalogue.raise_version(7) == 2
    after = await catalogue.load(7)
    with pytest.raises(LookupError, match="no product 501"):
        await catalogue.load(501)
    catalogue.close()
    assert (before.version, after.version) == (1, 2)
    assert 0 < after.similar <= 500


@pytest.mark.parametrize("scenario", readme.PAGES)
def test_page_shows_the_measured_figures_and_no_others(scenario: str) -> None:
    assert readme.render_page(scenario) in readme.PAGES[scenario].read_text("utf-8")


def test_readme_shows_the_measured_figures_and_no_others() -> None:
    runs = msgspec.json.decode(readme.FIGURES.read_bytes())["runs"]
    assert readme.render(runs) in (readme.ROOT / "README.md").read_text("utf-8")
