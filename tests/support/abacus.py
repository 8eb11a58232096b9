"""A machine that no benchmark ran on, for figures that no benchmark measured."""

from __future__ import annotations

from typing import Any

__all__ = ["ENVIRONMENT"]

ENVIRONMENT: dict[str, Any] = {
    "cpu": "abacus",
    "cores": 2,
    "memory_mib": 2048,
    "python": "CPython 3.11",
    "time": "2026-01-02T03:04:05+00:00",
    "commit": "abcdef0123456789",
    "packages": {"redis": "8", "hiredis": "3", "msgspec": "0", "uvloop": "0"},
    "server": {"name": "valkey", "version": "9", "transport": "tcp"},
}
