"""The benchmarks' command line, run as a reader of the documentation would run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis

from benchmarks import parts
from benchmarks.ledger import Asked, Ledger
from benchmarks.results import Run, save
from benchmarks.scenarios import NAMES
from benchmarks.subjects import subjects
from benchmarks.throughput import Sample
from tests.support.abacus import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path(__file__).resolve().parents[2]
_COMMAND = (sys.executable, "-m", "benchmarks")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_list_names_every_scenario_and_every_subject() -> None:
    done = _run("list")
    assert done.returncode == 0, done.stderr
    firsts = {line.split()[0] for line in done.stdout.splitlines() if line}
    assert set(NAMES) | set(subjects()) <= firsts


def test_unknown_scenario_is_answered_with_the_known_ones() -> None:
    done = _run("run", "gett")
    assert done.returncode == 2
    assert "unknown scenario 'gett'; known: get, tasks, large, hit," in done.stderr


def test_unknown_subject_is_answered_with_the_known_ones() -> None:
    done = _run("run", "get", "--subjects", "millpond,redispy")
    assert done.returncode == 2
    known = "bare, bare-dependency, floor, millpond,"
    assert f"unknown subject 'redispy'; known: {known}" in done.stderr


def test_subject_that_cannot_do_the_scenario_is_answered_with_those_that_can() -> None:
    done = _run("run", "herd", "--subjects", "coredis")
    assert done.returncode == 2
    assert "none of these subjects can do 'herd'; able: bare, floor, millpond," in done.stderr


def test_run_without_a_scenario_is_answered_with_the_known_ones() -> None:
    done = _run("run")
    assert done.returncode == 2
    assert "name a scenario, or all; known: get," in done.stderr


def test_publishing_takes_a_whole_run() -> None:
    done = _run("run", "all", "--publish", "--quick")
    assert done.returncode == 2
    assert "--publish is for `run all` as it is" in done.stderr


@pytest.mark.parametrize("content", [None, "{}", "[1", '{"runs": 7}'])
def test_file_that_cannot_be_resumed_is_answered_with_one_line(
    content: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    if content is not None:
        file.write_text(content)
    done = _run("run", "--resume", str(file))
    assert done.returncode == 2
    assert done.stdout == ""
    assert str(file) in done.stderr.splitlines()[-1]


def test_report_of_two_files_goes_where_it_is_told(tmp_path: Path) -> None:
    figures = [Run(scenario=name, environment=ENVIRONMENT, results=[]) for name in ("get", "hit")]
    for run in figures:
        save([run], tmp_path / f"{run.scenario}.json")
    target = tmp_path / "mine" / "page.md"
    files = [str(tmp_path / "get.json"), str(tmp_path / "hit.json")]
    done = _run("report", *files, "--page", str(target))
    assert (done.returncode, done.stdout) == (0, f"{target}\n"), done.stderr
    heads = [line for line in target.read_text().splitlines() if line.startswith("## `")]
    assert heads == ["## `get`", "## `hit`"]


def test_publishing_a_quick_run_stops_with_one_line(tmp_path: Path) -> None:
    run = Run(scenario="get", environment=ENVIRONMENT, results=[], quick=True)
    save([run], tmp_path / "quick.json")
    done = _run("publish", str(tmp_path / "quick.json"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: get: of a quick run, which is for looking;")


def test_help_names_every_command_in_words() -> None:
    done = _run("--help")
    assert "Measure millpond beside the libraries it competes with" in done.stdout
    commands = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ")}
    assert {"list", "install", "run", "report", "publish", "readme", "parts", "demo"} <= commands


def test_report_of_a_file_that_is_no_run_stops_with_one_line(tmp_path: Path) -> None:
    done = _run("report", str(tmp_path / "nothing.json"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: cannot read ")


def test_unreachable_server_stops_with_one_line_and_without_the_password() -> None:
    done = _run("run", "get", "--url", "redis://:sesame@127.0.0.1:1")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: cannot reach a server at redis://127.0.0.1:1: ")


@pytest.mark.parametrize("option", ["--seconds=0", "--rounds=0", "--tasks=4,x"])
def test_figures_that_make_no_sense_are_refused(option: str) -> None:
    done = _run("run", "get", option)
    assert done.returncode == 2
    assert option.split("=", maxsplit=1)[0] in done.stderr


def test_run_reports_every_subject_in_a_table_and_as_json(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "get.json"
    done = _run(
        *("run", "get", "--seconds", "0.2", "--rounds", "1", "--tasks", "1,8"),
        *("--subjects", "floor,redis-py", "--json", str(file)),
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_bytes())
    assert "samples" not in document
    (run,) = document["runs"]
    assert run["scenario"] == "get"
    assert "one connection" in run["subjects"]["floor"]["settings"]
    assert set(run["subjects"]["redis-py"]["versions"]) == {"redis", "hiredis"}
    environment = run["environment"]
    assert environment["python"].endswith(sys.version.split()[0])
    assert set(environment["packages"]) >= {"millpond", "redis", "hiredis"}
    assert environment["server"]["version"]
    assert {"machine", "cpu", "cores", "commit"} <= environment.keys()
    results = cast("list[dict[str, Any]]", run["results"])
    assert [(one["subject"], one["tasks"]) for one in results] == [
        ("floor", 1),
        ("redis-py", 1),
        ("floor", 8),
        ("redis-py", 8),
    ]
    for one in results:
        assert one["per_second"] > 0
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert "stale" not in one
        assert "loads" not in one
        assert f"{one['per_second']:,.0f}" in done.stdout


@pytest.mark.parametrize("whom", [os.kill, os.killpg], ids=["the run alone", "as a terminal does"])
def test_interrupted_run_leaves_no_process_and_no_key_behind_and_goes_on(
    url: str, whom: Callable[[int, int], None], tmp_path: Path
) -> None:
    """Workers get the signal too, or they do not, and the run alone has to end them."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    file = tmp_path / "run.json"
    command = (*_COMMAND, "run", "get", "--subjects", "floor", "--tasks", "1,2", "--rounds", "1")
    running = subprocess.Popen(
        [*command, "--seconds", "0.5", "--json", str(file), "--url", url],
        cwd=_ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        # The first setting's sample is there, and the second's worker at work.
        while not (file.exists() and _worker_of(running.pid)):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline, "no worker was started"
            time.sleep(0.005)
        children = _children(running.pid)
        whom(running.pid, signal.SIGINT)
        _, complaint = running.communicate(timeout=20)
    finally:
        running.kill()
    assert running.returncode == 130
    assert complaint.splitlines()[-1] == "interrupted"
    assert f"to go on: python -m benchmarks run --resume {file}" in complaint
    left = [f"{pid} {name}" for pid, name in children.items() if _command_line(pid) == name]
    assert left == []
    assert list(scratch.iterdir()) == []
    keys = cast("list[bytes]", redis.Redis.from_url(url).keys("*millpond-bench*"))  # pyright: ignore[reportUnknownMemberType]
    assert keys == []
    kept = json.loads(file.read_bytes())
    (key,) = kept["samples"]
    assert key == "get/1 tasks/floor/0"

    done = _run("run", "--resume", str(file), "--url", url)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(file.read_bytes())["runs"]
    first, second = run["results"]
    assert (first["tasks"], second["tasks"]) == (1, 2)
    assert first["per_second"] == round(kept["samples"][key]["per_second"])


def test_private_server_goes_with_an_interrupted_run(tmp_path: Path) -> None:
    command = (*_COMMAND, "run", "get", "--subjects", "floor", "--tasks", "1", "--seconds", "50")
    running = subprocess.Popen(
        [*command, "--json", str(tmp_path / "run.json")],
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        while not _worker_of(running.pid):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline, "no worker was started"
            time.sleep(0.005)
        children = _children(running.pid)
        running.send_signal(signal.SIGTERM)
        _, complaint = running.communicate(timeout=20)
    finally:
        running.kill()
    assert running.returncode == 130
    assert complaint.splitlines()[-1] == "interrupted"
    assert any("server" in name for name in children.values())
    left = [f"{pid} {name}" for pid, name in children.items() if _command_line(pid) == name]
    assert left == []


def test_parts_leave_no_key_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_LOOPS", 200)
    monkeypatch.setattr(parts, "_REPEATS", 1)
    costs = {(group, part): cost for group, part, cost in parts.measure(url).parts}
    assert costs["a decision", "the script, by the server's own count"] > 0
    assert {group for group, _ in costs} >= {"the floor", "`client.call`", "a hit", "a decision"}
    assert redis.Redis.from_url(url).keys("*") == []  # pyright: ignore[reportUnknownMemberType]


def test_samples_that_are_there_are_not_taken_again(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    ledger = Ledger(file, Asked(scenarios=("get", "hit")))
    ledger.put("get/1 tasks/floor/0", Sample(per_second=7.0))
    ledger.put("hit/1 tasks/floor/0", Sample(per_second=8.0))
    again = Ledger.load(file)
    assert again.asked == Asked(scenarios=("get", "hit"))
    assert again.get("get/1 tasks/floor/0", Sample) == Sample(per_second=7.0)
    assert again.get("get/1 tasks/floor/1", Sample) is None
    again.finish(Run(scenario="get", environment={}, results=[]))
    assert [run.scenario for run in Ledger.load(file).runs] == ["get"]
    assert Ledger.load(file).get("get/1 tasks/floor/0", Sample) is None
    assert Ledger.load(file).get("hit/1 tasks/floor/0", Sample) is not None


def _worker_of(parent: int) -> bool:
    return any("benchmarks.worker" in name for name in _children(parent).values())


def _children(parent: int) -> dict[int, str]:
    """Map the ids of a process's living children to their command lines."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    if not listed.exists():
        pytest.skip("this kernel does not list a process's children")
    return {int(pid): _command_line(int(pid)) for pid in listed.read_text().split()}


def _command_line(pid: int) -> str:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "gone"
