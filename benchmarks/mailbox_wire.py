"""Mailboxes over the wire: deposits and pages a second, a message's way to somebody who listens, what listening costs.

Owns: the figures. Relays are `covey-relay`, the clients processes of their own (mailer.py), sockets are on loopback.
Only the relays' pace for one peer is raised. Targets: DESIGN 10. Spec: docs/spec/mailbox.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from benchmarks.mailer import owner, queue_id
from benchmarks.processes import Worker, component, cpu_seconds, free_port, worker
from benchmarks.relay import settled
from benchmarks.report import OUT, AtLeast, AtMost, Row, load, median, note, percentile
from covey_core.identity import load_or_create_identity
from covey_core.network import RelayEntry, new_network, save_network
from covey_core.wire import mailbox as m
from covey_relay.limits import MAILBOX_BATCH, MailboxLimits
from covey_relay.mailbox import operations as op
from covey_relay.mailbox.line import open_line
from covey_relay.mailbox.stores import open_store

FOLDER = OUT / "mailbox-wire"
EVERYBODY = 1_000_000
QUEUES = 8
TOGETHER = 4_000
"""Queues on one connection; the relay takes 4,096."""


def run(*, quick: bool) -> list[Row]:
    """Measure pipelined work, single messages, and listening."""
    try:
        return [*_pipelined(quick=quick), *_one_by_one(quick=quick), *_listening(quick=quick)]
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


@contextmanager
def relays(count: int, *, queues: int = 0, slots: int = 4000) -> Iterator[tuple[Path, list[int]]]:
    """Run relays, the first with so many queues, each with so many slots; yields network file and process ids."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    entries, words = [], []
    for number in range(count):
        home, port = FOLDER / f"relay{number}", free_port()
        home.mkdir()
        peer = load_or_create_identity(home / "identity").peer_id
        address = f"/ip4/127.0.0.1/tcp/{port}"
        entries.append(RelayEntry(f"bench {number}", (f"{address}/p2p/{peer}",)))
        words.append({
            "DATA_DIR": home, "NETWORK_FILE": FOLDER / "network.json", "LISTEN": address, "OPERATOR": f"bench {number}",
            "MAX_CONNECTIONS_PER_IP": EVERYBODY, "MAILBOX_PEER_RATE": EVERYBODY, "MAILBOX_PEER_BURST": EVERYBODY,
            "RESERVATIONS": slots, "MAX_CONNECTIONS": 1000, "LOG_LEVEL": "warning",
        })  # fmt: skip
    network = new_network("bench", private=True, subnets=("127.0.0.0/8",))
    save_network(FOLDER / "network.json", replace(network, relays=tuple(entries)))
    trio.run(_stock, FOLDER / "relay0" / "mailboxes.db", queues)
    with ExitStack() as stack:
        pids = []
        for number, settings in enumerate(words):
            process, _ = stack.enter_context(component("relay", FOLDER / f"relay{number}", settings, ops=free_port()))
            pids.append(process.pid)
        yield FOLDER / "network.json", pids


def _pipelined(*, quick: bool) -> list[Row]:
    """Deposit through one pipelined connection, then read; the rate of rounds, and what it costs both processes."""
    count, rounds = (256, 2) if quick else (2048, 5)
    puts, gets, relay_cpu, client_cpu = [], [], [], []
    with relays(1) as (network, (pid,)), _mailer(network) as client:
        for number in range(rounds + 1):  # the first warms up
            queues = client.ask("make", first=1 + number * QUEUES, count=QUEUES)[-QUEUES:]
            client.ask("know", queues=queues)
            before = cpu_seconds(pid), cpu_seconds(client.pid)
            times = client.ask("put", count=count, tasks=512)
            after = cpu_seconds(pid), cpu_seconds(client.pid)
            pages = client.ask("get", first=1 + number * QUEUES)
            assert pages["count"] == count, pages
            client.ask("know", queues=[])
            if number:
                puts.append(count / (times["ended"] - times["begun"]))
                gets.append(count / (pages["ended"] - pages["begun"]))
                relay_cpu.append((after[0] - before[0]) / count * 1e6)
                client_cpu.append((after[1] - before[1]) / count * 1e6)
                note(
                    f"{puts[-1]:.0f} PUT/s over the wire; CPU of the relay {relay_cpu[-1]:.0f}, of the client "
                    f"{client_cpu[-1]:.0f} us each; {load()}"
                )
    return [
        Row("over the wire: durable PUT, pipelined", median(puts), "messages/s", AtLeast(1_500)),
        Row("over the wire: PUT, CPU of the relay", median(relay_cpu), "us/message"),
        Row("over the wire: PUT, CPU of the client", median(client_cpu), "us/message"),
        Row("over the wire: GET in pages of 63", median(gets), "messages/s"),
    ]


def _one_by_one(*, quick: bool) -> list[Row]:
    """One message after the other to somebody who listens: straight to the mailbox, and by way of another relay."""
    count = 10 if quick else 150  # a relay forwards 200 at once for one peer
    rows = []
    with relays(2) as (network, _), _mailer(network) as alice, _mailer(network, "bob") as bob:
        alice.ask("know", queues=bob.ask("make", first=1, count=1))
        alice.ask("join", session=bob.ask("meet"))
        bob.ask("listen", number=1)
        number = 0
        for forward, way in ((False, "straight"), (True, "forwarded")):
            answered, decrypted = [], []
            for at in range(count + 5):
                begun, stored = alice.ask("lay", number=number, forward=forward)
                came = bob.ask("came", number=number)
                number += 1
                if at >= 5:
                    answered.append((stored - begun) * 1000)
                    decrypted.append((came - begun) * 1000)
            note(f"{way}: {count} messages, one after the other; {load()}")
            rows += [
                Row(f"PUT to decrypted, SUB open, {way}, p50", percentile(decrypted, 0.5), "ms", AtMost(40)),
                Row(f"PUT to decrypted, SUB open, {way}, p99", percentile(decrypted, 0.99), "ms"),
                Row(f"PUT to stored, {way}, p50", percentile(answered, 0.5), "ms"),
            ]
    return rows


def _listening(*, quick: bool) -> list[Row]:
    """Who listens: first some with a queue and a connection each, then thousands of queues on few connections."""
    apart, together = (10, 200) if quick else (100, 5 * TOGETHER)
    with relays(1, queues=apart + together) as (network, (pid,)), _mailer(network) as crowd:
        empty = settled(pid)
        crowd.ask("crowd", first=0, count=apart, together=1)
        some = settled(pid)
        crowd.ask("crowd", first=apart, count=together, together=TOGETHER)
        many = settled(pid)
        note(load())
    return [
        Row("memory of the relay, nobody listens", empty / 2**20, "MiB"),
        Row(f"memory a SUB with a connection of its own ({apart})", (some - empty) / apart / 1024, "KiB"),
        Row(f"memory a further SUB on a connection ({together:,})", (many - some) / together, "bytes"),
    ]


@contextmanager
def _mailer(network: Path, name: str = "alice") -> Iterator[Worker]:
    with worker("mailer", str(network), log=FOLDER / f"{name}.log") as client:
        yield client


async def _stock(path: Path, queues: int) -> None:
    """Make so many queues in a store."""
    async with open_line(partial(open_store, path=path, bounds=MailboxLimits())) as line:
        for first in range(0, queues, MAILBOX_BATCH):
            await line.do_all([_create(number) for number in range(first, min(queues, first + MAILBOX_BATCH))])


def _create(number: int) -> op.Create:
    return op.Create(owner(number).public_key, m.AdmitOpen(), queue_id(1, number), queue_id(2, number))
