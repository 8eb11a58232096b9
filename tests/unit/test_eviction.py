"""What is read out of a server's INFO."""

from __future__ import annotations

import pytest

from millpond.core.eviction import evicts


@pytest.mark.parametrize(
    ("info", "policy"),
    [
        (b"# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", ""),
        (b"maxmemory:8000000\r\nmaxmemory_policy:noeviction\r\n", ""),
        (b"maxmemory:8000000\r\nmaxmemory_policy:volatile-lru\r\n", "volatile-lru"),
        ("maxmemory:1\nmaxmemory_policy:allkeys-lfu\n", "allkeys-lfu"),
        (b"used_memory:1\r\n", ""),
        (b"", ""),
        (None, ""),
        ({"used_memory": 5}, ""),
    ],
)
def test_policy_counts_when_there_is_a_limit(info: object, policy: str) -> None:
    assert evicts(info) == policy
