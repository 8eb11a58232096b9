"""What the benchmarks make of their measurements: figures, verdict, picture; and their source."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks import demo, held, page, parts, pictures, readme, report, source
from benchmarks.results import Result, Run, percentile, ratios, save
from benchmarks.scenarios import NAMES
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
        share=0.1,
        tasks=8,
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


def test_runs_are_saved_without_what_does_not_apply(tmp_path: Path) -> None:
    result = Result(subject="millpond", tasks=8, processes=4, rounds=1, stale=0)
    run = Run(scenario="race", environment={"cores": 2}, results=[result])
    save([run, run], tmp_path / "two.json")
    document = json.loads((tmp_path / "two.json").read_bytes())
    one = {
        "scenario": "race",
        "environment": {"cores": 2},
        "results": [{"subject": "millpond", "tasks": 8, "processes": 4, "rounds": 1, "stale": 0}],
    }
    assert document == {"runs": [one, one]}


@pytest.mark.parametrize("scenario", NAMES)
def test_every_scenario_has_a_table(scenario: str) -> None:
    environment = {
        "cpu": "abacus",
        "cores": 2,
        "python": "CPython 3.11",
        "server": {"name": "valkey", "version": "9", "transport": "tcp"},
    }
    result = Result(subject="millpond", tasks=8, processes=4, rounds=1)
    failed = Result(subject="recipe", tasks=8, processes=4, rounds=0, failure="it broke")
    run = Run(
        scenario=scenario,
        environment=environment,
        results=[result, failed],
        skipped={"cashews": "not installed: pip install cashews[redis]"},
    )
    text = report.text(run)
    assert "millpond" in text
    assert "recipe failed (8 tasks): it broke" in text
    assert "cashews skipped: not installed: pip install cashews[redis]" in text


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
def test_how_to_shows_the_measured_figures_and_no_others(scenario: str) -> None:
    runs = page.read([readme.FIGURES])
    assert readme.render_page(scenario, runs) in readme.PAGES[scenario].read_text("utf-8")


def test_readme_shows_the_measured_figures_and_no_others() -> None:
    runs = page.read([readme.FIGURES])
    assert readme.render(runs) in (readme.ROOT / "README.md").read_text("utf-8")


def test_page_of_benchmarks_and_its_charts_are_those_of_the_measured_figures() -> None:
    runs = page.read([readme.FIGURES])
    assert page.PAGE.read_text("utf-8") == page.render(runs)
    there = {one.stem: one.read_text("utf-8") for one in page.PAGE.with_suffix("").iterdir()}
    assert there == pictures.charts_of(runs)


def test_page_of_parts_shows_the_figures_that_are_kept() -> None:
    kept = msgspec.json.decode(parts.FIGURES.read_bytes(), type=parts.Parts)
    page = parts.PAGE.read_text("utf-8")
    assert parts.render(kept) in page
    assert f"<!-- held:begin -->\n{held.render(kept.waiting)}<!-- held:end -->" in page
