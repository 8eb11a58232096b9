"""The reference pages say what the code says: fields, defaults, bytes, statuses."""

from __future__ import annotations

import inspect
import re
import runpy
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import millpond
from millpond import CachePolicy, CacheStatistics, Client, ClientStatistics, ConfigError, errors
from millpond.core.codec import Codec
from millpond.core.entry import HEAD_SIZE, LARGEST_PAYLOAD, LEASE_SIZE, pack_lease, pack_value
from millpond.core.keys import Keyspace
from millpond.events import Event

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def rows(page: str, heading: str = "") -> list[list[str]]:
    """Return the cells of the first table behind a heading, without its head."""
    text = (REFERENCE / page).read_text().split(f"\n{heading}\n" if heading else "\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    lines = table[0].strip().splitlines()[2:]
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        for line in lines
    ]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_policy_option_is_listed_in_order() -> None:
    assert [names(row[0])[0] for row in rows("policy.md")] == list(CachePolicy.__struct_fields__)


def test_policy_defaults_are_those_of_the_code() -> None:
    defaults = {names(row[0])[0]: row[1] for row in rows("policy.md")}
    policy = CachePolicy()
    for option in ("load_timeout", "wait_timeout", "lease_ttl"):
        assert defaults[option].startswith(f"{getattr(policy, option):g} s")
    for option in ("jitter", "error_ttl"):
        assert defaults[option] == f"{getattr(policy, option):g}"
    assert policy.none_ttl is None
    assert defaults["on_unavailable"] == f'`"{policy.on_unavailable}"`'


def test_nothing_is_compressed_by_default() -> None:
    (row,) = [row for row in rows("policy.md") if names(row[0]) == ["compress_over"]]
    assert row[1] == str(CachePolicy().compress_over)


def kept_as(payload: bytes) -> str:
    """Name what a MessagePack value is, by its first byte."""
    first = payload[0]
    ranges = [
        (0x7F, "integer"),
        (0x8F, "map"),
        (0x9F, "array"),
        (0xBF, "string"),
        (0xC0, "nil"),
        (0xC3, "boolean"),
        (0xC6, "binary"),
        (0xC9, "timestamp"),
        (0xCB, "float"),
        (0xD3, "integer"),
        (0xD8, "timestamp"),
        (0xDB, "string"),
        (0xDD, "array"),
        (0xDF, "map"),
    ]
    return next(name for last, name in ranges if first <= last)


def test_every_type_is_kept_and_shared_as_the_page_says() -> None:
    page = REFERENCE.parent / "snippets" / "value_types.py"
    snippet = runpy.run_path(str(page), run_name="value_types")
    values = snippet.pop("VALUES")
    listed: list[str] = []
    for cell, kept, shared, _ in rows("types.md"):
        (text,) = names(cell)
        listed.append(text)
        codec = Codec(eval(text, vars(typing) | snippet))
        payload = codec.encode(values[text])
        assert codec.decode(payload) == values[text], text
        assert kept == kept_as(payload), text
        assert shared == ("yes" if codec.shareable else "no"), text
    assert listed == list(values)


def test_largest_value_is_the_one_on_the_page() -> None:
    assert f"{LARGEST_PAYLOAD:,} bytes" in (REFERENCE / "types.md").read_text()


def test_shortest_lease_is_the_one_listed() -> None:
    CachePolicy(lease_ttl=0.1)
    with pytest.raises(ConfigError, match="lease_ttl"):
        CachePolicy(lease_ttl=0.09)


def test_every_event_is_listed_with_its_fields() -> None:
    listed = {names(row[0])[0]: names(row[1]) for row in rows("events.md", "## Events")}
    events = {
        name: getattr(millpond, name)
        for name in millpond.__all__
        if isinstance(getattr(millpond, name), type)
        and issubclass(getattr(millpond, name), Event)
        and name != "Event"
    }
    assert listed == {name: list(event.__struct_fields__) for name, event in events.items()}


def test_every_statistic_is_listed() -> None:
    of_cache = [names(row[0])[0] for row in rows("events.md", "## Statistics of a cache")]
    of_client = [names(row[0])[0] for row in rows("events.md", "## Statistics of a client")]
    assert set(of_cache) == {*CacheStatistics.__struct_fields__, "hit_ratio"}
    assert of_client == list(ClientStatistics.__struct_fields__)


def test_every_exception_is_listed_with_its_status() -> None:
    listed = {names(row[0])[0]: int(row[2]) for row in rows("exceptions.md")}
    assert listed == {name: getattr(errors, name).status_hint for name in errors.__all__}


def test_builtin_bases_of_exceptions_are_listed() -> None:
    for row in rows("exceptions.md"):
        for base in names(row[1]):
            exception = getattr(errors, names(row[0])[0])
            assert base in {ancestor.__name__ for ancestor in exception.__mro__}


def test_escaped_characters_are_those_listed() -> None:
    written = {
        (" " if row[0] == "space" else names(row[0])[0]): names(row[1])[0]
        for row in rows("keys.md", "## Escaping")
        if not row[0].startswith("control")
    }
    written |= {chr(code): f"%{code:02X}" for code in [*range(32), 127]}
    keyspace = Keyspace("", "n")
    for character in map(chr, range(256)):
        assert keyspace(f"x{character}x") == f"n:x{written.get(character, character)}x"


def test_entry_fields_are_at_the_bytes_listed() -> None:
    entry = pack_value(
        b"generate",
        0x0506,
        0x0708090A,
        b"payload",
        created_ms=0x131415161718,
        era=b"an era",
        load_ms=1.5,
    )
    expected = {
        "magic": b"\x89M",
        "header version": b"\x01",
        "kind": b"v",
        "flags": b"\0",
        "version": b"\x05\x06",
        "fingerprint": b"\x07\x08\x09\x0a",
        "era": b"an era",
        "generation": b"generate",
        "created": bytes.fromhex("131415161718"),
        "how long": bytes.fromhex("3e00"),
        "sections": b"payload",
    }
    found: list[str] = []
    for place, field in rows("entry.md"):
        first, dash, last = place.partition("\N{EN DASH}")
        end = int(last) + 1 if last else len(entry) if dash else int(first) + 1
        name = next(name for name in expected if field.startswith(name))
        assert entry[int(first) : end] == expected[name], field
        found.append(name)
    assert found == list(expected)


def test_sizes_of_header_and_lease_are_those_on_the_pages() -> None:
    assert (LEASE_SIZE, HEAD_SIZE) == (25, 33)
    assert len(pack_lease(b"generate", 0, 0)) == 25


def test_arguments_of_from_url_are_listed_with_their_defaults() -> None:
    listed = {
        names(row[0])[0]: row[1] for row in rows("url.md", "## Arguments of `Client.from_url`")
    }
    parameters = dict(inspect.signature(Client.from_url).parameters)
    parameters.pop("url")
    assert list(listed) == list(parameters)
    assert listed["command_timeout"] == f"{parameters['command_timeout'].default:g} s"
    assert listed["connect_timeout"] == f"{parameters['connect_timeout'].default:g} s"
    assert listed["max_inflight"] == f"{parameters['max_inflight'].default:,}"


class Asked(Mapping[str, str]):
    """An environment that notes what it is asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getitem__(self, name: str) -> str:
        self.names.append(name)
        if name == "REDIS_URL":
            return "memory://"
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_environment_variables_are_those_listed() -> None:
    asked = Asked()
    Client.from_env(environ=asked)
    listed = [name for row in rows("url.md", "## From the environment") for name in names(row[0])]
    assert set(listed) == set(asked.names)
