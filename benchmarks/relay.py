"""The relay: memory per reservation and circuit, throughput of one stream beside a direct one, slots that come free.

Owns: the figures. `covey-relay` runs alone in its process, with production's code and settings but for the bounds per
IP address: here everybody comes from 127.0.0.1. Targets: docs/benchmarks.md.
"""

from __future__ import annotations

import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import Failed, component, cpu_seconds, free_port, memory_bytes, worker
from benchmarks.report import OUT, AtLeast, AtMost, Row, load, median, note
from covey_core.network import new_network, save_network

MIB = 1024 * 1024
SETTLE_SECONDS = 2.0
EVERYBODY = 100_000
FOLDER = OUT / "relay"


def run(*, quick: bool) -> list[Row]:
    """Measure a crowd of clients, then one stream."""
    try:
        return [*crowd((10, 20) if quick else (500, 1000), 4 if quick else 200), *one_stream(quick=quick)]
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


@contextmanager
def running_relay() -> Iterator[tuple[int, int, Path]]:
    """Run a relay on a network of its own; yields its process id, its operations port and the network file."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    network = FOLDER / "network.json"
    save_network(network, new_network("bench", private=True, subnets=("127.0.0.0/8",)))
    ops = free_port()
    settings = {
        "DATA_DIR": FOLDER / "data", "NETWORK_FILE": network, "LISTEN": "/ip4/127.0.0.1/tcp/0", "OPERATOR": "bench",
        "RESERVATIONS_PER_IPV4": EVERYBODY, "CIRCUITS_PER_IPV4": EVERYBODY, "MAX_CONNECTIONS_PER_IP": EVERYBODY,
        "CIRCUIT_BYTES": 0, "LOG_LEVEL": "warning",
    }  # fmt: skip
    with component("relay", FOLDER, settings, ops=ops) as (process, _):
        yield process.pid, ops, network


def crowd(steps: tuple[int, int], circuits: int) -> list[Row]:
    """Measure what reservations and circuits cost in memory, and how soon slots come free."""
    few, many = steps
    with running_relay() as (pid, ops, network), worker("crowd", str(network), log=FOLDER / "crowd.log") as clients:
        empty = settled(pid)
        clients.ask("reserve", count=few)
        with_few = settled(pid)
        begun = time.monotonic()
        clients.ask("reserve", count=many - few)
        rate = (many - few) / (time.monotonic() - begun)
        with_many = settled(pid)
        clients.ask("circuits", count=circuits)
        with_circuits = settled(pid)
        held = slots(ops)
        if held != many:
            raise Failed(f"the relay holds {held} reservations instead of {many}")
        begun = time.monotonic()
        clients.ask("leave", count=5)
        while slots(ops) > many - 5:
            time.sleep(0.05)
        freed = time.monotonic() - begun
        note(load())
    each = (with_many - with_few) / (many - few)
    circuit = (with_circuits - with_many) / circuits
    whole = empty + 4000 * each + 1000 * circuit
    return [
        Row("memory, no client", empty / MIB, "MiB"),
        Row(f"memory, {few} reservations", with_few / MIB, "MiB"),
        Row(f"memory, {many} reservations", with_many / MIB, "MiB"),
        Row(f"memory, {many} reservations and {circuits} circuits", with_circuits / MIB, "MiB"),
        Row("memory a reservation", each / 1024, "KiB"),
        Row("memory an idle circuit", circuit / 1024, "KiB"),
        Row("memory, 4,000 reservations and 1,000 circuits (extrapolated)", whole / 1e6, "MB", AtMost(600)),
        Row("clients that connect and reserve (one process dials)", rate, "clients/s"),
        Row("slots free after their clients left", freed, "s", AtMost(5)),
    ]


def one_stream(*, quick: bool) -> list[Row]:
    """Send the same bytes directly, over TCP and over QUIC, and through the relay, in turn."""
    size, rounds = (MIB, 2) if quick else (16 * MIB, 7)
    direct, quic, relayed, costs = [], [], [], []
    with (
        running_relay() as (pid, _, network),
        worker("streamer", str(network), log=FOLDER / "receiver.log") as receiver,
        worker("streamer", str(network), log=FOLDER / "sender.log") as sender,
    ):
        there = receiver.ask("reserved")
        sender.ask("reserved")
        if not sender.ask("connect", **there):
            raise Failed("the relayed connection is not relayed")
        for number in range(rounds + 1):  # the first round warms up
            seconds = sender.ask("send", way="direct", peer=there["direct"][0], count=size)
            datagrams = sender.ask("send", way="quic", peer=there["quic"][0], count=size)
            before = cpu_seconds(pid)
            through = sender.ask("send", way="relayed", peer=there["relayed"][0], count=size)
            if number:
                direct.append(size / MIB / seconds)
                quic.append(size / MIB / datagrams)
                relayed.append(size / MIB / through)
                costs.append((cpu_seconds(pid) - before) / (size / 1e9))
        note(load())
    ratio = median([there / here for here, there in zip(direct, relayed, strict=True)])
    return [
        Row("one stream, direct", median(direct), "MiB/s"),
        Row("one stream, direct, over QUIC", median(quic), "MiB/s"),
        Row("one stream, relayed", median(relayed), "MiB/s"),
        Row("one stream, relayed to direct", ratio, "", AtLeast(0.3)),
        Row("processor time of the relay", median(costs), "CPU s/GB"),
    ]


def settled(pid: int) -> int:
    """Return the relay's memory once it has rested a little."""
    time.sleep(SETTLE_SECONDS)
    return memory_bytes(pid)


def slots(ops: int) -> int:
    """Return how many reservations the relay holds, from its metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ops}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = dict(re.findall(r'^libp2p_relaysvc_reservations_total\{type="(\w+)"\} (\S+)$', text, re.MULTILINE))
    return int(float(found["opened"]) - float(found["closed"]))
