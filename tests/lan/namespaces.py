"""Network namespaces for one test: made, joined by cables and bridges, and removed with all that runs in them.

Needs root, iproute2 and nftables. No packet leaves the machine.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Sequence

_count = itertools.count()


def run(*words: str, text: str | None = None) -> str:
    """Run a command; its error text is in the failure."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
    return done.stdout


class Namespaces:
    """A few machines, called by short names."""

    def __init__(self) -> None:
        self._prefix = f"covey{os.getpid()}x{next(_count)}-"
        self._made: list[str] = []

    def add(self, name: str) -> None:
        """Make a machine with nothing but loopback."""
        run("ip", "netns", "add", self._prefix + name)
        self._made.append(name)
        self.ip(name, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Remove all of them; what runs in them has been ended by its owner."""
        for name in self._made:
            subprocess.run(["ip", "netns", "del", self._prefix + name], capture_output=True, check=False)

    def words(self, name: str, *words: str) -> list[str]:
        """Return the command that runs `words` on a machine."""
        return ["ip", "netns", "exec", self._prefix + name, *words]

    def run(self, name: str, *words: str, text: str | None = None) -> str:
        """Run a command on a machine; return what it prints."""
        return run(*self.words(name, *words), text=text)

    def ip(self, name: str, *words: str) -> str:
        """Run `ip` for a machine."""
        return run("ip", "-n", self._prefix + name, *words)

    def nft(self, name: str, rules: str) -> None:
        """Load rules on a machine."""
        self.run(name, "nft", "-f", "-", text=rules)

    def cable(self, left: tuple[str, str], right: tuple[str, str]) -> None:
        """Join two machines, each given as (machine, interface)."""
        run(
            "ip", "link", "add", left[1], "netns", self._prefix + left[0],
            "type", "veth", "peer", "name", right[1], "netns", self._prefix + right[0],
        )  # fmt: skip
        for name, interface in (left, right):
            self.ip(name, "link", "set", interface, "up")

    def bridge(self, name: str, bridge: str, ports: Sequence[str]) -> None:
        """Join interfaces of one machine to a switch."""
        self.ip(name, "link", "add", bridge, "type", "bridge")
        for port in ports:
            self.ip(name, "link", "set", port, "master", bridge)
        self.ip(name, "link", "set", bridge, "up")

    def address(self, name: str, interface: str, address: str) -> None:
        """Give an interface an address, at once usable."""
        self.ip(name, "addr", "add", address, "dev", interface, *(("nodad",) if ":" in address else ()))
