"""Delivery between two people, directly and through a relay: latency, throughput, cost, losses.

Owns: the story and its figures. Each person is a process of its own (person.py) with a durable database; the relay is
`covey-relay`. Latency and throughput are driven through the node's port in the sender's process, as a front end inside
the node would; the local HTTP API is measured separately. Targets: docs/benchmarks.md.
"""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.person import text
from benchmarks.processes import Failed, Worker, component, cpu_seconds, free_port, worker
from benchmarks.report import OUT, AtLeast, AtMost, Row, load, median, note, percentile
from covey_core.network import load_network, new_network, save_network

WRITERS = 32
IN_FLIGHT = 256
HTTP_WRITERS = 4


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    one_by_one: int
    flood: int


FULL = Size(rounds=5, one_by_one=200, flood=3000)
QUICK = Size(rounds=2, one_by_one=20, flood=200)


def run(*, quick: bool) -> list[Row]:
    """Measure both ways of delivery."""
    size = QUICK if quick else FULL
    rows: list[Row] = []
    for way in ("direct", "relayed"):
        with pair(way) as (alice, bob, relay_pid):
            contact = alice.ask("befriended")
            found = alice.ask("path")
            note(f"{way}: the path in use is {found}; {load()}")
            if (found == "relayed") != (way == "relayed"):
                raise Failed(f"the path should be {way}, it is {found}")
            pids = [alice.pid, bob.pid, *([relay_pid] if way == "relayed" else [])]
            rows += Measure(way, alice, bob, contact, pids, size).all()
            if way == "direct":
                rows += over_http(alice, bob, contact, size)
    return rows


@contextmanager
def pair(way: str) -> Iterator[tuple[Worker, Worker, int]]:
    """Run a relay and two people who know each other; relayed ones listen nowhere."""
    folder = OUT / "delivery"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    network = folder / "network.json"
    save_network(network, new_network("bench", private=True, subnets=("127.0.0.0/8",)))
    settings = {
        "DATA_DIR": folder / "relay", "NETWORK_FILE": network, "LISTEN": "/ip4/127.0.0.1/tcp/0", "OPERATOR": "bench"
    }  # fmt: skip
    listens = "listen" if way == "direct" else "circuits"
    with (
        component("relay", folder, settings, ops=free_port()) as (relay, _),
        worker("person", str(folder / "alice"), str(network), listens, log=folder / "alice.log") as alice,
        worker("person", str(folder / "bob"), str(network), listens, log=folder / "bob.log") as bob,
    ):
        assert load_network(network).relays, "the relay did not enter itself"
        alice.ask("reserved")
        bob.ask("reserved")
        bob.ask("add", link=alice.ask("invite"))
        alice.ask("befriended")
        bob.ask("befriended")
        yield alice, bob, relay.pid
    shutil.rmtree(folder, ignore_errors=True)


class Measure:
    """One way of delivery, measured."""

    def __init__(self, way: str, alice: Worker, bob: Worker, contact: str, pids: list[int], size: Size) -> None:
        self._way = way
        self._alice = alice
        self._bob = bob
        self._contact = contact
        self._pids = pids
        self._size = size
        self._number = 0

    def all(self) -> list[Row]:
        self._alice.ask("one_by_one", contact=self._contact, first=self._take(20), count=20)  # warm
        self._alice.ask("flood", contact=self._contact, first=self._take(200), count=200, writers=8, in_flight=64)
        return [*self._latency(), *self._throughput()]

    def _take(self, count: int) -> int:
        self._number += count
        return self._number - count

    def _latency(self) -> list[Row]:
        delivered, visible, queued, middle = [], [], [], []
        for _ in range(self._size.rounds):
            first, count = self._take(self._size.one_by_one), self._size.one_by_one
            self._alice.ask("forget")
            self._bob.ask("forget")
            times = self._alice.ask("one_by_one", contact=self._contact, first=first, count=count)
            seen = dict(self._bob.ask("seen"))
            here = [(end - begun) * 1000 for begun, _, end in times]
            delivered += here
            middle.append(median(here))
            queued += [(returned - begun) * 1000 for begun, returned, _ in times]
            visible += [(seen[text(first + at)[:16]] - times[at][0]) * 1000 for at in range(count)]
        direct = self._way == "direct"
        return [
            Row(f"{self._way}: delivered at the sender, p50", median(middle), "ms", AtMost(5 if direct else 12)),
            Row(f"{self._way}: delivered at the sender, p99", percentile(delivered, 0.99), "ms",
                AtMost(15) if direct else None),
            Row(f"{self._way}: visible at the receiver, p50", percentile(visible, 0.5), "ms"),
            Row(f"{self._way}: visible at the receiver, p99", percentile(visible, 0.99), "ms"),
            Row(f"{self._way}: queued durably, p50", percentile(queued, 0.5), "ms"),
        ]  # fmt: skip

    def _throughput(self) -> list[Row]:
        speeds, per_cpu = [], []
        for _ in range(self._size.rounds):
            first, count = self._take(self._size.flood), self._size.flood
            self._alice.ask("forget")
            before = [cpu_seconds(pid) for pid in self._pids]
            times = self._alice.ask(
                "flood", contact=self._contact, first=first, count=count, writers=WRITERS, in_flight=IN_FLIGHT
            )
            spent = [cpu_seconds(pid) - old for pid, old in zip(self._pids, before, strict=True)]
            speeds.append(count / (times["ended"] - times["begun"]))
            per_cpu.append(count / sum(spent))
            note(
                f"{self._way}: {speeds[-1]:.0f} messages/s; CPU seconds {', '.join(f'{one:.2f}' for one in spent)}; "
                f"{load()}"
            )
        kept = self._bob.ask("kept")
        wanted = {text(number)[:16] for number in range(self._number)}
        direct = self._way == "direct"
        return [
            Row(f"{self._way}: throughput", median(speeds), "messages/s", AtLeast(1000) if direct else None),
            Row(f"{self._way}: messages per CPU second of all processes", median(per_cpu), "messages/CPU s",
                AtLeast(500) if direct else None),
            Row(f"{self._way}: lost", len(wanted - set(kept)), "messages", AtMost(0)),
            Row(f"{self._way}: shown twice", len(kept) - len(set(kept)), "messages", AtMost(0)),
        ]  # fmt: skip


def over_http(alice: Worker, bob: Worker, contact: str, size: Size) -> list[Row]:
    """Measure what a program outside sees: POST, and GET until `delivered`, over kept-open connections."""
    api = alice.ask("serve")
    client = _Client(api["address"], api["token"])
    posted, delivered = [], []
    for number in range(size.one_by_one):
        begun = time.monotonic()
        view = client.call("POST", f"/v1/contacts/{contact}/messages", {"text": text(10**9 + number)})
        posted.append((time.monotonic() - begun) * 1000)
        done = client.call("GET", f"/v1/messages/{view['id']}?wait_for=delivered&wait_seconds=30")
        delivered.append((time.monotonic() - begun) * 1000)
        assert done["status"] == "delivered"
    alice.ask("forget")
    count = size.flood // 4
    numbers = iter(range(2 * 10**9, 2 * 10**9 + count))
    begun = time.monotonic()
    threads = [threading.Thread(target=_post_all, args=(api, contact, numbers)) for _ in range(HTTP_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while alice.ask("delivered") < count:
        time.sleep(0.01)
    speed = count / (time.monotonic() - begun)
    kept = set(bob.ask("kept"))
    lost = [number for number in range(2 * 10**9, 2 * 10**9 + count) if text(number)[:16] not in kept]
    return [
        Row("direct, HTTP API: POST answered, p50", percentile(posted, 0.5), "ms"),
        Row("direct, HTTP API: POST to delivered, p50", percentile(delivered, 0.5), "ms"),
        Row("direct, HTTP API: POST to delivered, p99", percentile(delivered, 0.99), "ms"),
        Row(f"direct, HTTP API: throughput, {HTTP_WRITERS} clients", speed, "messages/s"),
        Row("direct, HTTP API: lost", len(lost), "messages", AtMost(0)),
    ]


class _Client:
    def __init__(self, address: str, token: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        self._connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise Failed(f"{method} {path}: {answer.status} {data[:300]!r}")
        return json.loads(data)


_turn = threading.Lock()


def _post_all(api: dict[str, str], contact: str, numbers: Iterator[int]) -> None:
    client = _Client(api["address"], api["token"])
    while True:
        with _turn:
            number = next(numbers, None)
        if number is None:
            return
        client.call("POST", f"/v1/contacts/{contact}/messages", {"text": text(number)})
