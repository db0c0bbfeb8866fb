"""The cryptographic core: what its operations cost, and libsignal beside it.

Owns: the figures. Sessions stay in memory on both sides, nothing is stored. Every figure is the median of rounds;
rounds of Covey and of libsignal alternate. A round's time is the smaller of elapsed and processor time, so that other
programs on the machine count as little as possible. Targets: docs/benchmarks.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.libsignal import Unavailable, libsignal
from benchmarks.processes import Worker
from benchmarks.report import AtLeast, AtMost, Row, load, median, note
from covey_node import crypto

TEXT = os.urandom(256)
NOW = 1_800_000_000.0


def run(*, quick: bool) -> list[Row]:
    """Measure the core, with libsignal where it can be installed."""
    scale = 0.02 if quick else 1.0
    rounds = 2 if quick else 9
    with ExitStack() as stack:
        beside: Worker | None = None
        if quick:
            note("libsignal: skipped, this is a quick run")
        else:
            try:
                beside = stack.enter_context(libsignal())
            except Unavailable as exc:
                note(f"libsignal: skipped, {exc}")
        rows = _beside_libsignal(beside, rounds, scale)
    note(load())
    return [*rows, *_alone(rounds, scale)]


class Pair:
    """Two people with a session in which both have written."""

    def __init__(self) -> None:
        self.alice, self.bob = Person(), Person()
        self.here, envelope = crypto.initiate(self.alice.local, self.bob.bundle, TEXT, os.urandom, now=NOW)
        self.there = self.bob.accept(envelope)
        self.turns(2)

    def turns(self, count: int) -> None:
        """Write in turn: every packet takes a step of both ratchets."""
        for _ in range(count // 2):
            self.there, packet = self.there.encrypt(TEXT, os.urandom)
            self.here, _ = self.here.decrypt(packet, now=NOW)
            self.here, packet = self.here.encrypt(TEXT, os.urandom)
            self.there, _ = self.there.decrypt(packet, now=NOW)

    def encrypt(self, count: int) -> list[bytes]:
        """Write many packets without an answer."""
        packets = []
        for _ in range(count):
            self.here, packet = self.here.encrypt(TEXT, os.urandom)
            packets.append(packet)
        return packets

    def decrypt(self, packets: list[bytes]) -> None:
        """Read them."""
        for packet in packets:
            self.there, _ = self.there.decrypt(packet, now=NOW)


class Person:
    """An account with one device and its prekeys."""

    def __init__(self) -> None:
        account = crypto.Account.generate(os.urandom)
        keys = crypto.DeviceKeys.generate(os.urandom)
        self.local = crypto.LocalDevice(keys, crypto.DeviceList.first(account, keys, now=NOW))
        self.account_key = account.public_key
        self.prekeys = crypto.Prekeys.generate(os.urandom, now=NOW)
        self.bundle_bytes = self.prekeys.bundle(self.local, now=NOW).encode()

    @property
    def bundle(self) -> crypto.Bundle:
        return crypto.Bundle.decode(self.bundle_bytes)

    def accept(self, envelope: bytes) -> crypto.Session:
        return crypto.unseal(self.local, self.prekeys, envelope).accept(self.local, self.prekeys, now=NOW).session


def _beside_libsignal(beside: Worker | None, rounds: int, scale: float) -> list[Row]:
    pair = Pair()
    turns, packets, setups = _even(1500 * scale), _even(6000 * scale), _even(60 * scale)
    ours: dict[str, list[float]] = {"turns": [], "encrypt": [], "decrypt": [], "setup": []}
    theirs: dict[str, list[float]] = {name: [] for name in ours}
    counts = {"turns": turns, "encrypt": packets, "decrypt": packets, "setup": setups}
    for number in range(rounds + 1):  # the first one warms up
        written: list[bytes] = []
        jobs: dict[str, Callable[[], object]] = {
            "turns": partial(pair.turns, turns),
            "encrypt": lambda: written.extend(pair.encrypt(packets)),  # noqa: B023 - run in this round
            "decrypt": lambda: pair.decrypt(written),  # noqa: B023
            "setup": _setups(setups),
        }
        for name, job in jobs.items():
            mine = _seconds(job) / counts[name]
            other = None if beside is None else beside.ask(name, count=counts[name])["seconds"] / counts[name]
            if number:
                ours[name].append(mine)
                theirs[name] += [] if other is None else [other]
        pair.turns(2)  # the next chain
    rates = {name: 1 / median(values) for name, values in ours.items()}
    others = {name: 1 / median(values) if values else None for name, values in theirs.items()}
    ratio = None if others["turns"] is None else median(
        [b / a for a, b in zip(ours["turns"], theirs["turns"], strict=True)]
    )  # fmt: skip
    return [
        Row("ping-pong", rates["turns"], "turns/s"),
        Row("ping-pong, libsignal", others["turns"], "turns/s"),
        Row("ping-pong, ratio to libsignal", ratio, "", AtLeast(1)),
        Row("encrypt one-way, 256 B", rates["encrypt"], "packets/s", AtLeast(30_000)),
        Row("encrypt one-way, libsignal", others["encrypt"], "packets/s"),
        Row("decrypt one-way, 256 B", rates["decrypt"], "packets/s", AtLeast(30_000)),
        Row("decrypt one-way, libsignal", others["decrypt"], "packets/s"),
        Row("session set-up, both sides", 1000 / rates["setup"], "ms"),
        Row("session set-up, libsignal", None if others["setup"] is None else 1000 / others["setup"], "ms"),
    ]


def _alone(rounds: int, scale: float) -> list[Row]:
    pair = Pair()
    (real,) = pair.encrypt(1)
    forged = real[:3] + os.urandom(len(real) - 3)
    stored = pair.here.encode()

    def open_forged(count: int) -> None:
        for _ in range(count):
            try:
                pair.there.decrypt(forged, now=NOW)
            except crypto.Undecryptable:
                continue
            raise AssertionError("a forged packet was opened")

    def each(function: Callable[[], object], count: int) -> None:
        for _ in range(count):
            function()

    def microseconds(job: Callable[[int], object], count: float) -> float:
        number = _even(count * scale)
        return median([_seconds(partial(job, number)) for _ in range(rounds)]) / number * 1e6

    keys = pair.alice.account_key, pair.bob.account_key
    return [
        Row("forged packet refused", microseconds(open_forged, 10_000), "us", AtMost(20)),
        Row("session encoded", microseconds(partial(each, pair.here.encode), 10_000), "us"),
        Row("session decoded", microseconds(partial(each, partial(crypto.Session.decode, stored)), 5_000), "us"),
        Row("safety number", microseconds(partial(each, partial(crypto.safety_number, *keys)), 50) / 1000, "ms"),
    ]


def _setups(count: int) -> Callable[[], object]:
    """Return a job: `count` times a bundle is read and verified, a first message written, opened and accepted."""
    people = [(Person(), Person()) for _ in range(count)]

    def meet() -> None:
        for alice, bob in people:
            _, envelope = crypto.initiate(alice.local, bob.bundle, TEXT, os.urandom, now=NOW)
            bob.accept(envelope)

    return meet


def _seconds(job: Callable[[], object]) -> float:
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return min(time.perf_counter() - wall, time.process_time() - cpu)


def _even(count: float) -> int:
    return max(2, int(count) // 2 * 2)
