"""What a page makes of runs: budgets, losses, charts; and who is measured with what."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import budget, charts, environments, losses, page, pictures, readme, report, words
from benchmarks.results import Measured, Result, Run, save
from benchmarks.scenarios import NAMES, scenario
from benchmarks.subjects import Subject, subjects
from tests.support.abacus import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path


def _result(subject: str, rate: float = 1.0, **more: Any) -> Result:
    fields: dict[str, Any] = {"tasks": 100, "processes": 1, "rounds": 1, "per_second": rate}
    return Result(subject=subject, **(fields | more))


def _run(name: str, *results: Result, **more: Any) -> Run:
    return Run(scenario=name, environment=ENVIRONMENT, results=list(results), **more)


def _verdicts(*runs: Run) -> dict[str, str]:
    return {f"{line.scenario}: {line.goal}": line.verdict for line in budget.judge(runs)}


def test_budget_is_met_missed_or_not_measured() -> None:
    verdicts = _verdicts(
        _run(
            "get",
            _result("redis-py"),
            _result("millpond", ratios={"redis-py": 18.0, "valkey-glide": 3.0}),
        )
    )
    assert verdicts["get: 15 x redis-py"] == "met, 20% above"
    assert verdicts["get: 4 x valkey-glide"] == "missed by 25%"
    assert verdicts["get: 0.8 of a bare protocol loop"] == "not measured"
    assert verdicts["lock: 7 x redis-py, with a fence"] == "not measured"


def test_budget_against_several_rivals_is_that_against_the_best() -> None:
    ratios = {"cashews": 60.0, "aiocache": 15.0, "fastapi-cache2": 90.0}
    verdicts = _verdicts(_run("hit", _result("millpond", ratios=ratios)))
    assert verdicts["hit: 30 x each cache library"] == "missed by 50%"


def test_missed_budget_says_what_it_asks_of_the_floor() -> None:
    hit = _run(
        "hit",
        _result("floor", ratios={"recipe": 15.0, "aiocache": 20.0, "cashews": 40.0}),
        _result("millpond", ratios={"recipe": 13.0, "aiocache": 18.0, "cashews": 36.0}),
    )
    web = _run(
        "web_limit",
        _result("bare-dependency", tasks=64, ratios={"bare": 0.75}),
        _result("millpond", tasks=64, ratios={"bare": 0.60}),
    )
    verdicts = _verdicts(hit, web)
    assert verdicts["hit: 12 x the recipe on redis-py"] == "met, 8% above"
    assert verdicts["hit: 30 x each cache library"] == (
        "missed by 40%: 30 x cashews is 0.75 x `floor`, 30 x aiocache is 1.50 x `floor`"
    )
    assert verdicts["web_limit: 80 % of the bare handler"] == (
        "missed by 25%: 0.8 x bare is 1.07 x `bare-dependency`"
    )


def test_budget_that_is_a_share_is_measured_in_per_cent() -> None:
    run = _run("web", _result("millpond", tasks=64, ratios={"bare": 0.904}))
    line = next(one for one in budget.judge([run]) if one.scenario == "web")
    assert (line.measured, line.verdict) == ("90 %", "met, 6% above")


def test_budget_missed_without_a_floor_in_the_run_says_no_more() -> None:
    verdicts = _verdicts(_run("hit", _result("millpond", ratios={"recipe": 6.0})))
    assert verdicts["hit: 12 x the recipe on redis-py"] == "missed by 50%"


def test_quick_run_measures_every_line_of_the_budgets() -> None:
    runs = [
        _run(
            name,
            *(
                _result(
                    subject,
                    ratios=dict.fromkeys(scenario(name).QUICK, 1.0),
                    least_share=0.5,
                    after_fill_p99_ms=1.0,
                    moment="cold" if name == "herd" else None,
                )
                for subject in scenario(name).QUICK
            ),
        )
        for name in NAMES
        if scenario(name).QUICK
    ]
    lines = budget.judge(runs)
    assert [line.goal for line in lines if line.share is None] == []
    (each,) = [line for line in lines if line.goal == "30 x each cache library"]
    assert each.measured == "cashews 1.0 x, aiocache 1.0 x, fastapi-cache2 1.0 x"
    for run in runs:
        against = report.AGAINST.get(run.scenario)
        if f"x {against}" in [title for title, _ in report.columns(run)]:
            assert against in scenario(run.scenario).QUICK


def test_budget_at_a_hundred_tasks_is_not_judged_by_another_number_of_them() -> None:
    verdicts = _verdicts(
        _run(
            "hit",
            _result("millpond", tasks=1, ratios={"recipe": 1.0}),
            _result("millpond", tasks=100, ratios={"recipe": 12.0}),
        )
    )
    assert verdicts["hit: 12 x the recipe on redis-py"] == "met"


def test_a_second_load_in_one_herd_misses_the_budget() -> None:
    herd = _result("millpond", most_loads=2, moment="cold", after_fill_p99_ms=20.0)
    verdicts = _verdicts(_run("herd", herd))
    assert verdicts["herd: 1 load in every herd"] == "missed by 50%"
    assert verdicts["herd: last caller within 10 ms of the load, p99"] == "missed by 50%"


def test_part_that_is_not_there_yet_says_why() -> None:
    run = _run("near", _result("cashews"), skipped={"millpond": "no near cache"})
    line = next(one for one in budget.judge([run]) if one.scenario == "near")
    assert (line.measured, line.verdict) == ("no near cache", "not measured")


def test_losses_name_the_best_rival_and_leave_out_noise_and_references() -> None:
    run = _run(
        "get",
        _result("floor", 900.0),
        _result("redis-py", 100.0, p99_ms=1.0, cpu_us=9.7),
        _result("coredis", 130.0, p99_ms=3.0),
        _result("millpond", 100.0, p99_ms=2.0, cpu_us=10.0),
    )
    found = losses.losses([run])
    assert [(one.figure, one.situation, one.rival, one.theirs, one.own) for one in found] == [
        ("rate", "100 tasks", "coredis", "130/s", "100/s"),
        ("p99", "100 tasks", "redis-py", "1 ms", "2 ms"),
    ]


def test_every_time_that_a_table_shows_can_be_lost() -> None:
    times = ("p50_ms", "p99_ms", "p999_ms", "max_ms", "after_fill_p50_ms", "after_fill_p99_ms")
    run = _run(
        "race",
        _result("recipe", **dict.fromkeys(times, 1.0)),
        _result("millpond", **dict.fromkeys(times, 2.0)),
    )
    assert len(losses.losses([run])) == len(times)


def test_front_page_takes_no_reference_for_a_rival() -> None:
    shares = {"millpond": 0.7, "bare-dependency": 0.8, "fastapi-redis-sdk": 0.4}
    web = [
        _result(subject, 1000 * share, tasks=64, ratios={"bare": share})
        for subject, share in shares.items()
    ]
    shown = readme.render([_run("web_limit", *web)])
    assert "| 70% | 40%, fastapi-redis-sdk |" in shown
    assert "dependency" not in shown


def test_losses_compare_like_with_like() -> None:
    run = _run(
        "limit_memory",
        _result("throttled-gcra", 1.0, setting="1,000 hits", bytes_per_key=104),
        _result("millpond", 1.0, setting="1 hits", bytes_per_key=136),
    )
    assert losses.losses([run]) == []


def test_page_says_on_what_with_which_settings_and_what_is_missing() -> None:
    run = _run(
        "get",
        _result("redis-py", 1000.0),
        _result("millpond", 20_000.0, ratios={"redis-py": 20.0}),
        _result("coredis", 0.0, failure="it broke"),
        subjects={"redis-py": Measured(settings="the default pool", versions={"redis": "8.1"})},
        skipped={"valkey-glide": "not installed: pip install valkey-glide"},
    )
    text = page.render([run])
    assert "abacus, 2 cores, 2 GiB; CPython 3.11; valkey 9 over tcp" in text
    assert "commit abcdef012345" in text
    assert "| 100 | millpond | 20,000 | 20.00 |" in text
    assert "- **redis-py** (redis 8.1): the default pool." in text
    assert "- valkey-glide was skipped: not installed: pip install valkey-glide" in text
    assert "- coredis failed (100 tasks): it broke" in text
    assert "Scenarios that are not in these results: `tasks`, `large`," in text
    assert "In no figure that was measured, by more than 5 %." in text


def test_page_says_in_how_many_rounds_and_whether_the_tree_had_changes() -> None:
    environment = ENVIRONMENT | {"commit": "abcdef0123456789-dirty"}
    results = [_result("redis-py", rounds=2), _result("millpond", rounds=7)]
    text = page.render([Run(scenario="get", environment=environment, results=results)])
    assert "commit abcdef012345 with changes." in text
    assert "GET of 200 bytes, 100 concurrent tasks; 2 to 7 rounds." in text
    assert "; 1 round." in page.render([_run("get", _result("millpond"))])


def test_page_names_the_rivals_that_a_scenario_lacks() -> None:
    failed = _result("aiocache", failure="it broke")
    text = page.render([_run("race", _result("recipe"), failed, _result("millpond"))])
    absent = "unprotected, cashews, cashews-client-side, aiocache, fastapi-cache2"
    assert f"- `race` without {absent}." in text


def test_page_has_verdicts_before_tables_and_each_setting_once() -> None:
    one = {"redis-py": Measured(settings="the default pool", versions={"redis": "8.1"})}
    other = {"redis-py": Measured(settings="the default pool", versions={"redis": "8.2"})}
    same = [_run("get", subjects=one), _run("tasks", subjects=one)]
    text = page.render(same)
    heads = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert heads == [
        "On what",
        "Budgets",
        "Where millpond loses",
        "What was not measured",
        "`get`",
        "`tasks`",
        "How each was set up",
    ]
    assert text.count("the default pool") == 1
    text = page.render([*same, _run("large", subjects=other)])
    assert "- **redis-py** in `get`, `tasks` (redis 8.1): the default pool." in text
    assert "- **redis-py** in `large` (redis 8.2): the default pool." in text


def test_time_too_short_for_two_digits_is_not_written_as_none() -> None:
    run = _run("near", _result("millpond", p50_ms=0.0006, p99_ms=0.0, p999_ms=0.0123, loads=0))
    (row,) = report.rows(run)
    assert row[4:7] == ["0.0006", "<0.001", "0.01"]
    assert "|--:|--:|--:|--:|--:|--:|--:|" in page.render([run])


def test_of_two_files_with_one_scenario_the_later_is_shown(tmp_path: Path) -> None:
    save([_run("get", _result("millpond", 1.0)), _run("hit")], tmp_path / "a.json")
    save([_run("get", _result("millpond", 2.0))], tmp_path / "b.json")
    runs = page.read([tmp_path / "a.json", tmp_path / "b.json"])
    assert [(run.scenario, len(run.results)) for run in runs] == [("get", 1), ("hit", 0)]
    assert runs[0].results[0].per_second == 2.0


def test_published_scenarios_replace_those_that_were_kept(tmp_path: Path) -> None:
    kept, later = tmp_path / "kept.json", tmp_path / "later.json"
    save([_run("get", _result("millpond", 1.0)), _run("hit", _result("millpond", 2.0))], kept)
    save([_run("near", _result("millpond", 3.0)), _run("get", _result("millpond", 4.0))], later)
    readme.keep([later], kept)
    runs = page.read([kept])
    assert [(run.scenario, run.results[0].per_second) for run in runs] == [
        ("get", 4.0),
        ("hit", 2.0),
        ("near", 3.0),
    ]


def test_quick_run_is_not_published(tmp_path: Path) -> None:
    kept, quick = tmp_path / "kept.json", tmp_path / "quick.json"
    save([_run("get", _result("millpond", 1.0))], kept)
    save([_run("get", _result("millpond", 9.0), quick=True)], quick)
    with pytest.raises(readme.NotPublishable, match="get: of a quick run"):
        readme.keep([quick], kept)
    assert page.read([kept])[0].results[0].per_second == 1.0


def test_page_and_charts_are_written_and_old_charts_removed(tmp_path: Path) -> None:
    target = tmp_path / "docs" / "figures.md"
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    old = tmp_path / "docs" / "figures" / "old.svg"
    old.write_text("<svg/>")
    runs = [
        _run("tasks", _result("millpond", 10.0, tasks=1), _result("millpond", 90.0, tasks=10)),
        _run("arrivals", _result("millpond", setting="7/s", p50_ms=0.1, p99_ms=0.2, p999_ms=0.3)),
        _run("herd", _result("millpond", moment="cold", after_fill_p99_ms=3.0)),
        _run("race", _result("millpond", setting="1% writes", reads=100, stale=0)),
        _run("limit_memory", _result("millpond", setting="1,000 hits", bytes_per_key=6000)),
    ]
    save(runs, tmp_path / "run.json")
    page.write([tmp_path / "run.json"], target)
    assert not old.exists()
    written = {one.stem for one in (tmp_path / "docs" / "figures").iterdir()}
    assert written == {"tasks", "arrivals", "herd", "race", "limit_memory"}
    for name in written:
        assert f"![{name}](figures/{name}.svg)" in target.read_text("utf-8")


def _texts(drawn: str) -> list[str | None]:
    root = ET.fromstring(drawn)
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_lines_are_drawn_on_powers_of_ten_with_names_that_do_not_cover_each_other() -> None:
    series = {"a & b": [(1.0, 20.0), (1000.0, 3_000.0)], "millpond": [(1.0, 20.0), (10.0, 3_100.0)]}
    drawn = charts.lines(series, title="t <1>", x="tasks", y="per second")
    assert drawn == charts.lines(series, title="t <1>", x="tasks", y="per second")
    assert {"t <1>", "a & b", "millpond", "1", "1k", "10k", "tasks"} <= set(_texts(drawn))
    root = ET.fromstring(drawn)
    levels = sorted(
        float(one.attrib["y"])
        for one in root.iter("{http://www.w3.org/2000/svg}text")
        if one.text in series
    )
    assert levels[1] - levels[0] >= 17


def test_names_at_the_foot_of_a_chart_stay_above_the_axis() -> None:
    low = {name: [(1.0, 100.0), (1000.0, 100.0)] for name in ("a", "b", "c")}
    drawn = charts.lines({**low, "d": [(1.0, 90_000.0)]}, title="", x="hits", y="bytes")
    root = ET.fromstring(drawn)
    texts = {
        one.text: float(one.attrib["y"]) for one in root.iter("{http://www.w3.org/2000/svg}text")
    }
    names = sorted(texts[name] for name in low)
    assert names[2] <= texts["10"] - 16
    assert (names[1] - names[0], names[2] - names[1]) == (17.0, 17.0)


def test_dots_show_zero_and_the_figures_themselves() -> None:
    drawn = charts.dots(
        {"1 %": {"recipe": 12.5, "millpond": 0.0}}, title="stale", unit="of 1,000 reads"
    )
    assert {"1 %", "recipe", "12.5", "millpond", "0"} <= set(_texts(drawn))
    assert "of 1,000 reads; the scale is logarithmic, 0 at its left end" in _texts(drawn)


def test_latencies_are_drawn_at_the_busiest_rate_that_nobody_fell_behind() -> None:
    def at(rate: str, p99: float, late: float = 0.0) -> Result:
        return _result("millpond", setting=rate, p50_ms=0.1, p99_ms=p99, p999_ms=900, errors=late)

    run = _run("arrivals", at("1/s", 1.0), at("2/s", 2.0), at("3/s", 2.0, 0.1), at("4/s", 3000.0))
    assert "A cached read, 2/s arriving" in _texts(pictures.charts_of([run])["arrivals"])
    run = _run("arrivals", at("7/s", 3000.0))
    assert "A cached read, 7/s arriving" in _texts(pictures.charts_of([run])["arrivals"])


def test_nothing_measured_is_no_chart() -> None:
    failed = _result("millpond", failure="it broke")
    assert pictures.charts_of([_run("tasks", failed), _run("herd"), _run("limit_memory")]) == {}


# -- subjects and environments ---------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_default_subject_of_a_scenario_is_able_to_do_it(name: str) -> None:
    one = scenario(name)
    for subject in (*one.SUBJECTS, *one.QUICK):
        known = subjects()[subject]
        assert one.NEEDS in known.roles or one.NEEDS in known.absent
    assert set(one.QUICK) <= set(one.SUBJECTS)
    assert words.OURS in one.SUBJECTS


@pytest.mark.parametrize("name", subjects())
def test_every_subject_states_its_settings_and_every_rival_its_pip_command(name: str) -> None:
    one = subjects()[name]
    assert one.settings
    assert one.versions
    assert ("redis" in one.versions) <= ("hiredis" in one.versions)  # nobody parses in Python
    if one.group != "bench":
        assert one.module
        assert one.requires


def test_copies_of_cashews_hear_of_writes() -> None:
    """In redis-py 8's RESP3 no invalidation reaches them; that staleness would be our mistake."""
    from benchmarks.subjects.cashews_ import CashewsClientSideShop

    assert CashewsClientSideShop.setup["protocol"] == 2
    for name in ("cashews", "cashews-client-side"):
        assert "client_side=True (10,000 entries), protocol=2" in subjects()[name].settings


@pytest.mark.parametrize("group", sorted({one.group for one in subjects().values()}))
def test_every_group_of_subjects_has_requirements_without_millpond(group: str) -> None:
    wanted = environments.requirements(group)
    assert any(one.startswith("uvloop") for one in wanted)
    assert not any(one.startswith("millpond") for one in wanted)


def test_rival_that_is_not_installed_is_named_with_its_pip_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environments, "_HOME", tmp_path)
    rival = Subject(
        name="rival",
        summary="",
        settings="",
        roles={"shop": "Shop"},
        module="no_such_module_at_all",
        requires="rival[redis]",
        group="bench-rivals",
    )
    assert environments.find(rival) is None
    reason = environments.why_not(rival, "shop")
    assert reason == "not installed: python -m benchmarks install, or pip install rival[redis]"


def test_environment_counts_only_when_pip_had_finished(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environments, "_HOME", tmp_path)
    site = tmp_path / "bench-redis7" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    here = subjects()["limits"]
    assert environments.find(here) is None or environments.find(here) == (
        environments.Interpreter(sys.executable, None, alone=False)
    )
    (tmp_path / "bench-redis7" / "installed.txt").write_text("limits")
    found = environments.find(here)
    assert found is not None
    assert found.program == str(tmp_path / "bench-redis7" / "bin" / "python")
    assert found.alone


def test_workers_of_rivals_are_not_led_to_millpond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "src")
    alone = environments.Interpreter("python", "site", alone=True)
    assert "PYTHONPATH" not in environments.environment(alone)
    here = environments.Interpreter("python", None, alone=False)
    assert environments.environment(here)["PYTHONPATH"] == "src"


def test_what_a_rivals_worker_imports_needs_no_millpond() -> None:
    """All scenarios and the rivals' adapters, in an interpreter that refuses millpond."""
    import subprocess
    from pathlib import Path

    rivals = sorted(
        {
            path.partition(":")[0]
            for one in subjects().values()
            if one.group != "bench"
            for path in one.roles.values()
        }
    )
    names = ["benchmarks.worker", *(f"benchmarks.scenarios.{name}" for name in NAMES), *rivals]
    program = "\n".join(
        (
            "import sys, importlib",
            "sys.modules['millpond'] = None",
            f"for name in {names!r}: importlib.import_module(name)",
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
