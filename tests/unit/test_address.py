"""URLs: what they mean, what is refused, and that a password never shows."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Client
from millpond.core.address import Address, parse
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", Address()),
        ("redis://localhost", Address()),
        ("redis://example.com:6380", Address(host="example.com", port=6380)),
        ("redis://[::1]:6380/2", Address(host="::1", port=6380, db=2)),
        ("redis://h/3", Address(host="h", db=3)),
        ("redis://h?db=4", Address(host="h", db=4)),
        ("redis://:geheim@h", Address(host="h", password="geheim")),
        ("redis://ada:p%40s%2Fs@h/1", Address(host="h", username="ada", password="p@s/s", db=1)),
        ("unix:///run/redis.sock", Address(path="/run/redis.sock")),
        ("unix://:pw@/run/r.sock?db=1", Address(path="/run/r.sock", password="pw", db=1)),
        ("rediss://h", Address(host="h", tls={})),
        (
            "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem",
            Address(host="h", tls={"ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem"}),
        ),
    ],
)
def test_url_names_an_address(url: str, expected: Address) -> None:
    parsed = parse(url)
    assert (parsed.kind, parsed.address) == ("redis", expected)


@pytest.mark.parametrize(
    ("url", "kind", "name"),
    [
        ("memory://", "memory", ""),
        ("memory://shared", "memory", "shared"),
        ("embedded://", "embedded", ""),
        ("EMBEDDED://", "embedded", ""),
    ],
)
def test_url_names_a_private_server(url: str, kind: str, name: str) -> None:
    parsed = parse(url)
    assert (parsed.kind, parsed.memory_name, parsed.address) == (kind, name, None)


REFUSED: list[tuple[Any, str]] = [
    ("http://localhost", "unknown scheme 'http'.*redis://, rediss://, unix://, memory://"),
    ("redi://localhost", "unknown scheme"),
    ("localhost:6379", "redis://localhost:6379/0"),
    ("", "redis://localhost:6379/0"),
    (None, "redis://localhost:6379/0"),
    (b"redis://h", "redis://localhost:6379/0"),
    ("redis+sentinel://a,b/mymaster/0", "Sentinel is not supported yet"),
    ("redis+cluster://a,b", "Cluster is not supported yet"),
    ("redis://h:port", "port"),
    ("redis://h:65536", "port"),
    ("redis://h:-1", "port"),
    ("redis://h:0", "port is 0"),
    ("redis://h/name", "path is the database's number"),
    ("redis://h/0/1", "path is the database's number"),
    ("redis://h/²", "path is the database's number"),
    ("redis://h?db=x", "db"),
    ("redis://h?db=-1", "must be a number from 0"),
    ("redis://h?ssl_cert_reqs=none", "rediss://"),
    ("redis://h?socket_timeout=0", "socket_timeout must be above 0"),
    ("redis://h?socket_timeout=-1", "socket_timeout"),
    ("redis://h?socket_timeout=nan", "socket_timeout"),
    ("redis://h?socket_timeout=soon", "socket_timeout"),
    ("redis://h?socket_connect_timeout=inf", "socket_connect_timeout"),
    ("unix://", "socket's path"),
    ("unix://run/redis.sock", "unix:///run/redis.sock"),
    ("redis://a..b:6379", "host"),
    (f"redis://{'a' * 64}.com", "host"),
    ("redis://[::1", "cannot be read"),
]


@pytest.mark.parametrize(("url", "fix"), REFUSED)
def test_url_that_cannot_work_is_refused_when_the_client_is_made(url: Any, fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        Client.from_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://ada:ge#heim@h:6379/0",
        "redis://ada:ge/heim@h:6379/0",
        "redis://ada:ge?heim@h:6379/0",
        "redis://ada:12/heim@h:6379/0",
        "ada:geheim@localhost:6379",
        "redis:/ada:geheim@localhost",
        "redis://ada:geheim@h/x",
        "redis+cluster://ada:geheim@h",
    ],
)
def test_refusal_never_shows_a_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(url)
    error: BaseException | None = refused.value
    while error is not None:
        assert "heim" not in str(error)
        error = None if error.__suppress_context__ and error.__cause__ is None else error.__cause__


def test_address_shows_where_and_never_the_password() -> None:
    address = Address(host="h", port=1, username="ada", password="geheim")
    assert str(address) == "h:1"
    assert "geheim" not in repr(address)
    assert "geheim" not in repr(parse("redis://ada:geheim@h:1"))
    assert str(Address(path="/run/r.sock")) == "/run/r.sock"


def test_options_of_redis_py_are_understood() -> None:
    parsed = parse("redis://h?socket_timeout=5&socket_connect_timeout=7.5&client_name=web")
    assert (parsed.command_timeout, parsed.connect_timeout, parsed.name) == (5.0, 7.5, "web")


def test_options_without_meaning_here_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="millpond"):
        parse("redis://h?decode_responses=true&max_connections=10&socket_timeout=5")
    warned = [word for record in caplog.records for word in record.getMessage().split("'")]
    assert [word for word in warned if "_" in word] == ["decode_responses", "max_connections"]


def test_tls_checks_the_certificate_and_the_name_unless_told_otherwise() -> None:
    def context(query: str) -> ssl.SSLContext:
        address = parse(f"rediss://h{query}").address
        assert address is not None
        built = address.ssl_context()
        assert built is not None
        return built

    checked = context("")
    assert (checked.verify_mode, checked.check_hostname) == (ssl.CERT_REQUIRED, True)
    nameless = context("?ssl_check_hostname=false")
    assert (nameless.verify_mode, nameless.check_hostname) == (ssl.CERT_REQUIRED, False)
    blind = context("?ssl_cert_reqs=none")
    assert (blind.verify_mode, blind.check_hostname) == (ssl.CERT_NONE, False)
    assert Address().ssl_context() is None


def test_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    rubbish = tmp_path / "ca.pem"
    rubbish.write_text("no certificate")
    for path in (tmp_path / "absent.pem", rubbish):
        address = parse(f"rediss://h?ssl_ca_certs={path}").address
        assert address is not None
        with pytest.raises(ConfigError, match="a certificate file"):
            address.ssl_context()


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"command_timeout": 0}, "command_timeout"),
        ({"connect_timeout": -1}, "connect_timeout"),
        ({"command_timeout": True}, "command_timeout"),
        ({"max_inflight": 0}, "max_inflight"),
        ({"max_inflight": True}, "max_inflight"),
        ({"max_inflight": "10"}, "max_inflight"),
        ({"max_inflight": 1.5}, "max_inflight"),
        ({"name": "two words"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "grün"}, "name"),
        ({"prefix": "a b"}, "prefix"),
    ],
)
def test_option_that_cannot_work_is_refused(options: dict[str, Any], fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        Client.from_url("redis://h", **options)


def test_environment_names_the_server_and_its_own_variable_wins() -> None:
    found = {"REDIS_URL": "redis://wrong:port", "MILLPOND_URL": "memory://", "MILLPOND_PREFIX": "p"}
    assert Client.from_env(environ=found).prefix == "p"
    with pytest.raises(ConfigError, match="port"):
        Client.from_env(environ={"REDIS_URL": "redis://wrong:port"})


@pytest.mark.parametrize(
    ("variables", "fix"),
    [
        ({}, "neither MILLPOND_URL nor REDIS_URL"),
        ({"MILLPOND_URL": ""}, "neither MILLPOND_URL nor REDIS_URL"),
        ({"MILLPOND_URL": "redis://h", "MILLPOND_COMMAND_TIMEOUT": "fast"}, "COMMAND_TIMEOUT"),
        ({"MILLPOND_URL": "redis://h", "MILLPOND_COMMAND_TIMEOUT": "nan"}, "command_timeout"),
        ({"MILLPOND_URL": "redis://h", "MILLPOND_MAX_INFLIGHT": "inf"}, "MAX_INFLIGHT"),
        ({"MILLPOND_URL": "redis://h", "MILLPOND_MAX_INFLIGHT": "nan"}, "MAX_INFLIGHT"),
        ({"MILLPOND_URL": "redis://h", "MILLPOND_MAX_INFLIGHT": "1.5"}, "MAX_INFLIGHT"),
        ({"MILLPOND_URL": "redis://h", "MILLPOND_MAX_INFLIGHT": "0"}, "max_inflight"),
    ],
)
def test_environment_that_cannot_work_is_refused(variables: dict[str, str], fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        Client.from_env(environ=variables)
