"""Pages that name tests and features name what is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import msgspec
import pytest

import millpond

ROOT = Path(__file__).parents[2]
EXPLANATION = ROOT / "docs" / "explanation"


def quoted(page: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", (EXPLANATION / page).read_text()))


def test_every_test_that_the_page_of_failures_names_is_there() -> None:
    named = {name for name in quoted("failures.md") if name.startswith("test_")}
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 25
    assert named - there == set()


def test_every_name_on_the_page_of_features_is_public() -> None:
    named = [name for name in quoted("features.md") if re.match(r"[A-Z]\w+(\.\w+)?$", name)]
    known = {"SCAN", "KEYS", "ETag"}
    for name in sorted(set(named) - known):
        owner, _, attribute = name.partition(".")
        assert hasattr(millpond, owner), name
        thing = getattr(millpond, owner)
        if attribute and inspect.isclass(thing) and issubclass(thing, msgspec.Struct):
            assert attribute in thing.__struct_fields__, name
        elif attribute:
            assert hasattr(thing, attribute), name
    assert len(named) > 40


@pytest.mark.parametrize("scheme", ["redis+cluster", "redis+sentinel"])
def test_what_is_called_missing_is_refused(scheme: str) -> None:
    with pytest.raises(millpond.ConfigError):
        millpond.Client.from_url(f"{scheme}://localhost")
