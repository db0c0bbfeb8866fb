"""Machines for a test, as network namespaces: made, joined by cables and bridges, removed with all that runs in them.

Owns: their names, and the question whether this machine can have any. Needs root, iproute2 and nftables. No packet
leaves the machine. A network for the test's own process is netns.py.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_STEP_SECONDS = 30
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian keeps what only root needs
_count = itertools.count(1)


def run(*words: str | Path, text: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it prints; it fails with what it said."""
    done = subprocess.run(
        [str(word) for word in words], input=text or "", env={**(os.environ if env is None else env), "PATH": _PATH},
        capture_output=True, text=True, timeout=_STEP_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise AssertionError(f"{' '.join(map(str, words))} ended with {done.returncode}: {said}")
    return done.stdout


def why_not(*tools: str) -> str | None:
    """Return why this machine cannot have namespaces, or lacks one of the tools; None when all is there."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nft", *tools):
        if shutil.which(tool, path=_PATH) is None:
            return f"{tool} is not installed"
    probe = Namespaces("covey-probe")
    try:
        probe.add("one")
        probe.nft("one", "add table ip probe")
    except AssertionError as exc:
        return str(exc)
    finally:
        probe.remove()
    return None


class Namespaces:
    """A few machines, called by short names; their namespaces begin with `prefix`, the process and a number."""

    def __init__(self, prefix: str = "covey") -> None:
        self.prefix = f"{prefix}-{os.getpid()}-{next(_count)}"
        self._made: list[str] = []

    def name(self, machine: str) -> str:
        """Return the name of a machine's namespace."""
        return f"{self.prefix}-{machine}"

    def add(self, machine: str) -> None:
        """Make a machine with nothing but loopback."""
        self._made.append(machine)
        run("ip", "netns", "add", self.name(machine))
        self.ip(machine, "link", "set", "lo", "up")

    def remove(self) -> None:
        """End what runs in them, then remove all of them; one may be half made or gone."""
        for machine in self._made:
            running = _quietly("ip", "netns", "pids", self.name(machine)).split()
            if running:
                _quietly("kill", "-KILL", *running)
            _quietly("ip", "netns", "del", self.name(machine))
        self._made.clear()

    def words(self, machine: str, *words: str | Path) -> list[str]:
        """Return the command that runs `words` on a machine."""
        return ["ip", "netns", "exec", self.name(machine), *map(str, words)]

    def run(
        self, machine: str, *words: str | Path, text: str | None = None, env: Mapping[str, str] | None = None
    ) -> str:
        """Run a command on a machine; return what it prints."""
        return run(*self.words(machine, *words), text=text, env=env)

    def ip(self, machine: str, *words: str) -> str:
        """Run `ip` for a machine."""
        return run("ip", "-n", self.name(machine), *words)

    def nft(self, machine: str, rules: str) -> None:
        """Load rules on a machine."""
        self.run(machine, "nft", "-f", "-", text=rules)

    def cable(self, left: tuple[str, str], right: tuple[str, str]) -> None:
        """Join two machines, each given as (machine, interface)."""
        run(
            "ip", "link", "add", left[1], "netns", self.name(left[0]),
            "type", "veth", "peer", "name", right[1], "netns", self.name(right[0]),
        )  # fmt: skip
        for machine, interface in (left, right):
            self.ip(machine, "link", "set", interface, "up")

    def bridge(self, machine: str, bridge: str, ports: Sequence[str]) -> None:
        """Join interfaces of one machine to a switch."""
        self.ip(machine, "link", "add", bridge, "type", "bridge")
        for port in ports:
            self.ip(machine, "link", "set", port, "master", bridge)
        self.ip(machine, "link", "set", bridge, "up")

    def address(self, machine: str, interface: str, address: str) -> None:
        """Give an interface an address, at once usable."""
        self.ip(machine, "addr", "add", address, "dev", interface, *(("nodad",) if ":" in address else ()))


def _quietly(*words: str) -> str:
    return subprocess.run(
        words, env={**os.environ, "PATH": _PATH}, capture_output=True, text=True, timeout=_STEP_SECONDS, check=False
    ).stdout
