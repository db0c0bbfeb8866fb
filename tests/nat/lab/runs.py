"""Two people behind two routers meet again and again: how long until the connection between them is a direct one.

Owns: the story of a run, and what was found in it. Spec of the figures: docs/benchmarks.md, "direct". One run:

1. both nodes are closed, both routers forget every mapping;
2. bob's node starts and gets slots at both relays; then alice's does. Coming by, or to deliver her message, one of them
   opens a circuit to the other: from the moment that it stands (`Connected`, both sides admitted), time is taken on
   each side until a direct connection to the same device stands there (`Connected` again);
3. alice's message has arrived.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Worker
from covey_core.network import load_network, new_network, save_network
from tests.nat.lab.topology import KINDS, RELAYS, ROOT, WAN, Lab, lab

LISTEN = ("/ip4/0.0.0.0/tcp/4201", "/ip4/0.0.0.0/udp/4201/quic-v1")
RELAY_LISTEN = ("tcp/4101", "udp/4101/quic-v1")
DIRECT_SECONDS = 30  # all attempts of the puncher; longer than anything that would still be good
READY_SECONDS = 60
STOP_SECONDS = 10
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """What one run found."""

    delivered_seconds: float
    """From alice's `send`, both nodes having their slots, until she sees `delivered`."""
    direct_seconds: float | None
    """From the first relayed connection until the first direct one, on the side where it took longer; None: never."""
    transport: str | None
    path: str


class Meeting:
    """Alice (behind router a) and bob (behind router b), who know each other, with closed nodes."""

    def __init__(self, where: Lab, alice: Worker, bob: Worker) -> None:
        self.lab = where
        self.alice = alice
        self.bob = bob
        self._number = 0

    def be(self, kind_a: int, kind_b: int, *, block: str = "none") -> None:
        """Make the routers these kinds; both keep back what `block` says."""
        for host, kind in (("a", kind_a), ("b", kind_b)):
            self.lab.router(host, "nat", KINDS[kind])
            self.lab.router(host, "block", block)

    def run(self, *, wait_for_direct: bool) -> Run:
        """Let them meet once. Without `wait_for_direct` the run ends with the message."""
        self._number += 1
        for host in ("a", "b"):
            self.lab.router(host, "restart")
        for person in (self.bob, self.alice):
            person.ask("start")
            person.ask("reserved", count=len(RELAYS))
        delivered = self.alice.ask("send", text=f"run {self._number}")
        people = (self.alice, self.bob)
        for person in people:
            person.tell("direct", seconds=DIRECT_SECONDS if wait_for_direct else 0)
        found = [person.hear() for person in people]
        for person in people:
            person.tell("stop")
        for person in people:
            person.hear()
        times = [one["seconds"] for one in found]
        direct = None if None in times else max(times)
        return Run(delivered, direct, found[0]["transport"], found[0]["path"])


@contextmanager
def meeting(*, debug: bool = False, keep: Path | None = None) -> Iterator[Meeting]:
    """Have lab, relays and two people who know each other for the length of the block."""
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="covey-lab-")))
        folder.mkdir(parents=True, exist_ok=True)
        where = stack.enter_context(lab(folder))
        network = folder / "network.json"
        save_network(network, new_network("lab", private=True, subnets=(WAN,)))
        for relay, address in RELAYS.items():
            stack.enter_context(_relay(where, relay, address, folder, network))
        more = ["--debug"] if debug else []
        alice = stack.enter_context(_person(where, "a", folder / "alice", network, more))
        bob = stack.enter_context(_person(where, "b", folder / "bob", network, more))
        for person in (alice, bob):
            person.ask("start")
            person.ask("reserved", count=len(RELAYS))
        for one, other in ((alice, bob), (bob, alice)):
            one.ask("know", peer=other.ask("peer"))
        bob.ask("add", link=alice.ask("invite"))
        for person in (alice, bob):
            person.ask("befriended")
        for person in (alice, bob):
            person.ask("stop")
        yield Meeting(where, alice, bob)


@contextmanager
def _relay(where: Lab, name: str, address: str, folder: Path, network: Path) -> Iterator[None]:
    settings = {
        "DATA_DIR": folder / name,
        "NETWORK_FILE": network,
        "OPERATOR": name,
        "LISTEN": ",".join(f"/ip4/0.0.0.0/{one}" for one in RELAY_LISTEN),
        "ANNOUNCE": ",".join(f"/ip4/{address}/{one}" for one in RELAY_LISTEN),
    }
    env = _environment() | {f"COVEY_RELAY_{key}": str(value) for key, value in settings.items()}
    log = folder / f"{name}.log"
    known = len(load_network(network).relays)
    with log.open("wb") as output, subprocess.Popen(
        where.words(name, sys.executable, "-m", "covey_relay", "run"),
        cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + READY_SECONDS
            while len(load_network(network).relays) == known:  # it enters itself once it listens
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_SECONDS)
                if process.returncode is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()


@contextmanager
def _person(where: Lab, host: str, home: Path, network: Path, more: list[str]) -> Iterator[Worker]:
    log = home.with_suffix(".log")
    words = [sys.executable, "-m", "tests.nat.lab.person", home, network, *LISTEN, *more]
    with log.open("wb") as output, subprocess.Popen(
        where.words(host, *words),
        cwd=ROOT, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output,
    ) as process:  # fmt: skip
        try:
            yield Worker(process, log)
        finally:
            with contextlib.suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()  # its end is the word to stop
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("COVEY_")}
