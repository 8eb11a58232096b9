"""Benchmarks: every figure in the documentation comes from here, on the reader's own machine.

`python -m benchmarks list` names scenarios and subjects, `python -m benchmarks run get` measures,
`python -m benchmarks demo` shows a thundering herd and a write race. Subjects meet in short
interleaved rounds, each in a fresh process, on one server: trust the ratios, not the absolute
numbers, which belong to one machine on one day.
"""

from __future__ import annotations

__all__: list[str] = []
