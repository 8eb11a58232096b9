"""Whom a request comes from: an address that its sender cannot choose."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from millpond import ConfigError
from millpond.ext.addresses import client_address


def address(peer: str | None, *forwarded: str, **options: Any) -> str:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "headers": headers, "client": (peer, 1) if peer else None}
    return client_address(**options)(Request(scope))


@pytest.mark.parametrize("forged", ["1.1.1.1", "1.1.1.1, 2.2.2.2", "", "junk"])
def test_forwarded_addresses_are_not_looked_at_unless_hops_are_trusted(forged: str) -> None:
    assert address("9.9.9.9", forged) == "9.9.9.9"


def test_address_is_the_one_that_the_outermost_trusted_proxy_saw() -> None:
    header = "6.6.6.6, 1.1.1.1, 2.2.2.2"
    assert address("9.9.9.9", header, trusted_hops=1) == "2.2.2.2"
    assert address("9.9.9.9", header, trusted_hops=2) == "1.1.1.1"
    assert address("9.9.9.9", "6.6.6.6", "1.1.1.1", trusted_hops=1) == "1.1.1.1"


@pytest.mark.parametrize("header", ["1.1.1.1", "", "1.1.1.1, junk, 2.2.2.2"])
def test_header_that_the_proxies_cannot_have_written_is_not_believed(header: str) -> None:
    assert address("9.9.9.9", header, trusted_hops=2) == "9.9.9.9"
    assert address("9.9.9.9", trusted_hops=2) == "9.9.9.9"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1.2.3.4:567", "1.2.3.4"),
        ("[2001:db8::1]:567", "2001:db8::/64"),
        ("2001:db8:0:0:1:2:3:4", "2001:db8::/64"),
        ('"[2001:db8::1]"', "2001:db8::/64"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_addresses_are_read_as_proxies_write_them(written: str, meant: str) -> None:
    assert address("9.9.9.9", written, trusted_hops=1) == meant


def test_neighbours_of_one_ipv6_network_are_one_client_unless_told_otherwise() -> None:
    assert address("2001:db8::1") == address("2001:db8::ffff")
    assert address("2001:db8::1") != address("2001:db8:0:1::1")
    assert address("2001:db8::1", ipv6_prefix=128) == "2001:db8::1"


def test_connection_without_an_address_has_a_key_all_the_same() -> None:
    assert address(None) == "unknown"
    assert address("testclient") == "testclient"


@pytest.mark.parametrize(
    "options", [{"trusted_hops": -1}, {"trusted_hops": True}, {"ipv6_prefix": 8}]
)
def test_hops_and_prefixes_that_cannot_be_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError):
        client_address(**options)
