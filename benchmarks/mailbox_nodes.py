"""Mailboxes between whole nodes: a thousand messages that wait, and one message's way to somebody who listens.

Owns: the story and its figures. Alice and bob are processes with durable databases, three `covey-relay` keep
their mail. They meet directly; then they never have a path to each other: nobody listens, and the relays' only slots
are taken.
Targets: DESIGN 10. Spec: docs/spec/mailbox.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.mailbox_wire import FOLDER, relays
from benchmarks.person import text
from benchmarks.processes import Failed, Worker, worker
from benchmarks.report import AtMost, Row, load, median, note, percentile
from covey_core.network import load_network, save_network

RELAYS = 3
WAITING, QUICK_WAITING = 1000, 50


def run(*, quick: bool) -> list[Row]:
    """Measure both, over one set of relays."""
    rounds, waiting, single = (1, QUICK_WAITING, 5) if quick else (3, WAITING, 200)
    try:
        with relays(RELAYS, slots=1) as (network, _), _slots_taken(network):
            _meet(network)
            rows = _waiting(network, rounds, waiting)
            return [*rows, *_single(network, rounds * waiting, single)]
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


@contextmanager
def _slots_taken(network: Path) -> Iterator[None]:
    """Have somebody else hold the one slot of each relay."""
    whole = load_network(network)
    with ExitStack() as stack:
        for number, relay in enumerate(whole.relays):
            one = FOLDER / f"only{number}.json"
            save_network(one, replace(whole, relays=(relay,)))
            stack.enter_context(worker("crowd", str(one), log=FOLDER / "crowd.log")).ask("reserve", count=1)
        yield


@contextmanager
def _person(name: str, network: Path, way: str = "none") -> Iterator[Worker]:
    with worker("correspondent", str(FOLDER / name), str(network), way, log=FOLDER / f"{name}.log") as person:
        yield person


def _meet(network: Path) -> None:
    with _person("alice", network, "listen") as alice, _person("bob", network, "listen") as bob:
        bob.ask("add", link=alice.ask("invite"))
        for one in (alice, bob):
            one.ask("befriended")
        for one in (alice, bob):
            one.ask("told", relays=RELAYS)


def _waiting(network: Path, rounds: int, count: int) -> list[Row]:
    """Bob is away while alice writes, and finds all of it at three relays when he comes."""
    whole, burst, laid, cpu = [], [], [], []
    for number in range(rounds):
        with _person("alice", network) as alice:
            contact = alice.ask("befriended")
            laid.append(alice.ask("lay_down", contact=contact, first=number * count, count=count, copies=RELAYS))
        with _person("bob", network) as bob:
            found = bob.ask("collected", count=count)
            whole.append(found["last"] - found["opened"])
            burst.append(found["last"] - found["first"])
            cpu.append(found["cpu"])
            _check(bob, (number + 1) * count)
            bob.ask("answered")
        note(
            f"{count} waiting: {whole[-1]:.2f} s after opening, first to last {burst[-1]:.2f} s, "
            f"CPU {cpu[-1]:.2f} s; {load()}"
        )
    return [
        Row(f"{count:,} texts laid down at 3 relays, forwarded, within their pace", median(laid), "s"),
        Row(f"{count:,} waiting at 3 relays: from opening the node until all are stored", median(whole), "s",
            AtMost(1)),
        Row(f"{count:,} waiting: from the first visible to the last", median(burst), "s"),
        Row(f"{count:,} waiting: CPU of the node for all of it", median(cpu), "s"),
    ]  # fmt: skip


def _single(network: Path, first: int, count: int) -> list[Row]:
    """Both are there without a path; each text is written when the one before was visible."""
    times = []
    with _person("alice", network) as alice, _person("bob", network) as bob:
        contact = alice.ask("befriended")
        bob.ask("befriended")
        for number in range(first, first + count):
            bob.ask("forget")
            begun = alice.ask("write_one", contact=contact, number=number)
            times.append((bob.ask("sees", count=1) - begun) * 1000)
        if alice.ask("path") != "none":
            raise Failed(f"there is a path: {alice.ask('path')}")
        _check(bob, first + count)
    note(f"{count} texts from node to node by mailbox; {load()}")
    return [
        Row("node to node by mailbox, send called until visible, p50", percentile(times, 0.5), "ms"),
        Row("node to node by mailbox, send called until visible, p99", percentile(times, 0.99), "ms"),
    ]


def _check(bob: Worker, count: int) -> None:
    kept = bob.ask("kept")
    if sorted(kept) != [text(number)[:16] for number in range(count)]:
        raise Failed(f"{len(kept)} texts, {len(set(kept))} different, where {count} were sent")
