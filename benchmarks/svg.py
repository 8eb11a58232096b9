"""The herd as a picture: one strip per subject, time across, one dot per caller.

Written by hand, without a plotting library, and deterministic: the same herds give the same
bytes. A caller's height is its rank within its herd: the first to have the product is the lowest
dot, so a strip reads as "how many had it by then", and the shade left of the dots is all the
waiting there was. Callers that ran the load themselves are red.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Strip", "chart"]

_WIDTH = 1000
_LEFT = 250  # where time begins
_RIGHT = 36  # free, at the other end
_TOP = 104
_STRIP = 150
_GAP = 22
_FOOT = 74

_STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1d2733 }
.title { font-size: 25px; font-weight: 700 }
.note { font-size: 14px; fill: #5d6b7a }
.name { font-size: 17px; font-weight: 700 }
.loads { font-size: 42px; font-weight: 700 }
.tick { font-size: 13px; fill: #5d6b7a; text-anchor: middle }
.last { font-size: 15px; font-weight: 600; text-anchor: end }
.dots { fill: none; stroke-linecap: round }
"""
_WAITED = "#2b7a9b"
_LOADED = "#d1495b"


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """One subject's herd."""

    name: str
    note: str
    finished_ms: Sequence[float]  # when each caller had the product
    loaders: Sequence[int]  # indices of those that ran the load; a caller may appear twice


def chart(strips: Sequence[Strip], *, title: str, note: str) -> str:
    """Draw the strips on one scale.

    Args:
        strips: From top to bottom, at least one, each with at least one caller.
        title: Above all.
        note: Under the title.

    Returns:
        A whole SVG document.
    """
    last = max(max(strip.finished_ms) for strip in strips)
    step = _tick_step(last)
    end = step * math.ceil(last * 1.02 / step)
    bottom = _TOP + len(strips) * (_STRIP + _GAP) - _GAP
    height = bottom + _FOOT
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img">'
        ),
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" rx="12" fill="#ffffff"/>',
        f'<text x="32" y="48" class="title">{escape(title)}</text>',
        f'<text x="32" y="74" class="note">{escape(note)}</text>',
    ]
    for number, strip in enumerate(strips):
        lines += _strip(strip, _TOP + number * (_STRIP + _GAP), step, end)
    lines += _axis(bottom, step, end)
    lines += _legend(bottom + 52)
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _strip(strip: Strip, top: int, step: float, end: float) -> list[str]:
    loads = len(strip.loaders)
    lines = [
        (
            f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_STRIP}" '
            'rx="6" fill="#f3f6f8"/>'
        )
    ]
    lines += [
        f'<path d="M{_x(step * mark, end)} {top}v{_STRIP}" stroke="#dde4ea"/>'
        for mark in range(1, round(end / step))
    ]
    lines += [
        f'<text x="32" y="{top + 30}" class="name">{escape(strip.name)}</text>',
        (
            f'<text x="32" y="{top + 79}" class="loads" '
            f'style="fill: {_WAITED if loads == 1 else _LOADED}">{loads:,}</text>'
        ),
        f'<text x="32" y="{top + 102}" class="note">{"load" if loads == 1 else "loads"}</text>',
        f'<text x="32" y="{top + 130}" class="note">{escape(strip.note)}</text>',
    ]
    return [
        *lines,
        *_callers(strip, top, end),
        (
            f'<text x="{_WIDTH - _RIGHT - 14}" y="{top + _STRIP - 16}" class="last">'
            f"last caller after {max(strip.finished_ms):,.0f} ms</text>"
        ),
    ]


def _callers(strip: Strip, top: int, end: float) -> list[str]:
    ran = set(strip.loaders)
    order = sorted(range(len(strip.finished_ms)), key=lambda caller: strip.finished_ms[caller])
    waited: list[str] = []
    loaded: list[str] = []
    edge: list[str] = []
    for rank, caller in enumerate(order):
        y = top + _STRIP - 8 - (_STRIP - 16) * (rank + 0.5) / len(order)
        point = f"{_x(strip.finished_ms[caller], end)} {y:.1f}"
        if rank % 8 == 0 or rank == len(order) - 1:
            edge.append(point)
        # A line of no length with round ends is a dot, in a tenth of a <circle>'s bytes.
        (loaded if caller in ran else waited).append(f"M{point}h0")
    colour = _LOADED if len(loaded) > len(waited) else _WAITED
    shade = "L".join((f"{_LEFT} {top + _STRIP - 8}", *edge, f"{_LEFT} {top + 8}"))
    return [
        f'<path d="M{shade}z" fill="{colour}" fill-opacity="0.16"/>',
        *_dots(waited, _WAITED, 3),
        # Where all ran the load their dots are a crowd; where a few did, they are to be seen.
        *_dots(loaded, _LOADED, 3 if len(loaded) > 20 else 8),
    ]


def _dots(dots: Sequence[str], colour: str, size: float) -> list[str]:
    if not dots:
        return []
    return [f'<path class="dots" stroke-width="{size}" stroke="{colour}" d="{"".join(dots)}"/>']


def _axis(bottom: int, step: float, end: float) -> list[str]:
    return [
        f'<text x="{_x(step * mark, end)}" y="{bottom + 22}" class="tick">'
        f"{_time(step * mark)}</text>"
        for mark in range(round(end / step) + 1)
    ]


def _legend(y: int) -> list[str]:
    return [
        f'<circle cx="{_LEFT + 6}" cy="{y - 5}" r="4" fill="{_WAITED}"/>',
        f'<text x="{_LEFT + 18}" y="{y}" class="note">a caller has the product</text>',
        f'<circle cx="{_LEFT + 216}" cy="{y - 5}" r="4" fill="{_LOADED}"/>',
        f'<text x="{_LEFT + 228}" y="{y}" class="note">it ran the query itself</text>',
        (
            f'<rect x="{_LEFT + 410}" y="{y - 11}" width="16" height="12" fill="{_WAITED}" '
            'fill-opacity="0.16"/>'
        ),
        f'<text x="{_LEFT + 434}" y="{y}" class="note">all the waiting</text>',
    ]


def _x(milliseconds: float, end: float) -> str:
    return f"{_LEFT + (_WIDTH - _LEFT - _RIGHT) * milliseconds / end:.1f}"


def _tick_step(last: float) -> float:
    """Choose a round step that gives some six to twelve ticks."""
    magnitude = 10.0 ** math.floor(math.log10(max(last, 1.0) / 6))
    for factor in (1, 2, 5):
        if last / (magnitude * factor) <= 12:
            return magnitude * factor
    return magnitude * 10


def _time(milliseconds: float) -> str:
    if milliseconds == 0:
        return "0"
    return f"{milliseconds:g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:g} s"
