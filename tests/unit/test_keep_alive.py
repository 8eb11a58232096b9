"""Asking a silent peer whether it is still there."""

from __future__ import annotations

import socket

import pytest

from millpond.core.link import keep_alive


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="not by this name here")
def test_peer_that_vanished_is_given_up_after_a_minute_and_not_after_two_hours() -> None:
    with socket.socket() as held:
        keep_alive(held)
        assert held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, interval, count = (
            held.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
    assert idle + interval * count == 60
