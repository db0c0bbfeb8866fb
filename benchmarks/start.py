"""How long things take to start: the command, the three components, the whole network in containers.

Owns: the figures. A component counts as ready when its /readyz says so; it is asked every 10 ms. Byte code is compiled
before (a first start on a machine takes longer). Targets: docs/benchmarks.md.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import engine
from benchmarks.processes import BIN, Failed, clean_environment, component, free_port
from benchmarks.report import OUT, AtMost, Row, load, median, note
from covey_core.network import new_network, save_network

FOLDER = OUT / "start"
COMPOSE_TARGET = AtMost(20)


def run(*, quick: bool) -> list[Row]:
    """Measure on this machine, then in containers where an engine answers."""
    rounds = 1 if quick else 9
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    try:
        rows = [*commands(rounds), *components(1 if quick else 5)]
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    note(load())
    return [*rows, *containers(quick=quick)]


def commands(rounds: int) -> list[Row]:
    """Measure `covey --help`, and `covey contacts` against a running node."""
    home = FOLDER / "alice"
    with network_of_one() as settings, component("node", FOLDER, person(home, settings), ops=free_port()):
        words = {
            "python -c pass (for comparison)": [sys.executable, "-c", "pass"],
            "covey --help": [str(BIN / "covey"), "--help"],
            "covey contacts": [str(BIN / "covey"), "--home", str(home), "contacts"],
        }
        times: dict[str, list[float]] = {name: [] for name in words}
        for number in range(rounds + 1):
            for name, command in words.items():
                seconds = timed(command)
                if number:
                    times[name].append(seconds)
    return [
        Row(name, median(values), "s", AtMost(0.3) if name.startswith("covey") else None)
        for name, values in times.items()
    ]


def components(rounds: int) -> list[Row]:
    """Measure from the start of a process until it is ready; identity, account and network exist already."""
    times: dict[str, list[float]] = {"node": [], "relay": [], "bootstrap": []}
    with network_of_one() as settings:
        for number in range(rounds + 1):  # the first start makes identity and account
            for role, values in times.items():
                own = person(FOLDER / "bob", settings) if role == "node" else server(role, settings)
                with component(role, FOLDER, own, ops=free_port()) as (_, seconds):
                    pass
                if number:
                    values.append(seconds)
    return [
        Row(f"{role} ready", median(values), "s", AtMost(3) if role == "node" else None)
        for role, values in times.items()
    ]


def containers(*, quick: bool) -> list[Row]:
    """Measure `docker compose up --wait` with images built: the network, and with the two people of the demo."""
    names = {None: "docker compose up --wait", "demo": "docker compose --profile demo up --wait"}
    reason = "this is a quick run" if quick else engine.problem()
    if reason is not None:
        note(f"docker compose: skipped, {reason}")
        return [Row(names[None], None, "s", COMPOSE_TARGET), Row(names["demo"], None, "s")]
    engine.build()
    rows = []
    for profile, name in names.items():
        times = []
        for _ in range(3):
            project = engine.project("start", profile)
            try:
                begun = time.monotonic()
                project.up()
                times.append(time.monotonic() - begun)
            finally:
                project.down()
        rows.append(Row(name, median(times), "s", COMPOSE_TARGET if profile is None else None))
    note(load())
    return rows


@contextmanager
def network_of_one() -> Iterator[Mapping[str, Path]]:
    """Run a seed, so that starting nodes have somebody to ask; yields the file of its network."""
    with ExitStack() as stack:
        network = FOLDER / "network.json"
        save_network(network, new_network("bench", private=True, subnets=("127.0.0.0/8",)))
        settings = {"network": network}
        stack.enter_context(component("bootstrap", FOLDER, server("bootstrap", settings, "seed"), ops=free_port()))
        yield settings


def server(role: str, settings: Mapping[str, Path], name: str | None = None) -> dict[str, object]:
    """Return the settings of a relay or a seed of the network."""
    folder = FOLDER / (name or role)
    return {
        "DATA_DIR": folder, "IDENTITY_FILE": folder / "identity", "NETWORK_FILE": settings["network"],
        "LISTEN": "/ip4/127.0.0.1/tcp/0",
    }  # fmt: skip


def person(home: Path, settings: Mapping[str, Path]) -> dict[str, object]:
    """Return the settings of a node, which makes its account at the first start."""
    return {
        "HOME": home, "SECRET_FILE": home.parent / f"{home.name}.secret", "NETWORK_FILE": settings["network"],
        "LISTEN": "/ip4/127.0.0.1/tcp/0", "CREATE": "true", "NAME": home.name,
    }  # fmt: skip


def timed(command: list[str]) -> float:
    """Return how long a command takes."""
    begun = time.monotonic()
    done = subprocess.run(
        command, env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise Failed(f"{command} ended with {done.returncode}: {done.stderr[-500:]!r}")
    return seconds
