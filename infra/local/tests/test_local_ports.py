"""Ports that are taken, and blocks that are free."""

from __future__ import annotations

import os
import socket

import psutil
import pytest

from headrace_kit.config.ports import BLOCK
from headrace_local import ports


def test_a_taken_port_is_named_with_its_holder_and_the_way_out():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(ports.PortInUse) as caught:
            ports.check({"gateway http": number}, 7800)
    message = str(caught.value)
    assert f"port {number} (gateway http) in use by {psutil.Process().name()} (pid {os.getpid()})" in message
    assert "HEADRACE_PORT_BASE=7900" in message
    ports.check({"gateway http": number}, 7800)


def test_a_port_taken_on_all_addresses_counts():
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        with pytest.raises(ports.PortInUse):
            ports.check({"x": taken.getsockname()[1]}, 7800)


def test_a_free_block_can_be_listened_on():
    base = ports.free_port_base()
    ports.check({str(number): number for number in range(base, base + BLOCK)}, base)


def test_listening_sockets_are_found_by_process():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert ports.listening([os.getpid(), 2**22 - 1])[taken.getsockname()] == os.getpid()
