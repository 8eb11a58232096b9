"""The generated part of docs/explanation/peers.md: tables of verdicts, and the evidence for each.

A reader sees three things in turn: which promise each library keeps; what was seen where one did
not; and, for every case, what it does to a library and how it decides.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from tests.peers.cases import CASES
from tests.peers.subjects import KINDS, SUBJECTS

if TYPE_CHECKING:
    from tests.peers.runner import Finding
    from tests.peers.subjects import Kind, Subject

__all__ = ["PAGE", "render", "update"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "peers.md"
_BEGIN = "<!-- peers:begin -->\n"
_END = "<!-- peers:end -->"
_TITLES: dict[Kind, str] = {
    "cache": "Caches",
    "response": "Whole responses",
    "near": "Copies in the process",
    "lock": "Locks",
    "limit": "Rate limits",
}
_CELLS = {"kept": "kept", "broken": "**broken**", "not applicable": "n/a", "failed": "?"}


def promise(case: str) -> str:
    """Return the first sentence of a case: what it is about."""
    return inspect.cleandoc(CASES[case].__doc__ or "").splitlines()[0].rstrip(".")


def render(where: dict[str, str], findings: list[Finding]) -> str:
    """Write everything between the markers."""
    found = {(one.case, one.subject): one for one in findings}
    lines = [
        f"Run on {where['day']}, {where['python']}, {where['machine']}, {where['server']}.",
        "",
    ]
    for kind in KINDS:
        lines += _kind(kind, found)
    caught = {one.case for one in findings if one.outcome == "broken"}
    unbroken = [
        f"[{_escaped(promise(case))}](#{_anchor(case)})" for case in CASES if case not in caught
    ]
    if unbroken:
        lines += ["## Broken by none", "", "These cases have caught nobody yet:", ""]
        lines += [f"- {one}" for one in unbroken]
    return "\n".join(lines)


def update(where: dict[str, str], findings: list[Finding], page: Path = PAGE) -> bool:
    """Put it into the page; False: it was there already."""
    before = page.read_text("utf-8")
    head, rest = before.split(_BEGIN, 1)
    tail = rest.split(_END, 1)[1]
    after = f"{head}{_BEGIN}{render(where, findings)}{_END}{tail}"
    page.write_text(after, "utf-8")
    return after != before


def _kind(kind: Kind, found: dict[tuple[str, str], Finding]) -> list[str]:
    subjects = [one for one in SUBJECTS.values() if one.kind == kind]
    subjects = [one for one in subjects if any((case, one.name) in found for case in CASES)]
    cases = [name for name, case in CASES.items() if kind == case.KIND]
    lines = [f"## {_TITLES[kind]}", ""]
    lines.append("| promise | " + " | ".join(one.label for one in subjects) + " |")
    lines.append("|---|" + ":-:|" * len(subjects))
    for case in cases:
        cells = [_cell(found.get((case, one.name))) for one in subjects]
        lines.append(f"| [{_escaped(promise(case))}](#{_anchor(case)}) | {' | '.join(cells)} |")
    lines += ["", "How each was set up:", ""]
    lines += [_setting(one, found) for one in subjects]
    lines += ["", f"### {_TITLES[kind]}: what was done, and what was seen", ""]
    for case in cases:
        lines += _case(case, subjects, found)
    return lines


def _cell(finding: Finding | None) -> str:
    return "" if finding is None else _CELLS[finding.outcome]


def _setting(subject: Subject, found: dict[tuple[str, str], Finding]) -> str:
    versions = next(
        one.versions for (_, name), one in found.items() if name == subject.name and one.versions
    )
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"- **{subject.label}** ({said}): {subject.settings}."


def _case(case: str, subjects: list[Subject], found: dict[tuple[str, str], Finding]) -> list[str]:
    _, _, how = inspect.cleandoc(CASES[case].__doc__ or "").partition("\n\n")
    lines = [f"({_anchor(case)})=", "", f"#### {_escaped(promise(case))}", "", how, ""]
    for subject in subjects:
        finding = found.get((case, subject.name))
        if finding is not None:
            told = _escaped(finding.evidence)
            lines.append(f"- {subject.label}: {_word(finding)}, {told}.")
    return [*lines, ""]


def _word(finding: Finding) -> str:
    return f"**{finding.outcome}**" if finding.outcome == "broken" else finding.outcome


def _anchor(case: str) -> str:
    return f"peers-{case.replace('_', '-')}"


def _escaped(text: str) -> str:
    """Keep Markdown from reading what a library said."""
    for mark in "\\`*_[]<>{}":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("\n", " ").rstrip(".")
