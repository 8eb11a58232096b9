"""The names and the life of the keys that a run leaves in the server while it lasts."""

from __future__ import annotations

__all__ = ["KEY_PREFIX", "KEY_TTL"]

# Every key of every subject begins with this, so that a shared server can be left clean.
KEY_PREFIX = "millpond-bench"
KEY_TTL = 3600  # seconds; what a killed run leaves behind goes by itself
