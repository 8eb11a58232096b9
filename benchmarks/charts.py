"""Charts of figures as SVG, by hand and deterministic: lines on two logarithmic axes, and bars.

Logarithmic because subjects differ by factors; a bar's length would lie then, so bars are dots on
a scale, with the figure beside.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["dots", "lines"]

_WIDTH = 860
_LEFT = 90
_RIGHT = 190  # for the names at the lines' ends
_TOP = 84
_HEIGHT = 330
_ROW = 24
_NAME = 17  # from one line of text to the next
_OURS = "millpond"
_COLOURS = ("#d1495b", "#66737f", "#c98a2b", "#7a5195", "#2f8f5b", "#a05a2c", "#4b5fc0", "#999933")
_OUR_COLOUR = "#2b7a9b"
_STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1d2733 }
.title { font-size: 19px; font-weight: 700 }
.note, .tick { font-size: 13px; fill: #5d6b7a }
.name { font-size: 13px }
.ours { font-size: 13px; font-weight: 700 }
"""


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x: str, y: str
) -> str:
    """Draw a line for each subject over two logarithmic axes.

    Args:
        series: Points, all coordinates above zero; at least one subject with one point.
        title: Above all.
        x: What runs from left to right.
        y: What runs from below to above.

    Returns:
        A whole SVG document.
    """
    across = _Scale([one for points in series.values() for one, _ in points])
    upward = _Scale([one for points in series.values() for _, one in points])
    width, bottom = _WIDTH - _LEFT - _RIGHT, _TOP + _HEIGHT
    drawn: list[str] = []
    for mark in upward.marks:
        level = bottom - _HEIGHT * upward.at(mark)
        drawn += [
            f'<path d="M{_LEFT} {level:.1f}h{width}" stroke="#dde4ea"/>',
            _tick(_LEFT - 10, level + 4, mark, "end"),
        ]
    for mark in across.marks:
        place = _LEFT + width * across.at(mark)
        drawn += [
            f'<path d="M{place:.1f} {_TOP}v{_HEIGHT}" stroke="#eef2f5"/>',
            _tick(place, bottom + 20, mark, "middle"),
        ]
    ends: dict[str, float] = {}
    for subject, points in series.items():
        ordered = sorted(points)
        path = "L".join(
            f"{_LEFT + width * across.at(one):.1f} {bottom - _HEIGHT * upward.at(value):.1f}"
            for one, value in ordered
        )
        colour = _colour(subject, series)
        drawn.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-linejoin="round" '
            f'stroke-width="{3.5 if subject == _OURS else 2}"/>'
        )
        drawn += [
            f'<circle cx="{_LEFT + width * across.at(one):.1f}" '
            f'cy="{bottom - _HEIGHT * upward.at(value):.1f}" r="3.5" fill="{colour}"/>'
            for one, value in ordered
        ]
        ends[subject] = bottom - _HEIGHT * upward.at(ordered[-1][1])
    for subject, level in _apart(ends, bottom).items():
        drawn.append(_named(subject, series, _LEFT + width + 12, level + 4, "start"))
    drawn.append(
        f'<text x="{_LEFT + width / 2:.0f}" y="{bottom + 44}" class="note" text-anchor="middle">'
        f"{escape(x)}</text>"
    )
    return _document(title, f"{y}; both axes are logarithmic", bottom + 60, drawn)


def dots(groups: Mapping[str, Mapping[str, float]], *, title: str, unit: str) -> str:
    """Draw a dot for each subject, in groups from above to below, on one logarithmic scale.

    Args:
        groups: Figures, at least one; zero is drawn at the very left.
        title: Above all.
        unit: Of the figures.

    Returns:
        A whole SVG document.
    """
    left, right = 190, 110
    width = _WIDTH - left - right
    scale = _Scale([one for group in groups.values() for one in group.values() if one > 0])
    everyone = dict.fromkeys(subject for group in groups.values() for subject in group)
    drawn: list[str] = []
    level = _TOP
    for name, group in groups.items():
        drawn.append(f'<text x="32" y="{level + 4}" class="ours">{escape(name)}</text>')
        for subject, value in group.items():
            level += _ROW
            at = left + width * (scale.at(value) if value > 0 else 0.0)
            drawn += [
                f'<path d="M{left} {level}h{width}" stroke="#eef2f5"/>',
                _named(subject, everyone, left - 12, level + 4, "end"),
                f'<circle cx="{at:.1f}" cy="{level}" r="6" fill="{_colour(subject, everyone)}"/>',
                f'<text x="{at + 12:.1f}" y="{level + 4}" class="tick">{_exact(value)}</text>',
            ]
        level += _ROW + 8
    for mark in scale.marks:
        place = left + width * scale.at(mark)
        drawn.append(_tick(place, level + 4, mark, "middle"))
    zero = ", 0 at its left end" if any(0 in group.values() for group in groups.values()) else ""
    return _document(title, f"{unit}; the scale is logarithmic{zero}", level + 24, drawn)


class _Scale:
    """A logarithmic axis with a mark at every power of ten."""

    def __init__(self, values: Sequence[float]) -> None:
        low = math.floor(math.log10(min(values, default=1.0)))
        high = max(math.ceil(math.log10(max(values, default=1.0))), low + 1)
        self._low, self._high = low, high
        self.marks = [10.0**power for power in range(low, high + 1)]

    def at(self, value: float) -> float:
        return (math.log10(value) - self._low) / (self._high - self._low)


def _apart(levels: Mapping[str, float], bottom: float) -> dict[str, float]:
    """Move names that would cover each other, or the figures below the axis."""
    moved: dict[str, float] = {}
    last = -math.inf
    for subject, level in sorted(levels.items(), key=lambda one: one[1]):
        last = max(level, last + _NAME)
        moved[subject] = last
    highest = bottom
    for subject in reversed(moved):
        moved[subject] = min(moved[subject], highest)
        highest = moved[subject] - _NAME
    return moved


def _colour(subject: str, everyone: Mapping[str, object]) -> str:
    if subject == _OURS:
        return _OUR_COLOUR
    rivals = [one for one in everyone if one != _OURS]
    return _COLOURS[rivals.index(subject) % len(_COLOURS)]


def _named(subject: str, everyone: Mapping[str, object], x: float, y: float, anchor: str) -> str:
    style = "ours" if subject == _OURS else "name"
    return (
        f'<text x="{x:.0f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}" '
        f'style="fill: {_colour(subject, everyone)}">{escape(subject)}</text>'
    )


def _tick(x: float, y: float, mark: float, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="tick" text-anchor="{anchor}">{_short(mark)}</text>'
    )


def _short(value: float) -> str:
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


def _exact(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _document(title: str, note: str, height: float, drawn: Sequence[str]) -> str:
    head = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
            f'width="{_WIDTH}" height="{height:.0f}" role="img">'
        ),
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height:.0f}" rx="12" fill="#ffffff"/>',
        f'<text x="32" y="38" class="title">{escape(title)}</text>',
        f'<text x="32" y="60" class="note">{escape(note)}</text>',
    ]
    return "\n".join((*head, *drawn, "</svg>")) + "\n"
