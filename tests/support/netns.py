"""A network of one's own for a test, in which packets can be made to vanish without a word.

Owns: a Linux network namespace with loopback only, entered by this thread, and its nftables rules.
Never touches: the machine's own network. Needs root and nft; skips with the reason where they are missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_HERE = Path("/proc/thread-self/ns/net")
_CHAIN = "add chain inet covey input { type filter hook input priority 0 ; policy accept ; }"


class Blackhole:
    """Drops packets between ports of the namespace's loopback, over TCP and UDP."""

    def cut(self, one: int, other: int) -> None:
        """Let nothing through between two ports, in either direction."""
        for protocol in ("tcp", "udp"):
            both = f"{{ {one}, {other} }}"
            _run("nft", f"add rule inet covey input {protocol} sport {both} {protocol} dport {both} drop")

    def leave_only(self, port: int) -> None:
        """Let nothing through but what goes to a port or comes from it."""
        for protocol in ("tcp", "udp"):
            for end in ("sport", "dport"):
                _run("nft", f"add rule inet covey input {protocol} {end} {port} accept")
            _run("nft", f"add rule inet covey input meta l4proto {protocol} drop")

    def heal(self) -> None:
        """Let everything through again."""
        _run("nft", "flush chain inet covey input")


@contextmanager
def own_network() -> Iterator[Blackhole]:
    """Live in a network namespace for the block; sockets that are opened in it stay in it."""
    if shutil.which("nft") is None or shutil.which("ip") is None:
        pytest.skip("nft or ip is missing: no network namespace with rules")
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open(_HERE, os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            pytest.skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            _run("ip", "link set lo up")
            _run("nft", "add table inet covey")
            _run("nft", _CHAIN)
            yield Blackhole()
        finally:
            libc.setns(before, _CLONE_NEWNET)
    finally:
        os.close(before)


def _run(command: str, arguments: str) -> None:
    subprocess.run([command, *arguments.split()], check=True, capture_output=True, timeout=10)
