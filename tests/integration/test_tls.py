"""TLS: the certificate is checked, and the connection is the same otherwise."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from millpond import Client
from millpond.errors import BackendTimeout, BackendUnavailable, ConfigError
from millpond.events import WireDown
from tests.support.servers import Server, flavours, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from millpond.events import Event

pytestmark = pytest.mark.both_loops


def _with_tls() -> str | None:
    """Find a server program that was built with TLS."""
    for flavour in flavours():
        if flavour.binary is not None and shutil.which("ldd") is not None:
            links = subprocess.run(["ldd", flavour.binary], capture_output=True, check=False)
            if b"libssl" in links.stdout:
                return flavour.binary
    return None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost; its key beside it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem"


class TlsServer:
    """A server with a TLS port."""

    def __init__(self, binary: str, certificate: Path) -> None:
        self.port = free_port()
        options = {
            "--tls-port": str(self.port),
            "--tls-cert-file": str(certificate),
            "--tls-key-file": str(certificate.with_name("key.pem")),
            "--tls-auth-clients": "no",
        }
        self.server = Server(binary, args=[part for option in options.items() for part in option])

    def url(self, query: str, host: str = "localhost") -> str:
        return f"rediss://{host}:{self.port}/0?{query}"


@pytest.fixture
def tls(certificate: Path) -> Iterator[TlsServer]:
    binary = _with_tls()
    if binary is None:
        pytest.skip("no server with TLS; Debian's redis-server has it")
    tls = TlsServer(binary, certificate)
    with tls.server:
        yield tls


async def test_server_with_a_trusted_certificate_is_used(tls: TlsServer, certificate: Path) -> None:
    async with Client.from_url(tls.url(f"ssl_ca_certs={certificate}")) as client:
        answers = [client.call("ECHO", number) for number in range(1000)]
        assert await asyncio.gather(*answers) == [b"%d" % number for number in range(1000)]
        value = bytes(range(256)) * 10_000
        assert await client.call("SET", "k", value, "EX", 100) == b"OK"
        async with client.watch("k") as watch:
            assert watch.value == value
            await client.call("DEL", "k")
            assert await watch.changed(timeout=5) is True
    gc.collect()  # a socket left open would be a ResourceWarning, and an error


async def test_certificate_that_nobody_vouches_for_is_told(tls: TlsServer) -> None:
    events: list[Event] = []
    async with Client.from_url(tls.url(""), hooks=[events.append]) as client:
        [event] = events
        assert isinstance(event, WireDown)
        assert "CERTIFICATE_VERIFY_FAILED" in event.reason
        assert isinstance(client.call("PING").exception(), BackendUnavailable)
    async with Client.from_url(tls.url("ssl_cert_reqs=none")) as client:
        assert await client.call("PING") == b"PONG"


async def test_certificate_for_another_name_is_told(tls: TlsServer, certificate: Path) -> None:
    events: list[Event] = []
    url = tls.url(f"ssl_ca_certs={certificate}", host="127.0.0.1")
    async with Client.from_url(url, hooks=[events.append]):
        [event] = events
        assert isinstance(event, WireDown)
        assert "127.0.0.1" in event.reason
    async with Client.from_url(f"{url}&ssl_check_hostname=false") as client:
        assert await client.call("PING") == b"PONG"


async def test_certificate_file_that_is_not_there_is_an_error_at_opening(tls: TlsServer) -> None:
    with pytest.raises(ConfigError, match="a certificate file"):
        await Client.from_url(tls.url("ssl_ca_certs=/nowhere/ca.pem")).__aenter__()


async def test_tls_where_none_is_spoken_and_the_reverse_are_outages(
    tls: TlsServer, certificate: Path
) -> None:
    plain = f"redis://localhost:{tls.port}"
    secure = tls.server.tcp_url.replace("redis://", "rediss://") + "?ssl_cert_reqs=none"
    for url, fix in ((plain, "if it speaks TLS: rediss://"), (secure, "a port that speaks TLS")):
        async with Client.from_url(url, connect_timeout=0.5) as client:
            with pytest.raises(BackendUnavailable, match=fix):
                await client.call("PING")
    gc.collect()


async def test_hung_and_lost_tls_connections_recover(
    tls: TlsServer, certificate: Path, start_server: Callable[[Server], Server]
) -> None:
    url = tls.url(f"ssl_ca_certs={certificate}")
    async with Client.from_url(url, command_timeout=0.2, connect_timeout=0.5) as client:
        tls.server.pause()
        with pytest.raises(BackendTimeout):
            await client.call("PING")
        await asyncio.sleep(0.3)  # some attempts in vain
        tls.server.resume()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await client.call("ECHO", "back") == b"back"
                except (BackendTimeout, BackendUnavailable):
                    await asyncio.sleep(0.01)
                else:
                    break
        tls.server.pause()  # nobody says farewell
    tls.server.resume()
    gc.collect()
