"""Which addresses of this machine a port is open on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

_LISTEN = "0A"  # the state's number in /proc/net/tcp


def listening_addresses(port: int) -> set[str]:
    """Addresses that something listens on at ``port``; 0.0.0.0 and :: stand for all of them."""
    found = set()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        table = Path("/proc/net", name)
        if not table.exists():
            pytest.skip("open ports are read from /proc/net, which is not here")
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, number = local.split(":")
            if state == _LISTEN and int(number, 16) == port:
                words = [bytes.fromhex(address[k : k + 8])[::-1] for k in range(0, len(address), 8)]
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found
