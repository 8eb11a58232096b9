"""Freshness over real processes: no read is older than the last write that ended before it began.

The processes share a SQLite file in WAL mode and one Redis. What makes a read stale is in
`history.py`; that the check has teeth is shown by processes whose fill does not compare.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.properties.history import History, Read, Stale, Write, stale_reads
from tests.properties.worker import Plan, connect

if TYPE_CHECKING:
    from tests.support.servers import Server

ROOT = Path(__file__).parents[2]
STALE: dict[str, object] = {
    "ttl": 0.03,
    "stale_while_revalidate": 0.03,
    "stale_if_error": 2.0,
    "stale_retry": 0.01,
    "failures": 0.2,
    "pause": 0.3,  # so that values live to be stale
}
COMMAND = [sys.executable, "-m", "tests.properties.worker"]


def run(server: Server, folder: Path, **options: object) -> list[History]:
    """Let four processes read and write, and collect what each did."""
    database = str(folder / "rows.sqlite")
    rows = connect(database)
    rows.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)")
    rows.executemany("INSERT INTO row VALUES (?, 1)", [(key,) for key in range(5)])
    rows.close()
    plans = [
        msgspec.convert(
            {"url": server.url, "database": database, "seed": seed} | options, type=Plan
        )
        for seed in range(4)
    ]
    with ExitStack() as stack:
        workers: list[subprocess.Popen[bytes]] = []
        for plan in plans:
            command = [*COMMAND, msgspec.json.encode(plan).decode()]
            worker = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            workers.append(stack.enter_context(worker))
            stack.callback(worker.kill)
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(b"go\n")
            worker.stdin.flush()
        ended = [worker.communicate(timeout=30)[0] for worker in workers]
    return [msgspec.json.decode(said, type=History) for said in ended]


# -- real processes ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"seconds": 4.0},
        # Leases run out under loads, and processes take over from each other.
        {"seconds": 3.0, "renew": False, "lease_ttl": 0.1, "load_seconds": 0.2, "pause": 0.3},
        {"seconds": 2.0, "ways": ["through"], "writers": 2},
        {"seconds": 2.0, "ways": ["delete", "writing", "through"], "writers": 2},
        {"seconds": 2.0, "ways": ["delete", "through"], "writers": 2, "refreshes": 0.1},
        # Some keys at once, in any order, among reads of one and refreshes.
        {
            "seconds": 3.0,
            "ways": ["delete", "through"],
            "keys": 5,
            "many": 0.5,
            "refreshes": 0.1,
            "writers": 3,
        },
        # Marks lapse while their writers' processes stand still.
        {"seconds": 2.0, "ways": ["delete", "through"], "write_timeout": 0.1, "stall": 0.3},
        STALE | {"seconds": 3.0, "ways": ["delete", "through"], "refreshes": 0.05},
        STALE | {"seconds": 2.0, "ways": ["delete", "expire"], "stale_after": 0.005},
        # No write touches the key of a row; what was stored is compared with versions.
        {"seconds": 2.5, "ways": ["tags"], "tagged": "call"},
        {"seconds": 2.5, "ways": ["tags"], "tagged": "loader"},
        {
            "seconds": 2.5,
            "ways": ["tags", "tags", "clear", "through", "delete"],
            "tagged": "call",
            "keys": 4,
            "many": 0.3,
            "refreshes": 0.1,
            "writers": 2,
        },
    ],
    ids=[
        *("short loads", "lost leases", "write-through", "all ways", "refreshes", "many"),
        *("lapsed marks", "stale on purpose", "expired"),
        *("tags", "tags that only loaders know", "all ways and tags"),
    ],
)
def test_no_read_in_four_processes_is_older_than_the_last_finished_write(
    server: Server, tmp_path: Path, options: dict[str, object]
) -> None:
    histories = run(server, tmp_path, **options)
    assert stale_reads(histories) == []
    # That something happened: writes were made, values were shared, and loads were revoked.
    writes = sum(len(history.writes) for history in histories)
    reads = sum(len(history.reads) for history in histories)
    loads = sum(history.loads for history in histories)
    assert writes > 10
    assert reads > loads > 0
    assert all(history.unconfirmed == 0 for history in histories)
    assert len({read.version for history in histories for read in history.reads}) > 5
    if "stale_if_error" in options:
        assert sum(history.stale for history in histories) > 0


def caught(server: Server, tmp_path: Path, **options: object) -> bool:
    """Tell whether what was broken on purpose shows, in a few histories at most.

    How often it shows in one depends on how the machine deals out its time.
    """
    found = 0
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        server.execute("FLUSHALL")
        found += len(stale_reads(run(server, folder, **options)))
        if found > 10:
            return True
    return False


def test_fill_that_does_not_compare_is_caught(server: Server, tmp_path: Path) -> None:
    assert caught(server, tmp_path, seconds=1.0, blind=True)


def test_fill_that_does_not_compare_is_caught_where_many_are_loaded(
    server: Server, tmp_path: Path
) -> None:
    assert caught(server, tmp_path, seconds=1.0, blind=True, many=1.0)


def test_refresh_that_stores_over_any_value_is_caught(server: Server, tmp_path: Path) -> None:
    options = STALE | {"stale_while_revalidate": 2.0, "load_seconds": 0.1, "keys": 1}
    assert caught(server, tmp_path, seconds=2.0, blind_refresh=True, **options)


def test_writer_who_stores_beside_another_is_caught(server: Server, tmp_path: Path) -> None:
    options = {"ways": ["through"], "writers": 2, "keys": 1, "pause": 0.005}
    assert caught(server, tmp_path, seconds=1.5, blind_leave=True, **options)


@pytest.mark.parametrize("tagged", ["call", "loader"])
def test_version_of_a_tag_that_is_captured_after_the_load_is_caught(
    server: Server, tmp_path: Path, tagged: str
) -> None:
    options = {"ways": ["tags"], "tagged": tagged, "late_capture": True}
    assert caught(server, tmp_path, seconds=1.0, **options)


# -- the rule itself ---------------------------------------------------------------------------


def history(*operations: Read | Write) -> list[History]:
    """Spread operations over processes, which must not matter."""
    return [
        History(
            reads=[operation] if isinstance(operation, Read) else [],
            writes=[operation] if isinstance(operation, Write) else [],
        )
        for operation in operations
    ]


def test_read_that_began_after_a_write_had_ended_must_give_it() -> None:
    write, read = Write(1, 2, began=10, ended=20), Read(1, 1, began=21, ended=30)
    assert stale_reads(history(write, read)) == [Stale(read, 2)]
    assert stale_reads(history(read, write)) == [Stale(read, 2)]
    assert stale_reads(history(write, Read(1, 2, began=21, ended=30))) == []
    assert stale_reads(history(write, Read(1, 3, began=21, ended=30))) == []


@pytest.mark.parametrize("began", [5, 15, 20])
def test_read_that_a_write_overlaps_may_give_either(began: int) -> None:
    write = Write(1, 2, began=10, ended=20)
    for version in (1, 2):
        assert stale_reads(history(write, Read(1, version, began=began, ended=99))) == []


def test_newest_of_the_writes_that_had_ended_counts_and_not_the_last_to_end() -> None:
    newer, slower = Write(1, 3, began=10, ended=20), Write(1, 2, began=5, ended=30)
    read = Read(1, 2, began=40, ended=50)
    assert stale_reads(history(newer, slower, read)) == [Stale(read, 3)]
    between = Read(1, 2, began=25, ended=26)
    assert stale_reads(history(newer, slower, between)) == [Stale(between, 3)]


def test_keys_have_nothing_to_do_with_each_other() -> None:
    assert stale_reads(history(Write(1, 9, 1, 2), Read(2, 1, 3, 4))) == []
    assert stale_reads([]) == []
